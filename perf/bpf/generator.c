/*
 * generator: makes each frame that the kernel hands it (BPF_PROG_TEST_RUN with live frames) the next packet of the
 * stream, waits until it is due, and sends it out of a device.
 *
 * The pages of frames go round: a page comes back as the router at the other end left it. So everything a router may
 * write is written anew, which here means all headers. The rest of the frame is as the caller made it.
 *
 * Waiting is spinning, here. A frame that is not sent goes back through the page pool's lock, which the core that frees
 * the router's frames takes too: a generator that paces by dropping slows what it measures.
 */
#include "kernel.h"

#define SIZES_MAX 64
#define CLOCK_SHIFT 16 /* clocks run in 1/65536 ns: the interval of any rate is exact to 10 ppm up to 600 Mpps */
#define SPINS_MAX (1 << 23)

struct settings {
	u32 ifindex; /* of the device that frames leave through */
	u32 flows;   /* addresses times ports; not 0 */
	u32 addresses;
	u32 first_address; /* of the destinations, a number */
	u32 listed;        /* destinations are those of the map instead */
	u32 source;        /* address, a number */
	u16 first_port;    /* of the sources */
	u16 port;          /* of all destinations */
	u16 dst[3], src[3]; /* MACs */
	u16 sizes;          /* how many of size are in use; not 0 */
	u16 size_max;       /* of the frame that the kernel hands us */
	u16 size[SIZES_MAX]; /* bytes of frames without FCS, taken in turn */
	u64 interval; /* between packets; 0: none */
	u64 burst;    /* how far behind its plan it may catch up; what is beyond is not sent */
	u64 limit;    /* packets */
	u64 end;      /* of the time, ns since the first packet */
};

/* Written by the caller before a run; limit at any time, to end it. */
volatile struct settings settings;

/* Destinations, as numbers, where they are not consecutive. An address may be there often, to have more of the packets. */
struct {
	MAP_UINT(type, BPF_MAP_TYPE_ARRAY);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, u32);
	MAP_UINT(max_entries, 1); /* the caller makes it as large as it needs */
} destinations SECTION(".maps");

struct state {
	u64 start;    /* bpf_ktime_get_ns of the first packet */
	u64 due;      /* of the next packet, since start */
	u64 sequence; /* of the next packet */
	u64 sent;
	u64 last;     /* ns since start when the last packet was sent */
	u64 waited;   /* packets that had to wait: all, or the generator is too slow */
	u64 skipped;  /* time that was not caught up with, ns */
};

volatile struct state state;

static u64 since_start(void)
{
	return (bpf_ktime_get_ns() - state.start) << CLOCK_SHIFT;
}

static long spin(u32 i, void *unused)
{
	(void)i, (void)unused;
	return since_start() >= state.due; /* 1 ends bpf_loop */
}

/* One's complement sum of the IPv4 header, whose fields are in the wire's order: RFC 1071 does not mind which. */
INLINE u16 checksum(const struct headers *h)
{
	u32 sum = 0;
	const u16 *word = (const u16 *)&h->version_ihl;

#pragma unroll
	for (int i = 0; i < 10; i++)
		sum += word[i];
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

SECTION("xdp") int generate(struct xdp_md *ctx)
{
	u64 now, hash, sequence = state.sequence;
	u32 flow, to, index;
	u16 size = settings.size_max;
	struct headers *h;

	if (state.sent >= settings.limit)
		return XDP_DROP; /* the repetitions that are left */
	if (!state.start)
		state.start = bpf_ktime_get_ns();
	now = since_start();
	if (settings.interval) {
		if (now < state.due) {
			state.waited++;
			bpf_loop(SPINS_MAX, spin, 0, 0);
			now = since_start();
		}
		if (now - state.due > settings.burst) {
			u64 skip = now - state.due - settings.burst;

			state.skipped += skip >> CLOCK_SHIFT;
			state.due += skip;
		}
		state.due += settings.interval;
	}
	now >>= CLOCK_SHIFT;
	if (now >= settings.end)
		return XDP_DROP;

	if (settings.sizes > 1) {
		size = settings.size[sequence % settings.sizes & (SIZES_MAX - 1)];
		if (size < settings.size_max && bpf_xdp_adjust_tail(ctx, (int)size - settings.size_max))
			return XDP_ABORTED;
	}
	h = (void *)(long)ctx->data;
	if ((void *)(h + 1) > (void *)(long)ctx->data_end)
		return XDP_ABORTED;

	/* Multiplicative hashing spreads consecutive packets over the flows, each flow equally often. */
	hash = (u32)(sequence * 0x9e3779b1u);
	flow = hash * settings.flows >> 32;
	index = flow % settings.addresses;
	to = settings.first_address + index;
	if (settings.listed) {
		const u32 *listed = bpf_map_lookup_elem(&destinations, &index);

		if (!listed)
			return XDP_ABORTED;
		to = *listed;
	}
	to = BE32(to);
	for (int i = 0; i < 3; i++) {
		h->dst[i] = settings.dst[i];
		h->src[i] = settings.src[i];
	}
	h->type = IPV4;
	h->version_ihl = 0x45;
	h->tos = 0;
	h->length = BE16((u16)(size - 14));
	h->id = 0;
	h->fragment = 0;
	h->ttl = 64;
	h->proto = UDP;
	h->checksum = 0;
	h->from[0] = BE16((u16)(settings.source >> 16));
	h->from[1] = BE16((u16)settings.source);
	h->to[0] = to;
	h->to[1] = to >> 16;
	h->checksum = checksum(h);
	h->sport = BE16((u16)(settings.first_port + flow / settings.addresses));
	h->dport = BE16(settings.port);
	h->datagram = BE16((u16)(size - 34));
	h->no_checksum = 0;
	for (int i = 0; i < 4; i++)
		h->sequence[i] = BE16((u16)(sequence >> (48 - 16 * i)));

	state.sequence = sequence + 1;
	state.sent++;
	state.last = now;
	return bpf_redirect(settings.ifindex, 0);
}

const char terms[] SECTION("license") = "Dual MIT/GPL";
