package oracle

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"

	"weir/fib"
	"weir/perf/lab"
	"weir/policy"
	"weir/policy/packet"
)

// expected is what a router does with a frame: which frames may come out of it, of which one does.
type expected struct {
	frames []sighting
	silent bool // or none
	local  bool // the packet is the router's own: it may answer, but must not forward
}

// or adds an ICMP error to what may happen, or silence where none may be sent.
func (e *expected) or(f sighting, ok bool) {
	if ok {
		e.frames = append(e.frames, f)
	} else {
		e.silent = true
	}
}

// expect says what weir's decision means on the wire.
func (c *decision) expect(frame []byte) (e expected) {
	switch {
	case c.v.Action == policy.Punt:
		e.local = true
	case c.v.Action == policy.Forward || c.v.Reason == packet.TooBig:
		for _, w := range c.ways() {
			if c.key.Length > w.mtu {
				e.or(c.icmp(frame, w.tooBig(&c.key)))
			} else {
				e.frames = append(e.frames, forwarded(frame, &c.key, w.to))
			}
		}
	case c.v.Action == policy.Reject:
		e.or(c.icmp(frame, packet.Error{Type: c.v.Type, Code: c.v.Code}))
	default:
		e.silent = true
	}
	return e
}

// way is one that a packet may take.
type way struct {
	to  fib.Neighbor
	mtu uint16
}

// tooBig is the error about a packet that does not fit.
func (w *way) tooBig(k *packet.Key) packet.Error {
	if k.Family == packet.IPv6 {
		return packet.Error{Type: packet.ICMPv6PacketTooBig, Info: uint32(w.mtu)}
	}
	return packet.Error{Type: packet.ICMPUnreachable, Code: packet.ICMPFragNeeded, Info: uint32(w.mtu)}
}

// ways are those of the route that decided, none if none did. Of several a router chooses one by a hash of its own.
func (c *decision) ways() (list []way) {
	if c.v.Table == policy.None {
		return nil
	}
	route, ok := c.route(c.v.Table)
	if !ok {
		return nil
	}
	for i := range route.Hops {
		h := &route.Hops[i]
		w := way{to: fib.Neighbor{Addr: h.Gateway, Port: h.Port}, mtu: ports[h.Port].MTU}
		if h.OnLink() {
			w.to.Addr = c.p.dst
		}
		if route.MTU != 0 {
			w.mtu = min(w.mtu, route.MTU)
		}
		list = append(list, w)
	}
	return list
}

// route is the one that a table has for the packet, but for those whose links are down.
func (c *decision) route(table uint16) (*fib.Route, bool) {
	routes := c.s.Routes(table)
	r, ok := routes.Lookup(c.p.dst, c.p.tos)
	for ok && r.Action == fib.Unicast && !c.s.Adjacencies.Stands(r) {
		r, ok = routes.After(r, c.p.dst, c.p.tos)
	}
	return r, ok
}

// forwarded is a frame as the router sends it on.
func forwarded(frame []byte, k *packet.Key, to fib.Neighbor) sighting {
	b := bytes.Clone(frame)
	mac := macOf(to)
	copy(b, mac[:])
	copy(b[6:], portMAC(int(to.Port)))
	ip := b[packet.EthernetHeaderLen:]
	if k.Family == packet.IPv6 {
		ip[7]--
	} else {
		ip[8]--
		putChecksum(ip)
	}
	return sighting{int(to.Port), b}
}

// macOf a neighbour; zero for one that is not among them, which no router can have.
func macOf(n fib.Neighbor) [6]byte {
	i := slices.IndexFunc(neighbors, func(o policy.StaticNeighbor) bool { return o.Neighbor == n })
	if i < 0 {
		return [6]byte{}
	}
	return neighbors[i].MAC
}

// icmp is the error that answers the packet, if one may be sent. It is decided on as the router's own, and leaves by table
// back.
func (c *decision) icmp(frame []byte, e packet.Error) (sighting, bool) {
	e.Source = c.errorSource()
	b := make([]byte, packet.MaxErrorFrameLen)
	n, ok := packet.BuildError(b, frame, &c.key, e)
	if !ok {
		return sighting{}, false
	}
	b = b[:n]
	var k packet.Key
	if reason := packet.Parse(b, &k); reason != packet.None {
		panic("oracle: an error does not parse: " + reason.String())
	}
	k.Ingress = policy.LocalOutput
	v := c.s.Evaluate(&k, nil)
	if v.Action != policy.Forward {
		return sighting{}, false // about a packet of the router's own
	}
	to := c.s.Adjacencies.At(v.Adjacency).Neighbor
	mac := macOf(to)
	copy(b, mac[:])
	copy(b[6:], portMAC(int(to.Port)))
	return sighting{int(to.Port), b}, true
}

// errorSource is the address that an error comes from: one of the port that the packet came in on, of the sender's subnet
// if there is one.
func (c *decision) errorSource() netip.Addr {
	var source netip.Addr
	for _, p := range ports[c.p.ingress].Addresses {
		switch {
		case p.Addr().Is4() != c.p.src.Is4():
		case p.Contains(c.p.src):
			return p.Addr()
		case !source.IsValid():
			source = p.Addr()
		}
	}
	return source
}

// disagrees says where what came out of a router is not what is expected; empty if it is.
func (e *expected) disagrees(c *decision, seen []sighting) string {
	if e.local {
		for _, s := range seen {
			if !isError(s.frame) && isFrom(s.frame, c.p.src) {
				return "forwarded, though it is the router's own"
			}
		}
		return ""
	}
	switch {
	case e.silent && len(seen) == 0:
		return ""
	case len(seen) == 0:
		return "nothing came out"
	case len(e.frames) == 0:
		return "something came out, where nothing should"
	case len(seen) > 1:
		return fmt.Sprintf("%d frames came out", len(seen))
	}
	got := seen[0]
	if isError(got.frame) {
		if err := lab.VerifyChecksums(got.frame); err != nil {
			return err.Error()
		}
	}
	for _, want := range e.frames {
		if want.port == got.port && bytes.Equal(c.comparable(want), c.comparable(got)) {
			return ""
		}
	}
	return "something else came out"
}

// comparable is a frame without what may differ: in an ICMP error of the router's own, the IPv4 identification and DF
// (weir's errors are atomic, RFC 6864), and the source of an ICMPv6 error that does not leave where the packet came in,
// since Linux takes an address of the port that it leaves by. Checksums of errors go with that; they have been verified.
func (c *decision) comparable(s sighting) []byte {
	if !isError(s.frame) {
		return s.frame
	}
	b := bytes.Clone(s.frame)
	ip := b[packet.EthernetHeaderLen:]
	if ip[0]>>4 == packet.IPv4 {
		clear(ip[4:8])
		clear(ip[10:12])
		return b
	}
	if s.port != c.p.ingress {
		clear(ip[8:24])
		clear(ip[packet.IPv6HeaderLen+2 : packet.IPv6HeaderLen+4])
	}
	return b
}

// isError reports whether a frame is an ICMP error of a router.
func isError(frame []byte) bool {
	var k packet.Key
	if packet.Parse(frame, &k) != packet.None || k.Fragment == packet.FragmentLater || k.TTL != 64 {
		return false // what was forwarded has less
	}
	switch k.Proto {
	case packet.ProtoICMP:
		return k.ICMPType == 3 || k.ICMPType == 11 || k.ICMPType == 12
	case packet.ProtoICMPv6:
		return k.ICMPType < 128
	}
	return false
}

func isFrom(frame []byte, a netip.Addr) bool {
	var k packet.Key
	return packet.Parse(frame, &k) == packet.None && k.SrcAddr() == a
}
