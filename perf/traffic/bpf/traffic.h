/*
 * What the sender and the receiver have in common. A packet of a plan carries, right behind its L4 header, 12 bytes in network
 * order: which run (8 bits) and flow (24 bits) it is of, its number within the flow, and when it was sent.
 */
#pragma once

#include "../../bpf/kernel.h"

#define HEADER_MAX 96
#define STAMP_LEN 12
#define STAMP_SHIFT 4 /* times are in 16 ns: 32 bits of them hold 68 s */

struct flow {
	u64 header[HEADER_MAX / 8]; /* Ethernet to L4, checksums and lengths 0 */
	u32 l4_sum;                 /* one's complement sum of L4 header and pseudo-header without lengths */
	u16 ip_sum;                 /* the same of the IPv4 header; 0 for IPv6 */
	u16 check;                  /* of what identifies the flow */
	u8 length;                  /* of the header */
	u8 l3, l4;                  /* where those headers begin */
	u8 proto;
	u8 lengths; /* how often the L4 length is in l4_sum: 2 with UDP, 1 with a pseudo-header alone, 0 without */
	u8 ipv6;
	u16 stream;
};

/* What both programs are told of a run before it begins. */
#define PHASES_MAX 8
#define BINS 4096

struct run {
	u64 start;     /* bpf_ktime_get_ns when the first packet is due */
	u32 bin_shift; /* packets are counted by when they were sent, in bins of 1<<bin_shift ns */
	u32 id;        /* 8 bits, another than that of the run before */
	u32 flows;
};

volatile struct run run;

INLINE u32 bin_of(u64 ns) /* since the start */
{
	u64 bin = ns >> (run.bin_shift & 63);

	return bin < BINS ? bin : BINS - 1;
}

INLINE u32 log2_of(u64 x)
{
	u32 n = 0;

	if (x >> 32)
		n += 32, x >>= 32;
	if (x >> 16)
		n += 16, x >>= 16;
	if (x >> 8)
		n += 8, x >>= 8;
	if (x >> 4)
		n += 4, x >>= 4;
	if (x >> 2)
		n += 2, x >>= 2;
	return n + (x >> 1 & 1);
}

enum { PROTO_ICMP = 1, PROTO_TCP = 6, PROTO_UDP = 17, PROTO_ICMPV6 = 58 };

/* A run's packets. Array maps of the plan's size; the flows are the same map for both programs. */
struct {
	MAP_UINT(type, BPF_MAP_TYPE_ARRAY);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, struct flow);
	MAP_UINT(max_entries, 1);
} flows SECTION(".maps");
