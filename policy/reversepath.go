package policy

import (
	"weir/fib"
	"weir/policy/packet"
)

// ReversePath is what a port asks of the sources of packets that it forwards.
type ReversePath uint8

// Reverse-path checks (RFC 3704 section 2).
const (
	ReverseOff    ReversePath = iota
	ReverseLoose              // there is a way back, by whatever port
	ReverseStrict             // the way back is by the port that the packet came in on
)

var reversePaths = [...]string{ReverseOff: "off", ReverseLoose: "loose", ReverseStrict: "strict"}

// String is the word of the configuration.
func (r ReversePath) String() string {
	if int(r) < len(reversePaths) {
		return reversePaths[r]
	}
	return "unknown"
}

// reversePath reports whether the source of a packet that leaves by the port egress is what the port it came in on asks
// for. It walks the rules and tables once more, for a packet the other way (__fib_validate_source in
// net/ipv4/fib_frontend.c): addresses and ports are swapped, the TOS stays, it comes in where the first one leaves, and
// it has no mark, unless the port takes that one's for it (src_valid_mark). Everything else that a rule may ask for is
// the packet's own.
//
// Every answer but a unicast route is no way back. Of a route with several next hops any will do, also one that is not
// usable now: what counts is where the source is allowed to be.
//
// Linux checks IPv4 alone. IPv6 is treated alike here, but for link-local sources: they are on the link that they come in
// on, whatever the tables say.
func (s *Snapshot) reversePath(f *flow, egress uint16, t *Trace) bool {
	in := f.key.Ingress
	port := &s.Ports[in]
	if port.ReversePath == ReverseOff || f.key.Family == packet.IPv6 && linkLocal6(&f.key.Src) {
		return true
	}
	k, was := f.key, *f.key // turned round in place: a key that is made here would be allocated
	k.Src, k.Dst = k.Dst, k.Src
	k.SrcPort, k.DstPort = k.DstPort, k.SrcPort
	k.TOS, k.Ingress, k.Mark = f.tos, egress, 0
	if port.SourceMark {
		k.Mark = f.mark
	}
	var back flow
	back.fill(s, k)

	t.turn(s, &back, port.ReversePath)
	r := s.walkBack(f, &back, t)
	ok := r.outcome == found && r.route.Action == fib.Unicast && (port.ReversePath == ReverseLoose || leavesBy(r.route, in))
	*k = was
	t.returned(s, r, in, ok)
	return ok
}

// walkBack walks the rules for the packet the other way as they were walked for the one that came in.
func (s *Snapshot) walkBack(f, back *flow, t *Trace) result {
	if m := s.matchers.rules[familyIndex(f.key.Family)]; m != nil && f.matched {
		var class classes
		var l lanes
		var room cursorRoom
		m.classify(back, &class, &l)
		c := cursor{m: m, class: &class, lanes: &l, room: &room}
		r, _ := s.matchFrom(&c, back, 0, false)
		return r
	}
	return s.walk(back, t)
}

// leavesBy reports whether one of the route's next hops is by the port.
func leavesBy(r *fib.Route, port uint16) bool {
	for i := range r.Hops {
		if r.Hops[i].Port == port {
			return true
		}
	}
	return false
}
