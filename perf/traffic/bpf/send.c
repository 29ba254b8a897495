/*
 * send: makes each frame that the kernel hands it (BPF_PROG_TEST_RUN with live frames) the next packet of the plan, waits until
 * it is due, stamps it, and sends it out of a device.
 *
 * The pages of frames go round: a page comes back as the device under test left it. So all that is not padding is written anew.
 * Waiting is spinning here, for the reason that perf/bpf/generator.c has.
 */
#include "traffic.h"

#define CLOCK_SHIFT 16 /* clocks run in 1/65536 ns: the interval of any rate is exact to 10 ppm up to 600 Mpps */
#define SPINS_MAX (1 << 23)
#define LATE_BUCKETS 64

/* A rate for a time. */
struct phase {
	u64 end;      /* ns since the start */
	u64 interval; /* between packets; 0: none */
	u64 catch_up; /* between packets that are behind their plan: less */
};

struct settings {
	u32 ifindex;  /* of the device that frames leave through */
	u32 slots;    /* less one; their number is a power of two */
	u32 size_max; /* of the frame that the kernel hands us, without FCS */
	u32 phases;
	u64 burst;    /* packets that follow each other at once when it is behind its plan; those behind them, by catch_up */
	u64 late_max; /* 1/65536 ns that it may be behind its plan; what is beyond is not sent */
	u64 limit;    /* packets */
	struct phase phase[PHASES_MAX];
};

/* Written by the caller before a run; limit at any time, to end it. */
volatile struct settings settings;

/* The order in which flows have their packets, over and over: flow and size of the frame, without FCS. */
struct slot {
	u32 flow;
	u32 size;
};

struct {
	MAP_UINT(type, BPF_MAP_TYPE_ARRAY);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, struct slot);
	MAP_UINT(max_entries, 1);
} slots SECTION(".maps");

/* How many packets of each flow have been sent. */
struct {
	MAP_UINT(type, BPF_MAP_TYPE_ARRAY);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, u32);
	MAP_UINT(max_entries, 1);
} numbers SECTION(".maps");

/* Packets by when they were sent. */
struct {
	MAP_UINT(type, BPF_MAP_TYPE_ARRAY);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, u64);
	MAP_UINT(max_entries, BINS);
} bins SECTION(".maps");

struct state {
	u64 due;  /* of the next packet, since the start */
	u64 when; /* it is sent at the earliest: when it is due, or when it is its turn, being late */
	u64 pace; /* of those that are late: when its turn is, without the burst */
	u64 phase;
	u64 sent;
	u64 bytes;   /* of frames, without FCS */
	u64 last;    /* ns since the start when the last packet was sent */
	u64 waited;  /* packets that had to wait: all, or the sender is too slow */
	u64 skipped; /* time that was not caught up with, ns */
	u64 late[LATE_BUCKETS]; /* packets by how late they were, ns, rounded down to a power of two */
};

volatile struct state state;

static u64 since_start(void)
{
	return (bpf_ktime_get_ns() - run.start) << CLOCK_SHIFT;
}

static long spin(u32 i, void *unused)
{
	(void)i, (void)unused;
	return since_start() >= state.when; /* 1 ends bpf_loop */
}

static long spin_to_start(u32 i, void *unused)
{
	(void)i, (void)unused;
	return bpf_ktime_get_ns() >= run.start;
}

INLINE u32 fold(u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

#define OPAQUE(x) __asm__ volatile("" : "+r"(x))

/* store16 writes 16 bits at an offset; 0 if the frame is too short. */
INLINE int store16(struct xdp_md *ctx, u32 at, u16 value)
{
	u8 *p = (u8 *)(long)ctx->data;

	at &= 127;
	OPAQUE(at);
	p += at;
	OPAQUE(p); /* what is checked is what is written to, for the verifier */
	if (p + 2 > (u8 *)(long)ctx->data_end)
		return 0;
	*(u16 *)p = value;
	return 1;
}

INLINE int store32(struct xdp_md *ctx, u32 at, u32 value)
{
	u8 *p = (u8 *)(long)ctx->data;

	at &= 127;
	OPAQUE(at);
	p += at;
	OPAQUE(p); /* what is checked is what is written to, for the verifier */
	if (p + 4 > (u8 *)(long)ctx->data_end)
		return 0;
	*(u32 *)p = value;
	return 1;
}

INLINE u32 halves(u32 x) { return (x & 0xffff) + (x >> 16); }

SECTION("xdp") int send(struct xdp_md *ctx)
{
	u32 index, *number, word[3];
	u16 length, l4_length;
	const struct slot *slot;
	const struct flow *f;
	volatile struct phase *phase;
	u64 now, interval, at, late = 0, sum, *bin;

	if (state.sent >= settings.limit)
		return XDP_DROP; /* the repetitions that are left */

	/* What to send. The due time has been taken into account when all else is done. */
	index = (u32)state.sent & settings.slots;
	slot = bpf_map_lookup_elem(&slots, &index);
	if (!slot)
		return XDP_ABORTED;
	index = slot->flow;
	f = bpf_map_lookup_elem(&flows, &index);
	number = bpf_map_lookup_elem(&numbers, &index);
	if (!f || !number)
		return XDP_ABORTED;
	if (slot->size < settings.size_max && bpf_xdp_adjust_tail(ctx, (int)slot->size - settings.size_max))
		return XDP_ABORTED;
#pragma unroll
	for (int i = 0; i < HEADER_MAX / 8; i++) {
		u64 *to = (u64 *)(long)ctx->data + i;

		if (8 * i >= f->length)
			break;
		if ((void *)(to + 1) > (void *)(long)ctx->data_end)
			return XDP_ABORTED;
		*to = f->header[i];
	}
	length = slot->size - f->l3;
	l4_length = slot->size - f->l4;
	if (f->ipv6) {
		if (!store16(ctx, f->l3 + 4, BE16(l4_length)))
			return XDP_ABORTED;
	} else if (!store16(ctx, f->l3 + 2, BE16(length)) || !store16(ctx, f->l3 + 10, ~fold((u64)f->ip_sum + BE16(length)))) {
		return XDP_ABORTED;
	}
	if (f->proto == PROTO_UDP && !store16(ctx, f->l4 + 4, BE16(l4_length)))
		return XDP_ABORTED;

	if (!state.sent)
		bpf_loop(SPINS_MAX, spin_to_start, 0, 0);
	/* The phase is the one in which the packet is due, and which is not over but for a burst. */
	now = since_start();
	at = state.phase;
#pragma unroll
	for (int i = 0; i < PHASES_MAX; i++) {
		u64 time = now, end, burst;

		phase = &settings.phase[at & (PHASES_MAX - 1)];
		end = phase->end;
		if (phase->interval) {
			burst = settings.burst * phase->interval;
			time = now > burst ? now - burst : 0;
			if (time < state.due)
				time = state.due;
		}
		if (at >= settings.phases || time >> CLOCK_SHIFT < end)
			continue;
		at++;
		if (!phase->interval) {
			state.due = now; /* the next one begins here, behind one without a plan */
			continue;
		}
		if (state.due >> CLOCK_SHIFT < end) {
			state.skipped += end - (state.due >> CLOCK_SHIFT);
			state.due = end << CLOCK_SHIFT;
		}
		/* What is left of the interval is as much of the next phase's: in 1/4096. */
		time = (state.due - (end << CLOCK_SHIFT)) / ((phase->interval >> 12) + 1) * settings.phase[at & (PHASES_MAX - 1)].interval;
		state.due = (end << CLOCK_SHIFT) + (time >> 12);
	}
	state.phase = at;
	if (at >= settings.phases)
		return XDP_DROP;
	phase = &settings.phase[at & (PHASES_MAX - 1)];
	interval = phase->interval;
	if (interval) {
		u64 burst = settings.burst * phase->catch_up;

		state.when = state.pace > burst ? state.pace - burst : 0;
		if (state.when < state.due)
			state.when = state.due;
		if (now < state.when) {
			state.waited++;
			bpf_loop(SPINS_MAX, spin, 0, 0);
			now = since_start();
		}
		if (state.pace < now)
			state.pace = now;
		state.pace += phase->catch_up;
		late = now - state.due;
		burst = settings.burst * interval;
		if (burst < settings.late_max)
			burst = settings.late_max;
		if (late > burst) {
			state.skipped += (late - burst) >> CLOCK_SHIFT;
			state.due += late - burst;
		}
		state.due += interval;
	}
	now >>= CLOCK_SHIFT;

	word[0] = BE32((u32)(run.id & 0xff) << 24 | index);
	word[1] = BE32(*number);
	word[2] = BE32((u32)((run.start + now) >> STAMP_SHIFT));
	sum = (u64)f->l4_sum + (u64)f->lengths * BE16(l4_length) + halves(word[0]) + halves(word[1]) + halves(word[2]);
	sum = ~fold(sum) & 0xffff;
	if (f->proto == PROTO_UDP && !sum)
		sum = 0xffff; /* 0 is no checksum */
#pragma unroll
	for (int i = 0; i < 3; i++)
		if (!store32(ctx, f->length + 4 * i, word[i]))
			return XDP_ABORTED;
	if (!store16(ctx, f->l4 + (f->proto == PROTO_TCP ? 16 : f->proto == PROTO_UDP ? 6 : 2), sum))
		return XDP_ABORTED;

	*number += 1;
	if (interval)
		state.late[log2_of(late >> CLOCK_SHIFT) & (LATE_BUCKETS - 1)]++;
	state.sent++;
	state.bytes += slot->size;
	state.last = now;
	index = bin_of(now >> STAMP_SHIFT << STAMP_SHIFT); /* as the stamp has it: the start is a multiple of its unit */
	bin = bpf_map_lookup_elem(&bins, &index);
	if (bin)
		*bin += 1;
	return bpf_redirect(settings.ifindex, 0);
}

const char terms[] SECTION("license") = "Dual MIT/GPL";
