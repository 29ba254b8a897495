package oracle

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"weir/perf/lab"
	"weir/policy"
	"weir/policy/packet"
)

// rtaFlowLabel is RTA_FLOWLABEL (include/uapi/linux/rtnetlink.h).
const rtaFlowLabel = 31

// TestGetRoute asks the kernel by RTM_GETROUTE which route each packet takes.
func TestGetRoute(t *testing.T) {
	k := newKernel(t, newRouter(t, lab.ForTest(t), "linux"))
	counts := map[string]int{}
	series(t, 300, 200, func(t *testing.T, _, packets int, r *rand.Rand) {
		g := newGenerator(r)
		d := g.description(nil)
		k.configure(t, d)
		probes := make([]probe, packets)
		for i := range probes {
			probes[i] = g.probe()
		}
		k.compare(t, d, probes, counts)
	})
	t.Logf("decisions: %v", counts)
}

// compare holds weir's decisions on the packets against the kernel's.
func (k *kernel) compare(t *testing.T, d *description, probes []probe, counts map[string]int) {
	t.Helper()
	s := d.compile(t)
	k.compareWaysBack(t, d, s, probes, counts)
	var requests []message
	for i := range probes {
		requests = append(requests, k.getRoute(&probes[i]))
	}
	replies, err := k.do(requests)
	check(t, err)
	for i := range probes {
		p := &probes[i]
		c := decide(d, s, p, p.key(t))
		if x, ok := different(c, asksKernel); ok {
			counts["not compared: "+x.name]++
			continue
		}
		got := k.parseRoute(&replies[i])
		if problem := c.disagreement(&got); problem != "" {
			t.Errorf("%s\nkernel: %+v (%s)\n%s", problem, got, replies[i].why, c)
			return
		}
		counts[s.Explain(&c.key).Verdict]++
		if c.checked() && c.v.Action == policy.Forward {
			counts["forward, source checked"]++
		}
	}
}

// String is what is to be known of a mismatch.
func (c *decision) String() string {
	var b strings.Builder
	b.WriteString("weir explain " + arguments(&c.key) + "\n")
	c.s.Explain(&c.key).WriteText(&b)
	return b.String() + "\n" + c.d.String()
}

// getRoute asks for the route of a packet, not for what is made of it: with all its next hops, its prefix and table.
func (k *kernel) getRoute(p *probe) message {
	family, length := packet.IPv6, uint8(128)
	if p.src.Is4() {
		family, length = packet.IPv4, 32
	}
	header := []byte{familyOf(family), length, length, dscpOf(p.tos), 0, 0, 0, 0}
	header = binary.NativeEndian.AppendUint32(header, unix.RTM_F_FIB_MATCH|unix.RTM_F_LOOKUP_TABLE)
	m := newMessage(unix.RTM_GETROUTE, 0, header).
		addr(unix.RTA_DST, p.dst).addr(unix.RTA_SRC, p.src).u32(unix.RTA_IIF, uint32(k.ifindex[p.ingress])).
		u32(unix.RTA_MARK, p.mark).u8(unix.RTA_IP_PROTO, p.proto)
	if p.proto == packet.ProtoTCP || p.proto == packet.ProtoUDP {
		m = m.be16(unix.RTA_SPORT, p.sport).be16(unix.RTA_DPORT, p.dport)
	}
	if family == packet.IPv6 && p.flow != 0 {
		m = m.be32(rtaFlowLabel, p.flow)
	}
	return m
}

// disagreement says where the kernel's answer is not weir's verdict; empty if it is. TTL, scope and MTU are not the
// kernel's question here, so that an error about them stands for the route that the packet would have taken.
func (c *decision) disagreement(got *answer) string {
	s, v := c.s, &c.v
	if want := errnoOf(v); want != got.errno {
		return "weir expects " + errnoName(want) + ", the kernel says " + errnoName(got.errno)
	}
	if got.errno != 0 {
		return ""
	}
	table := s.Table(v.Table)
	switch {
	case table.ID != got.table:
		return "another table"
	case v.Prefix != got.bits:
		return "another prefix"
	case v.Action == policy.Punt:
		if got.kind != unix.RTN_LOCAL && got.kind != unix.RTN_BROADCAST && got.kind != unix.RTN_ANYCAST {
			return "local in weir alone"
		}
		return ""
	case got.kind != unix.RTN_UNICAST:
		return "unicast in weir alone"
	}
	route, ok := c.route(v.Table)
	if !ok || int(v.Prefix) != route.Prefix.Bits() {
		return "weir's verdict is by a route that its table does not have"
	}
	if len(route.Hops) != len(got.hops) {
		return "another number of next hops"
	}
	for i := range route.Hops {
		if !got.has(hop{int(route.Hops[i].Port), route.Hops[i].Gateway}) {
			return "other next hops"
		}
	}
	if v.Action == policy.Forward && !got.has(hop{int(v.Port), gatewayOf(s, v)}) {
		return "a next hop that is not one of the route's"
	}
	if route.TOS != got.tos {
		return "a route of another tos"
	}
	return ""
}

// gatewayOf a verdict that forwards; none if the destination is on the link.
func gatewayOf(s *policy.Snapshot, v *policy.Verdict) netip.Addr {
	if v.OnLink {
		return netip.Addr{}
	}
	return s.Adjacencies.At(v.Adjacency).Neighbor.Addr
}

// errnoOf is the kernel's word for a verdict.
func errnoOf(v *policy.Verdict) unix.Errno {
	switch v.Reason {
	case packet.Blackhole, packet.Martian, packet.OwnSource, packet.ReversePath:
		return unix.EINVAL
	case packet.Prohibit:
		return unix.EACCES
	case packet.NoRoute:
		return unix.ENETUNREACH
	case packet.Unreachable:
		if v.Prefix == policy.NoPrefix && v.Table == policy.None { // a rule; an on-miss becomes a route
			return unix.ENETUNREACH
		}
		return unix.EHOSTUNREACH
	}
	return 0
}

func errnoName(e unix.Errno) string {
	if e == 0 {
		return "a route"
	}
	return unix.ErrnoName(e)
}
