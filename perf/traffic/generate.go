package traffic

// As in package perf, the objects are committed. bpf_loop needs Linux 5.17, live frames 5.18.

//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target bpfel send bpf/send.c -- -O2 -g -Wall -Wextra -Werror -mcpu=v3
//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target bpfel receive bpf/receive.c -- -O2 -g -Wall -Wextra -Werror -mcpu=v3
