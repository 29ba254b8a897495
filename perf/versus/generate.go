package versus

//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target bpfel -type question lookup ../bpf/lookup.c -- -O2 -g -Wall -Wextra -Werror -mcpu=v3
