package perf

// The objects are committed, so that building weir needs no C compiler; one serves all little-endian machines. clang 14
// writes them byte for byte: compiler and flags are part of the source. bpf_loop needs Linux 5.17, live frames 5.18.

//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target bpfel generator bpf/generator.c -- -O2 -g -Wall -Wextra -Werror -mcpu=v3
//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target bpfel counter bpf/counter.c -- -O2 -g -Wall -Wextra -Werror -mcpu=v3
//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target bpfel redirect bpf/redirect.c -- -O2 -g -Wall -Wextra -Werror -mcpu=v3
