package oracle

import (
	"net/netip"

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
		name: "connected broadcast source", of: asksKernel | asksWire,
		why: "Linux looks for a route first, answers with its error if it is one, and only then drops the packet; with no rules " +
			"but the default ones it even forwards it. weir drops it before it looks.",
		applies: func(c *decision) bool { return isConnectedBroadcast(c.p.src) },
	},
	{
		name: "own source without rule local", of: asksKernel | asksWire,
		why: "Linux finds out by a reverse lookup, through the rules, that a source is its own. So it forwards such a packet if the " +
			"rules do not lead the reverse one to table local before anything else. weir always drops it.",
		applies: func(c *decision) bool { return c.v.Reason == packet.OwnSource && !c.d.defaults },
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

// different finds a difference that applies to the decision.
func different(c *decision, of asks) (*difference, bool) {
	for i := range differences {
		if x := &differences[i]; x.of&of != 0 && x.applies(c) {
			return x, true
		}
	}
	return nil, false
}

func isConnectedBroadcast(a netip.Addr) bool {
	for i := range ports {
		for _, p := range ports[i].Addresses {
			if p.Bits() <= 30 && p.Contains(a) && a.Is4() && !p.Contains(a.Next()) {
				return true
			}
		}
	}
	return false
}

// dividedByGroup reports whether the rule's table has a route for the packet whose hops are in the rule's group in part.
func (c *decision) dividedByGroup(r *policy.Rule) bool {
	route, ok := c.s.Routes(r.Table).Lookup(c.p.dst, c.p.tos)
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
