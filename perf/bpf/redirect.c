/*
 * redirect: a router in XDP, as the kernel's own tables have it. It asks them with bpf_fib_lookup, rewrites the packet and
 * sends it out of the device. IPv4 that they have no way for is dropped, so that nothing passes for forwarded which the
 * kernel forwards.
 */
#include "kernel.h"

struct {
	MAP_UINT(type, BPF_MAP_TYPE_DEVMAP_HASH);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, u32);
	MAP_UINT(max_entries, 8);
} devices SECTION(".maps");

SECTION("xdp") int redirect(struct xdp_md *ctx)
{
	struct headers *h = (void *)(long)ctx->data;
	struct bpf_fib_lookup fib = {};
	u32 sum;

	if ((void *)(h + 1) > (void *)(long)ctx->data_end || h->type != IPV4)
		return XDP_PASS;
	if (h->version_ihl != 0x45 || h->ttl <= 1)
		return XDP_DROP;
	fib.family = 2; /* AF_INET */
	fib.l4_protocol = h->proto;
	fib.tot_len = BE16(h->length);
	fib.tos = h->tos;
	fib.ifindex = ctx->ingress_ifindex;
	fib.ipv4_src = (u32)h->from[1] << 16 | h->from[0];
	fib.ipv4_dst = (u32)h->to[1] << 16 | h->to[0];
	if (bpf_fib_lookup(ctx, &fib, sizeof fib, 0))
		return XDP_DROP;

	/* One less in the upper byte of a word: RFC 1624. */
	h->ttl--;
	sum = (u32)h->checksum + BE16(0x0100);
	h->checksum = sum + (sum >> 16);
	for (int i = 0; i < 3; i++) {
		h->dst[i] = fib.dmac[i];
		h->src[i] = fib.smac[i];
	}
	return bpf_redirect_map(&devices, fib.ifindex, 0);
}

const char terms[] SECTION("license") = "Dual MIT/GPL";
