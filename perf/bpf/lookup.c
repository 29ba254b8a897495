/*
 * lookup: asks the kernel's tables for a list of IPv4 addresses, one after the other, as a router in XDP would packet by
 * packet. Run by BPF_PROG_TEST_RUN in the network namespace of the tables.
 */
#include "kernel.h"

struct list {
	MAP_UINT(type, BPF_MAP_TYPE_ARRAY);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, u32);
	MAP_UINT(max_entries, 1); /* the caller makes it as large as it needs */
};

struct list addresses SECTION(".maps"); /* in the wire's order */
struct list answers SECTION(".maps");   /* last two bytes of the next hop's MAC address; else NO_ROUTE plus the helper's code */

#define NO_ROUTE 0x10000

struct settings {
	u32 ifindex; /* that the packets came in on */
	u32 first;   /* address */
	u32 count;
};

volatile struct settings settings;

static long one(u32 i, void *context)
{
	struct xdp_md *ctx = *(struct xdp_md **)context;
	struct bpf_fib_lookup fib = {};
	u32 index = settings.first + i, *address = bpf_map_lookup_elem(&addresses, &index), *answer = bpf_map_lookup_elem(&answers, &index);
	long e;

	if (!address || !answer)
		return 1;
	fib.family = 2; /* AF_INET */
	fib.tot_len = 64;
	fib.ifindex = settings.ifindex;
	fib.ipv4_dst = *address;
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
