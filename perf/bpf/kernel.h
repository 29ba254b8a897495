/*
 * The part of the kernel's BPF interface that these programs use. It is stable ABI (include/uapi/linux/bpf.h), written
 * down so that the objects come out the same wherever the compiler is the same.
 */
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

enum xdp_action {
	XDP_ABORTED = 0,
	XDP_DROP = 1,
	XDP_PASS = 2,
};

struct xdp_md {
	u32 data;
	u32 data_end;
	u32 data_meta;
	u32 ingress_ifindex;
	u32 rx_queue_index;
	u32 egress_ifindex;
};

/* What bpf_fib_lookup is asked, and answers; the part that IPv4 and no VLAN need has names. */
struct bpf_fib_lookup {
	u8 family;
	u8 l4_protocol;
	u16 sport, dport;
	u16 tot_len;
	u32 ifindex; /* in: that the packet came in on; out: that it leaves by */
	u32 tos;     /* a byte; the rest is not IPv4's */
	u32 ipv4_src, unused_src[3];
	u32 ipv4_dst, unused_dst[3];
	u16 vlan[2];
	u16 smac[3], dmac[3];
};

enum bpf_map_type {
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_DEVMAP_HASH = 25,
};

/* Helpers are called by number. */
static void *(*const bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
static u64 (*const bpf_ktime_get_ns)(void) = (void *)5;
static long (*const bpf_redirect)(u32 ifindex, u64 flags) = (void *)23;
static long (*const bpf_redirect_map)(void *map, u64 key, u64 flags) = (void *)51;
static long (*const bpf_xdp_adjust_tail)(struct xdp_md *ctx, int delta) = (void *)65;
static long (*const bpf_fib_lookup)(void *ctx, struct bpf_fib_lookup *params, int size, u32 flags) = (void *)69;
static long (*const bpf_loop)(u32 iterations, void *callback, void *ctx, u64 flags) = (void *)181;

/* A map is described by the types of a struct's members: the loader reads them from the BTF. */
#define MAP_UINT(name, value) int (*name)[value]
#define MAP_TYPE(name, type) type *name

#define SECTION(name) __attribute__((section(name), used))
#define INLINE static inline __attribute__((always_inline))

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "written for little-endian targets"
#endif
#define BE16(x) ((u16)__builtin_bswap16(x))
#define BE32(x) ((u32)__builtin_bswap32(x))

/* Headers in the wire's order, aligned as C would align them: from a packed struct clang reads byte by byte. */
struct headers {
	u16 dst[3];
	u16 src[3];
	u16 type;
	/* IPv4 */
	u8 version_ihl;
	u8 tos;
	u16 length;
	u16 id;
	u16 fragment;
	u8 ttl;
	u8 proto;
	u16 checksum;
	u16 from[2];
	u16 to[2];
	/* UDP */
	u16 sport;
	u16 dport;
	u16 datagram;
	u16 no_checksum;
	/* what the datagram carries */
	u16 sequence[4];
};

#define IPV4 BE16(0x0800)
#define UDP 17
