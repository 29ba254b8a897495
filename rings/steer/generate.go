package steer

// The object is committed, so that building weir needs no C compiler; one serves all little-endian machines. clang 14
// writes it byte for byte: compiler and flags are part of the source. Linux 5.1 and newer know instruction set v3.

//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -no-global-types -target bpfel bpf bpf/steer.c -- -O2 -g -Wall -Wextra -Werror -mcpu=v3
