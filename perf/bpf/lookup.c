/*
 * lookup: asks the kernel's rules and tables for a list of packets, one after the other, as a router in XDP would packet by
 * packet. Run by BPF_PROG_TEST_RUN in the network namespace of the tables.
 */
#include "kernel.h"

/* A packet, in the wire's order. */
struct question {
	u32 src[4], dst[4]; /* IPv4: the first word */
	u16 sport, dport;
	u8 protocol, family;
	u16 unused;
};

/* The caller makes the lists as large as it needs. */
struct {
	MAP_UINT(type, BPF_MAP_TYPE_ARRAY);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, struct question);
	MAP_UINT(max_entries, 1);
} questions SECTION(".maps");

struct {
	MAP_UINT(type, BPF_MAP_TYPE_ARRAY);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, u32); /* last two bytes of the next hop's MAC address; else NO_ROUTE plus the helper's code */
	MAP_UINT(max_entries, 1);
} answers SECTION(".maps");

#define NO_ROUTE 0x10000

struct settings {
	u32 ifindex; /* that the packets came in on */
	u32 first;   /* question */
	u32 count;
};

volatile struct settings settings;

static long one(u32 i, void *context)
{
	struct xdp_md *ctx = *(struct xdp_md **)context;
	struct bpf_fib_lookup fib = {};
	u32 index = settings.first + i, *answer = bpf_map_lookup_elem(&answers, &index);
	struct question *q = bpf_map_lookup_elem(&questions, &index);
	long e;

	if (!q || !answer)
		return 1;
	fib.family = q->family;
	fib.l4_protocol = q->protocol;
	fib.sport = q->sport;
	fib.dport = q->dport;
	fib.tot_len = 64;
	fib.ifindex = settings.ifindex;
	fib.ipv4_src = q->src[0];
	fib.ipv4_dst = q->dst[0];
	for (int w = 1; w < 4; w++) { /* IPv6 */
		fib.unused_src[w - 1] = q->src[w];
		fib.unused_dst[w - 1] = q->dst[w];
	}
	e = bpf_fib_lookup(ctx, &fib, sizeof fib, 0);
	*answer = e ? NO_ROUTE + e : fib.dmac[2];
	return 0;
}

SECTION("xdp") int lookup(struct xdp_md *ctx)
{
	bpf_loop(settings.count, one, &ctx, 0);
	return XDP_PASS;
}

const char terms[] SECTION("license") = "Dual MIT/GPL";
