/*
 * receive: takes the packets of a plan that arrive on a device: counts them by stream, finds out which are missing, again or out of
 * order, and how long they took. All other frames are the kernel's.
 */
#include "traffic.h"

#define WINDOW 64 /* packets back that one which comes again is told from one which is late */
#define LATENCY_MINOR 7 /* bits within a power of two: 0.8 % */
#define LATENCY_BUCKETS ((38 - LATENCY_MINOR) << LATENCY_MINOR)


/* What came of a flow. The lock is the kernel's struct bpf_spin_lock, told by its name. */
struct bpf_spin_lock {
	u32 val;
};

struct seen {
	struct bpf_spin_lock lock;
	u32 next;   /* number that is expected */
	u64 before; /* bit i: number next-1-i has come */
};

struct {
	MAP_UINT(type, BPF_MAP_TYPE_ARRAY);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, struct seen);
	MAP_UINT(max_entries, 1);
} seen SECTION(".maps");

struct counts {
	u64 frames;
	u64 bytes;     /* of these, without FCS */
	u64 again;     /* had come before */
	u64 reordered; /* came behind one with a higher number (RFC 4737) */
	u64 corrupt;   /* of a flow, with another header than that has */
	u64 old;       /* of another run */
};

struct {
	MAP_UINT(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, struct counts);
	MAP_UINT(max_entries, 1);
} streams SECTION(".maps");

struct {
	MAP_UINT(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, u64);
	MAP_UINT(max_entries, LATENCY_BUCKETS);
} latencies SECTION(".maps");

/* Frames that are not of a plan, by CPU. */
struct {
	MAP_UINT(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, u64);
	MAP_UINT(max_entries, 1);
} strangers SECTION(".maps");

/* Packets that came, each once, by when they were sent. */
struct {
	MAP_UINT(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, u64);
	MAP_UINT(max_entries, BINS);
} bins SECTION(".maps");

/* The longest time without a packet between two, ns since the start. Several CPUs write here, for whom it is the longest but for a
 * race that only another time as long can lose. */
struct silence {
	u64 last; /* when a packet came */
	u64 from, to;
};

volatile struct silence silence;

static long (*const bpf_spin_lock)(struct bpf_spin_lock *) = (void *)93;
static long (*const bpf_spin_unlock)(struct bpf_spin_lock *) = (void *)94;

/* bucket of a time in ns: below 1<<LATENCY_MINOR its own, then that many for each power of two. */
INLINE u32 bucket(u64 ns)
{
	u32 n;

	if (ns < 1 << LATENCY_MINOR)
		return ns;
	n = log2_of(ns) - LATENCY_MINOR;
	return (n << LATENCY_MINOR) + (u32)(ns >> (n & 31));
}

/* find finds the stamp of a frame, and the sum that tells its flow from others. */
INLINE const u32 *find(const u8 *data, const u8 *end, u16 *check)
{
	const u8 *p = data + 12;
	u32 sum = 0;
	u16 type;
	u8 proto;

	if (p + 6 > end)
		return 0;
	type = *(const u16 *)p;
	p += 2;
	if (type == BE16(0x8100) || type == BE16(0x88a8)) {
		type = *(const u16 *)(p + 2);
		p += 4;
	}
	if (type == BE16(0x0800)) {
		const u16 *word = (const u16 *)p;

		if (p + 24 > end || *p != 0x45)
			return 0;
		proto = p[9];
#pragma unroll
		for (int i = 6; i < 10; i++)
			sum += word[i];
		p += 20;
	} else if (type == BE16(0x86dd)) {
		const u16 *word = (const u16 *)p;

		if (p + 44 > end)
			return 0;
		proto = p[6];
#pragma unroll
		for (int i = 4; i < 20; i++)
			sum += word[i];
		p += 40;
	} else {
		return 0;
	}
	if (proto == PROTO_TCP || proto == PROTO_UDP) {
		sum += ((const u16 *)p)[0];
		sum += 3 * (u32)((const u16 *)p)[1];
	}
	sum += proto;
	sum = (sum & 0xffff) + (sum >> 16);
	*check = (sum & 0xffff) + (sum >> 16);
	p += proto == PROTO_TCP ? 20 : 8;
	if (proto != PROTO_TCP && proto != PROTO_UDP && proto != PROTO_ICMP && proto != PROTO_ICMPV6)
		return 0;
	if (p + STAMP_LEN > end)
		return 0;
	return (const u32 *)p;
}

SECTION("xdp") int receive(struct xdp_md *ctx)
{
	const u8 *data = (const u8 *)(long)ctx->data, *end = (const u8 *)(long)ctx->data_end;
	u64 now = bpf_ktime_get_ns(), took;
	u32 index = 0, number, stream, minus;
	int again = 0, reordered = 0, step;
	const struct flow *f;
	struct counts *c;
	struct seen *s;
	const u32 *stamp;
	u64 *cell;
	u16 check = 0;

	stamp = find(data, end, &check);
	if (!stamp)
		goto stranger;
	index = BE32(stamp[0]);
	if (index >> 24 != run.id)
		goto other;
	index &= 0xffffff;
	if (index >= run.flows)
		goto stranger;
	f = bpf_map_lookup_elem(&flows, &index);
	s = bpf_map_lookup_elem(&seen, &index);
	if (!f || !s)
		goto stranger;
	stream = f->stream;
	c = bpf_map_lookup_elem(&streams, &stream);
	if (!c)
		return XDP_PASS;
	if (f->check != check) {
		c->corrupt++;
		return XDP_DROP;
	}

	number = BE32(stamp[1]);
	bpf_spin_lock(&s->lock);
	step = (int)(number - s->next);
	if (step >= 0) {
		s->before = step >= WINDOW - 1 ? 1 : s->before << (step + 1) | 1;
		s->next = number + 1;
	} else {
		minus = (u32)-step - 1;
		if (minus < WINDOW) {
			again = s->before >> minus & 1;
			s->before |= 1ULL << minus;
		}
		reordered = !again;
	}
	bpf_spin_unlock(&s->lock);
	c->frames++; /* the CPU's own copy, and XDP is not interrupted by XDP: no atomic */
	c->bytes += end - data;
	c->again += again;
	c->reordered += reordered;
	now -= run.start; /* a multiple of the stamps' unit */
	if (silence.last && now > silence.last && now - silence.last > silence.to - silence.from) {
		silence.from = silence.last;
		silence.to = now;
	}
	silence.last = now;
	if (!again) {
		took = (u64)((u32)((now + run.start) >> STAMP_SHIFT) - BE32(stamp[2])) << STAMP_SHIFT;
		index = bucket(took);
		cell = bpf_map_lookup_elem(&latencies, &index);
		if (cell)
			*cell += 1;
		now = now >> STAMP_SHIFT << STAMP_SHIFT;
		index = now > took ? bin_of(now - took) : 0;
		cell = bpf_map_lookup_elem(&bins, &index);
		if (cell)
			*cell += 1;
	}
	return XDP_DROP;

other:
	index &= 0xffffff;
	if (index < run.flows && (f = bpf_map_lookup_elem(&flows, &index)) && f->check == check) {
		stream = f->stream;
		c = bpf_map_lookup_elem(&streams, &stream);
		if (c)
			c->old++;
		return XDP_DROP;
	}
stranger:
	index = 0;
	cell = bpf_map_lookup_elem(&strangers, &index);
	if (cell)
		*cell += 1;
	return XDP_PASS;
}

const char terms[] SECTION("license") = "Dual MIT/GPL";
