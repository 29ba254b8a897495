package oracle

import (
	"net/netip"
	"slices"

	"weir/policy"
	"weir/policy/packet"
)

// decision is one of weir's that an oracle is to confirm.
type decision struct {
	d   *description
	s   *policy.Snapshot
	p   *probe
	key packet.Key
	v   policy.Verdict
}

func decide(d *description, s *policy.Snapshot, p *probe, key packet.Key) *decision {
	return &decision{d, s, p, key, s.Evaluate(&key, nil)}
}

// asks says whom a decision is compared with.
type asks uint8

const (
	asksKernel asks = 1 << iota // RTM_GETROUTE
	asksLinux                   // a kernel that routes
	asksWeir                    // such a kernel and a running weir
	asksWire   = asksLinux | asksWeir
)

// difference is one between weir and Linux that is meant to be, or that the way of asking brings with it. Decisions that
// it applies to are not compared.
type difference struct {
	name    string
	why     string
	of      asks
	applies func(c *decision) bool
}

var differences = []difference{
	{
		name: "unspecified IPv6 destination", of: asksKernel | asksWire,
		why:     "Linux routes a packet to ::. RFC 4291 section 2.5.2 forbids it as a destination; weir drops it as a martian.",
		applies: func(c *decision) bool { return c.p.dst == netip.IPv6Unspecified() },
	},
	{
		name: "IPv6 martians", of: asksKernel,
		why:     "RTM_GETROUTE does not look at IPv6 addresses; packets are dropped before they are looked up.",
		applies: func(c *decision) bool { return c.p.src.Is6() && c.v.Reason == packet.Martian },
	},
	{
		name: "both addresses unspecified", of: asksKernel,
		why: "Both deliver such a packet to the router itself; RTM_GETROUTE has no route to show for it.",
		applies: func(c *decision) bool {
			return c.p.src == netip.IPv4Unspecified() && c.p.dst == netip.IPv4Unspecified()
		},
	},
	{
		name: "unspecified IPv6 source", of: asksWire,
		why: "Linux forwards a packet from :: where it leaves by the port that it came in on (ip6_forward does not look at the source " +
			"there). RFC 4291 section 2.5.2: a router must never; weir drops it.",
		applies: func(c *decision) bool { return c.p.src == netip.IPv6Unspecified() },
	},
	{
		name: "connected broadcast source", of: asksKernel | asksWire,
		why: "Linux looks for a route first, answers with its error if it is one, and only then drops the packet; with no rules " +
			"but the default ones it even forwards it. weir drops it before it looks.",
		applies: func(c *decision) bool { return isConnectedBroadcast(c.p.src) },
	},
	{
		name: "own source without rule local", of: asksKernel | asksWire,
		why: "Linux finds out by a reverse lookup, through the rules, that a source is its own. So it forwards such a packet if the " +
			"rules do not lead the reverse one to table local before anything else, and sends errors to itself on the wire. weir " +
			"always drops it.",
		applies: func(c *decision) bool { return isOwn(c.p.src) && !c.d.defaults },
	},
	{
		name: "own destination without rule local", of: asksWire,
		why: "If the rules do not lead a packet to table local, Linux forwards what is addressed to it. weir's XDP program hands the " +
			"kernel all that is for its own addresses.",
		applies: func(c *decision) bool {
			return c.v.Action != policy.Punt && (isOwn(c.p.dst) || isConnectedBroadcast(c.p.dst))
		},
	},
	{
		name: "errors about later IPv6 fragments", of: asksWire,
		why: "Linux sends them, and RFC 4443 section 2.4 (e) does not forbid it. weir sends no error about any fragment but the first, " +
			"as RFC 1812 section 4.3.2.7 has it for IPv4.",
		applies: func(c *decision) bool {
			return c.key.Family == packet.IPv6 && c.key.Fragment == packet.FragmentLater && c.mayFail()
		},
	},
	{
		name: "ports of other protocols", of: asksWire,
		why: "To Linux's rules the first four bytes of SCTP, DCCP, UDP-Lite and ESP are ports too, and so is the SPI of AH " +
			"(proto_ports_offset in include/linux/ip.h). To weir's only TCP and UDP have ports.",
		applies: func(c *decision) bool {
			return slices.Contains([]uint8{33, 50, 51, 132, 136}, c.p.proto) && c.p.fragment == packet.FragmentNone && c.d.looksAtPorts()
		},
	},
	{
		name: "authentication header", of: asksWire,
		why: "Linux's rules see AH as the protocol, and its SPI as ports. weir sees through it (RFC 8200 section 4 has it among the " +
			"extension headers), so that AH cannot carry a packet past rules about its ports.",
		applies: func(c *decision) bool { return slices.Contains(c.p.extensions, extAuth) && c.d.looksAtL4() },
	},
	{
		name: "atomic fragment", of: asksWire,
		why: "To Linux's rules an IPv6 packet with a fragment header is a fragment, without ports, and the header behind that one is " +
			"its protocol. To weir one that is whole is whole (RFC 6946 section 4): it goes where the flow's other packets go.",
		applies: func(c *decision) bool { return slices.Contains(c.p.extensions, extFragment) && c.d.looksAtL4() },
	},
	{
		name: "headers behind a fragment header", of: asksWire,
		why: "Linux's rules see the header behind the fragment header as the protocol, in every fragment. weir sees the protocol " +
			"itself where the fragment has it, in the first.",
		applies: func(c *decision) bool {
			return c.p.fragment == packet.FragmentFirst && len(c.p.behind) > 0 && c.d.looksAtL4()
		},
	},
	{
		name: "errors to network 0", of: asksWire,
		why:     "Linux answers a sender in 0/8, but for 0.0.0.0. RFC 1812 section 4.3.2.7 forbids it; weir sends nothing.",
		applies: func(c *decision) bool { return c.p.src.Is4() && c.p.src.As4()[0] == 0 && c.mayFail() },
	},
	{
		name: "errors to link-local senders", of: asksWire,
		why: "Linux looks for them in the tables too, among the routes out of the port that the packet came in on: where rules lead " +
			"it to such a route before fe80::/64, as they often do here, a gateway gets the error. weir sends it to the neighbour.",
		applies: func(c *decision) bool {
			return c.p.src.Is6() && c.p.src.IsLinkLocalUnicast() && (c.mayFail() || len(c.ways()) > 1)
		},
	},
	{
		name: "neighbour with an IPv4-mapped address", of: asksWeir,
		why: "A configuration file cannot give it a MAC address, so that weir asks for it.",
		applies: func(c *decision) bool {
			return slices.ContainsFunc(c.ways(), func(w way) bool { return w.to.Addr.Is4In6() })
		},
	},
	{
		name: "broadcast address behind a link that is down", of: asksKernel,
		why:     "Linux forgets that it is one, and routes the packet as any other. To weir it stays the router's own.",
		applies: func(c *decision) bool { return len(c.d.down) > 0 && isConnectedBroadcast(c.p.dst) },
	},
	{
		name: "reverse path in IPv6", of: asksKernel | asksWire,
		why: "Linux checks the sources of IPv4 alone. TestGetRoute asks it about the way back.",
		applies: func(c *decision) bool {
			return c.key.Family == packet.IPv6 && c.v.Reason == packet.ReversePath
		},
	},
	{
		name: "reverse path of the router's own packets", of: asksKernel,
		why:     "Linux checks them too. weir leaves to the kernel, and its rp_filter, what is addressed to the router.",
		applies: func(c *decision) bool { return c.v.Action == policy.Punt && c.checked() },
	},
	{
		name: "reverse path by ingress of a multipath route", of: asksKernel | asksWire,
		why: "The way back comes in where the packet leaves, and rules may ask where that is; but the two hash flows differently.",
		applies: func(c *decision) bool {
			list := c.ways()
			several := slices.ContainsFunc(list, func(w way) bool { return w.to.Port != list[0].to.Port })
			return several && c.checked() && slices.ContainsFunc(c.d.Rules, func(r policy.Rule) bool { return r.Match.HasIngress })
		},
	},
	{
		name: "group of an IPv6 multipath route", of: asksKernel | asksWire,
		why: "suppress_ifgroup looks at the next hop that the flow has got, in weir as in Linux; but the two hash flows differently.",
		applies: func(c *decision) bool {
			for i := range c.d.Rules {
				if r := &c.d.Rules[i]; c.key.Family == packet.IPv6 && r.HasSuppressGroup && c.dividedByGroup(r) {
					return true
				}
			}
			return false
		},
	},
}

// checked reports whether the port that the packet comes in on checks its source.
func (c *decision) checked() bool {
	return c.d.Ports[c.p.ingress].ReversePath != policy.ReverseOff
}

// tooLong reports whether the packet is, for one of the ways that it may take.
func (c *decision) tooLong() bool {
	return slices.ContainsFunc(c.ways(), func(w way) bool { return c.key.Length > w.mtu })
}

// mayFail reports whether an error may be due.
func (c *decision) mayFail() bool { return c.v.Action == policy.Reject || c.tooLong() }

// looksAtPorts reports whether a rule does.
func (d *description) looksAtPorts() bool {
	return slices.ContainsFunc(d.Rules, func(r policy.Rule) bool {
		return r.Match.Sport.Kind != policy.PortAny || r.Match.Dport.Kind != policy.PortAny
	})
}

// looksAtL4 reports whether a rule looks at ports or protocol.
func (d *description) looksAtL4() bool {
	return d.looksAtPorts() || slices.ContainsFunc(d.Rules, func(r policy.Rule) bool { return r.Match.HasProto })
}

// different finds a difference that applies to the decision.
func different(c *decision, of asks) (*difference, bool) {
	for i := range differences {
		if x := &differences[i]; x.of&of != 0 && x.applies(c) {
			return x, true
		}
	}
	return nil, false
}

// dividedByGroup reports whether the rule's table has a route for the packet whose hops are in the rule's group in part.
func (c *decision) dividedByGroup(r *policy.Rule) bool {
	route, ok := c.route(r.Table)
	if !ok {
		return false
	}
	within := 0
	for i := range route.Hops {
		if ports[route.Hops[i].Port].Group == r.SuppressGroup {
			within++
		}
	}
	return within != 0 && within != len(route.Hops)
}
