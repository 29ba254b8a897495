/*
 * steer: the XDP program that decides, for each frame of one netdev, whether it is the kernel's or weir's.
 * ../doc.go says what goes where, and why. In one line: a unicast IP packet that came to our MAC for somebody else
 * goes to the AF_XDP socket of its queue; all else is the kernel's.
 *
 * The headers below are in the wire's order and aligned as C would align them, not packed: from a packed struct clang
 * reads byte by byte.
 */
#include "kernel.h"

struct ethernet {
	u16 dst[3];
	u16 src[3];
	u16 type;
};

struct vlan_tag {
	u16 tci;
	u16 type; /* of what follows */
};

struct ipv4 {
	u8 version_ihl;
	u8 tos;
	u16 length;
	u16 id;
	u16 fragment;
	u8 ttl;
	u8 proto;
	u16 checksum;
	u32 src;
	u32 dst;
};

struct ipv6 {
	u8 version_tc;
	u8 tc_flow[3];
	u16 length;
	u8 next;
	u8 hop_limit;
	u32 src[4];
	u32 dst[4];
};

#define IPV4 BE16(0x0800)
#define IPV6 BE16(0x86dd)
#define ICMPV6 58

/* What a frame was taken for. class.go lists the same values in the same order, with their meaning. */
enum class {
	REDIRECTED,
	NO_SOCKET,
	NOT_OUR_MAC,
	GROUP,
	NOT_IP,
	UNPARSABLE,
	LINK_LOCAL,
	NEIGHBOR,
	OWN_ADDRESS,
	CLASSES,
};

struct address {
	u64 high, low; /* as the wire has them; IPv4 as ::ffff:a.b.c.d */
};

/* Bit n is set if an own address hashes to n. own.go fills it, with the same hash. */
#define FILTER_BITS_LOG2 14
struct filter {
	u64 bits[(1 << FILTER_BITS_LOG2) / 64];
};

struct counters {
	u64 frames[CLASSES];
};

/* The socket of each queue. The Go side sizes it. */
struct {
	MAP_UINT(type, BPF_MAP_TYPE_XSKMAP);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, u32);
	MAP_UINT(max_entries, 1);
} xsks SECTION(".maps");

/* The router's own addresses: one map, shared by the programs of all ports. The Go side sizes it. */
struct {
	MAP_UINT(type, BPF_MAP_TYPE_HASH);
	MAP_TYPE(key, struct address);
	MAP_TYPE(value, u8);
	MAP_UINT(max_entries, 1);
} own SECTION(".maps");

/*
 * A Bloom filter of one function before that map, shared like it. Nearly every packet is for somebody else, and the
 * filter knows that of nearly every one of them at a fraction of the price of a hash lookup. own alone decides.
 */
struct {
	MAP_UINT(type, BPF_MAP_TYPE_ARRAY);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, struct filter);
	MAP_UINT(max_entries, 1);
} own_filter SECTION(".maps");

/* One element, so that a reader gets all counters of a CPU at once, and the program one constant key. */
struct {
	MAP_UINT(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, struct counters);
	MAP_UINT(max_entries, 1);
} counters SECTION(".maps");

/*
 * The port's MAC as the first six bytes of a frame read as a little-endian number; written by the Go side at any time.
 * Until then a value that no six bytes can have: all frames go to the kernel.
 */
u64 mac = ~0ULL;

INLINE u64 destination(const struct ethernet *eth)
{
	return *(const u64 *)eth & 0xffffffffffffULL;
}

/* 802.1Q, 802.1ad, and the value that QinQ switches used before 802.1ad. */
INLINE int is_tag(u16 type)
{
	return type == BE16(0x8100) || type == BE16(0x88a8) || type == BE16(0x9100);
}

/* Multiplicative hashing: the upper bits of a product depend on all bits of the factors. */
INLINE u32 hash(const struct address *a)
{
	return ((a->high * 0x9e3779b97f4a7c15ULL ^ a->low) * 0xd6e8feb86659fd93ULL) >> (64 - FILTER_BITS_LOG2);
}

INLINE int is_own(const struct address *dst)
{
	u32 only = 0, h = hash(dst);
	const struct filter *filter = bpf_map_lookup_elem(&own_filter, &only);

	if (filter && !(filter->bits[h / 64] >> h % 64 & 1))
		return 0;
	return bpf_map_lookup_elem(&own, dst) != 0;
}

INLINE enum class classify_ipv4(const void *data, const void *end)
{
	const struct ipv4 *ip = data;

	if ((void *)(ip + 1) > end || ip->version_ihl < 0x45 || ip->version_ihl > 0x4f)
		return UNPARSABLE;
	if ((ip->dst & BE32(0xf0000000)) == BE32(0xe0000000) || ip->dst == 0xffffffff)
		return GROUP; /* 224.0.0.0/4 (RFC 5771), limited broadcast (RFC 919) */

	struct address dst = {0, (u64)ip->dst << 32 | BE32(0xffff)};
	return is_own(&dst) ? OWN_ADDRESS : REDIRECTED;
}

INLINE enum class classify_ipv6(const void *data, const void *end)
{
	const struct ipv6 *ip = data;

	if ((void *)(ip + 1) > end || ip->version_tc >> 4 != 6)
		return UNPARSABLE;
	if ((ip->dst[0] & BE32(0xff000000)) == BE32(0xff000000))
		return GROUP; /* ff00::/8 (RFC 4291 section 2.7) */
	if ((ip->dst[0] & BE32(0xffc00000)) == BE32(0xfe800000))
		return LINK_LOCAL; /* fe80::/10 (RFC 4291 section 2.5.6) */

	/* RFC 4861: types 133 to 137, valid only with a hop limit that no router has lowered. */
	const u8 *icmp_type = (void *)(ip + 1);
	if (ip->next == ICMPV6 && ip->hop_limit == 255 && (void *)(icmp_type + 1) <= end && *icmp_type >= 133 &&
	    *icmp_type <= 137)
		return NEIGHBOR;

	struct address dst = {(u64)ip->dst[1] << 32 | ip->dst[0], (u64)ip->dst[3] << 32 | ip->dst[2]};
	return is_own(&dst) ? OWN_ADDRESS : REDIRECTED;
}

INLINE enum class classify(const void *data, const void *end)
{
	const struct ethernet *eth = data;
	const void *next = eth + 1;

	if (next > end)
		return UNPARSABLE;
	/* Our MAC is a unicast address: this comparison settles multicast and broadcast too. */
	if (destination(eth) != mac)
		return *(u8 *)eth & 1 ? GROUP : NOT_OUR_MAC;

	u16 type = eth->type;
#pragma unroll
	for (int tags = 0; tags < 2; tags++) {
		const struct vlan_tag *tag = next;

		if (!is_tag(type))
			break;
		next = tag + 1;
		if (next > end)
			return UNPARSABLE;
		type = tag->type;
	}

	if (type == IPV4)
		return classify_ipv4(next, end);
	if (type == IPV6)
		return classify_ipv6(next, end);
	return NOT_IP; /* ARP, LLDP, LACP, MPLS, a third tag, 802.3 lengths */
}

INLINE void count(enum class class)
{
	u32 only = 0;
	struct counters *c = bpf_map_lookup_elem(&counters, &only);

	if (c)
		c->frames[class]++; /* the CPU's own copy, and XDP is not interrupted by XDP: no atomic */
}

SECTION("xdp") int steer(struct xdp_md *ctx)
{
	enum class class = classify((void *)(long)ctx->data, (void *)(long)ctx->data_end);
	int action = XDP_PASS;

	if (class == REDIRECTED) {
		/* The flags are the answer where the queue has no socket: the kernel routes. */
		action = bpf_redirect_map(&xsks, ctx->rx_queue_index, XDP_PASS);
		if (action != XDP_REDIRECT)
			class = NO_SOCKET;
	}
	count(class);
	return action;
}

const char terms[] SECTION("license") = "Dual MIT/GPL";
