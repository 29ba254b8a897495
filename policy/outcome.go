package policy

import "weir/policy/packet"

// outcome is what a walk, or a check after it, comes to.
type outcome uint8

const (
	miss            outcome = iota // no answer: the walk goes on
	found                          // a unicast or local route
	blackholed                     // rule, route or on-miss of type blackhole
	prohibited                     // rule, route or on-miss of type prohibit
	netUnreachable                 // rule or on-miss of type unreachable
	hostUnreachable                // route of type unreachable
	noRoute                        // the rules are exhausted
	ttlExceeded                    // TTL or hop limit would reach 0
	beyondScope                    // link-local source to another link
	tooBig                         // larger than the MTU, and may not be fragmented
)

// icmp is an error's type and code.
type icmp struct{ kind, code uint8 }

// refusal is how an outcome shows on the wire: the drop reason, and the error for each family. A refusal whose
// reason is Blackhole is silent.
type refusal struct {
	reason packet.Reason
	v4     icmp // RFC 792, RFC 1812 section 5.2.7.1
	v6     icmp // RFC 4443 section 3
}

// refusals gives Linux's errors (fib_props in net/ipv4/fib_semantics.c and ip_error in net/ipv4/route.c;
// ip6_pkt_discard, ip6_pkt_prohibit in net/ipv6/route.c; ip6_forward in net/ipv6/ip6_output.c).
var refusals = [...]refusal{
	blackholed:      {reason: packet.Blackhole},
	prohibited:      {packet.Prohibit, icmp{3, 13}, icmp{1, 1}},
	netUnreachable:  {packet.Unreachable, icmp{3, 0}, icmp{1, 0}},
	hostUnreachable: {packet.Unreachable, icmp{3, 1}, icmp{1, 0}},
	noRoute:         {packet.NoRoute, icmp{3, 0}, icmp{1, 0}},
	ttlExceeded:     {packet.TTLExceeded, icmp{11, 0}, icmp{3, 0}},
	beyondScope:     {packet.BeyondScope, icmp{}, icmp{1, 2}}, // IPv6 only
	tooBig:          {packet.TooBig, icmp{3, 4}, icmp{2, 0}},
}

// refuse makes the verdict one of the outcome, for a packet of the family.
func (v *Verdict) refuse(o outcome, family uint8) {
	r := &refusals[o]
	v.Reason = r.reason
	if r.reason == packet.Blackhole {
		v.Action = Drop
		return
	}
	v.Action, v.Type, v.Code = Reject, r.v4.kind, r.v4.code
	if family == packet.IPv6 {
		v.Type, v.Code = r.v6.kind, r.v6.code
	}
}
