/*
 * The part of the kernel's BPF interface that steer.c uses. It is stable ABI (include/uapi/linux/bpf.h), and so small
 * that writing it down beats depending on the headers of the machine that happens to compile: the objects come out
 * the same wherever the compiler is the same.
 */
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

enum xdp_action {
	XDP_PASS = 2,     /* to the kernel's own stack */
	XDP_REDIRECT = 4, /* to where bpf_redirect_map said */
};

struct xdp_md {
	u32 data;
	u32 data_end;
	u32 data_meta;
	u32 ingress_ifindex;
	u32 rx_queue_index;
	u32 egress_ifindex;
};

enum bpf_map_type {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_XSKMAP = 17,
};

/* Helpers are called by number. */
static void *(*const bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
static long (*const bpf_redirect_map)(void *map, u64 key, u64 flags) = (void *)51;

/* A map is described by the types of a struct's members: the loader reads them from the BTF. */
#define MAP_UINT(name, value) int (*name)[value]
#define MAP_TYPE(name, type) type *name

#define SECTION(name) __attribute__((section(name), used))
#define INLINE static inline __attribute__((always_inline))

/* Both targets are little-endian, so network order is a swap, and constants cost nothing. */
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "steer.c is written for little-endian targets"
#endif
#define BE16(x) ((u16)__builtin_bswap16(x))
#define BE32(x) ((u32)__builtin_bswap32(x))
