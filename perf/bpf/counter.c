/*
 * counter: counts the packets of the generator's stream that arrive on a device and drops them. All other frames are
 * the kernel's.
 */
#include "kernel.h"

struct counts {
	u64 frames;    /* of the stream */
	u64 bytes;     /* of these, without FCS */
	u64 strangers; /* other frames */
};

struct {
	MAP_UINT(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, struct counts);
	MAP_UINT(max_entries, 1);
} counts SECTION(".maps");

/* What the stream is told by; written before the program is attached. */
struct stream {
	u16 dst[3]; /* MAC of the device */
	u16 port;   /* UDP, of the destination */
};

volatile struct stream stream;

INLINE int of_stream(const struct headers *h, const void *end)
{
	if ((void *)(h + 1) > end)
		return 0;
	return h->type == IPV4 && h->version_ihl == 0x45 && h->proto == UDP && h->dport == BE16(stream.port) &&
	       h->dst[0] == stream.dst[0] && h->dst[1] == stream.dst[1] && h->dst[2] == stream.dst[2];
}

SECTION("xdp") int count(struct xdp_md *ctx)
{
	const void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	u32 only = 0;
	struct counts *c = bpf_map_lookup_elem(&counts, &only);

	if (!c)
		return XDP_PASS;
	if (!of_stream(data, end)) {
		c->strangers++;
		return XDP_PASS;
	}
	c->frames++; /* the CPU's own copy, and XDP is not interrupted by XDP: no atomic */
	c->bytes += end - data;
	return XDP_DROP;
}

const char terms[] SECTION("license") = "Dual MIT/GPL";
