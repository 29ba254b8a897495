package appliance

import (
	"bytes"
	"context"
	"encoding/binary"
	"slices"
	"testing"
	"time"

	"weir/fib"
	"weir/perf/lab"
	"weir/policy"
	"weir/policy/packet"
)

// byPort sends packets to port 7001 by em2 and all others by em1; those to 7002 nowhere.
func byPort(consistent bool) func(p *policy.Policy) {
	return func(p *policy.Policy) {
		p.ConsistentFragments = consistent
		dport := func(port uint16) policy.Selector {
			return policy.Selector{Dport: policy.PortMatch{Kind: policy.PortRange, Lo: port, Hi: port}}
		}
		for i, name := range []string{"by1", "by2"} {
			port := uint16(i + 1)
			p.Tables = append(p.Tables, policy.Table{Name: name, ID: uint32(100 + i), Routes: []fib.Route{
				{Prefix: prefix("203.0.113.0/24"), Hops: []fib.NextHop{{Gateway: addr("10.0.%d.2", port), Port: port, Weight: 1}}},
				{Prefix: prefix("2001:db8::/32"), Hops: []fib.NextHop{{Gateway: addr("fd00:0:0:%d::2", port), Port: port, Weight: 1}}},
			}})
		}
		p.Rules = append(p.Rules,
			policy.Rule{Name: "closed", Priority: 100, Match: dport(7002), Action: policy.RuleBlackhole},
			policy.Rule{Name: "other", Priority: 101, Match: dport(7001), Table: 4, SuppressPrefixLength: -1},
			policy.Rule{Name: "all", Priority: 102, Table: 3, SuppressPrefixLength: -1})
	}
}

// pieces cuts the datagram of a whole frame of UDP to a port into fragments of at most size bytes of payload.
func pieces(t testing.TB, frame []byte, dport uint16, id uint32, size int) (list [][]byte) {
	t.Helper()
	var k packet.Key
	if r := packet.Parse(frame, &k); r != packet.None || size%8 != 0 {
		t.Fatal(r, size)
	}
	l3, l4 := k.L3(), int(k.L4)
	payload := bytes.Clone(frame[l4 : l3+int(k.Length)])
	binary.BigEndian.PutUint16(payload[2:], dport)
	for offset := 0; offset < len(payload); offset += size {
		part := payload[offset:min(offset+size, len(payload))]
		word := uint16(offset) // in IPv6 in place; in IPv4 in units of 8
		more := offset+len(part) < len(payload)
		f := bytes.Clone(frame[:l4])
		h := f[l3:]
		if k.Family == packet.IPv4 {
			word /= 8
			if more {
				word |= 0x2000
			}
			binary.BigEndian.PutUint16(h[2:], uint16(packet.IPv4HeaderLen+len(part)))
			binary.BigEndian.PutUint16(h[4:], uint16(id))
			binary.BigEndian.PutUint16(h[6:], word)
			binary.BigEndian.PutUint16(h[10:], 0)
			binary.BigEndian.PutUint16(h[10:], packet.Checksum(packet.Sum(0, h[:packet.IPv4HeaderLen])))
		} else {
			if more {
				word |= 1
			}
			binary.BigEndian.PutUint16(h[4:], uint16(8+len(part)))
			header := make([]byte, 8)
			header[0], h[6] = h[6], 44
			binary.BigEndian.PutUint16(header[2:], word)
			binary.BigEndian.PutUint32(header[4:], id)
			f = append(f, header...)
		}
		list = append(list, append(f, part...))
	}
	return list
}

// datagram is a datagram of the host behind em0, in four fragments unless told otherwise.
func (g *rig) datagram(family uint8, dport uint16, id uint32) [][]byte {
	g.t.Helper()
	return g.datagramOf(family, dport, id, 4*400)
}

func (g *rig) datagramOf(family uint8, dport uint16, id uint32, size int) [][]byte {
	g.t.Helper()
	p := packetOf{src: "10.0.0.2", dst: "203.0.113.9", size: size - 8}
	if family == packet.IPv6 {
		p.src, p.dst = "fd00::2", "2001:db8::9"
	}
	return pieces(g.t, g.frame(0, p), dport, id, 400)
}

// take sends frames to em0 and has the worker take them.
func (g *rig) take(frames ...[]byte) {
	g.t.Helper()
	g.inject(0, frames...)
	g.forward(0, len(frames))
}

// sentBy is what has been transmitted by each port.
func (g *rig) sentBy() (n [3]uint64) {
	for i, d := range g.devices {
		n[i] = d.queues[0].Stats().Transmitted
	}
	return n
}

// accounted checks that every packet and every chunk is accounted for, and how many packets are held.
func (g *rig) accounted(waiting int64) {
	g.t.Helper()
	if got := g.w.count.waiting.Load(); got != waiting {
		g.t.Errorf("%d packets wait, expected %d", got, waiting)
	}
	if b := g.balance(); b != 0 {
		g.t.Errorf("%d packets unaccounted for", b)
	}
	g.census()
}

// remembers reports whether a first fragment is remembered.
func (ds *datagrams) remembers() bool { return ds.opened != [datagramSets][datagramWays]opened{} }

func (g *rig) dropped(r packet.Reason) uint64 { return g.w.count.drops[r].Load() }

// TestFragments: in whatever order the fragments of a datagram come, all leave the way of the first, as they came; and
// two datagrams, and whole packets between them, do not disturb each other.
func TestFragments(t *testing.T) {
	g := newRig(t, 3, false, byPort(true))
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	id := uint32(100)
	for _, family := range []uint8{packet.IPv4, packet.IPv6} {
		for _, c := range []struct {
			name  string
			order []int // of the fragments of a datagram by em2; from 10 on by em1, -1 a whole packet
		}{
			{"in order", []int{0, 1, 2, 3}},
			{"backwards", []int{3, 2, 1, 0}},
			{"first in the middle", []int{1, 0, 2, 3}},
			{"first twice", []int{0, 1, 0, 2, 3}},
			{"first twice, late", []int{1, 0, 0, 2, 3}},
			{"later twice", []int{2, 2, 0, 2, 1, 3}},
			{"overlapping", []int{4, 0, 1, 4, 2, 3}},
			{"two datagrams", []int{3, 13, 1, 11, 12, 10, 0, 2}},
			{"among others", []int{-1, 2, -1, 0, -1, 3, 1, -1}},
			{"in separate batches", []int{3, 99, 2, 99, 0, 99, 1}},
		} {
			id += 2
			one, two := g.datagram(family, 7001, id), g.datagram(family, 7000, id+1)
			one = append(one, shifted(one[2], family))
			whole := g.frame(0, packetOf{src: "10.0.0.2", dst: "203.0.113.9"})
			var batch [][]byte
			var want [3][][]byte
			for _, i := range c.order {
				var f []byte
				to := 1
				switch {
				case i == 99:
					g.take(batch...)
					batch = nil
					continue
				case i < 0:
					f = whole
				case i >= 10:
					f = two[i-10]
				default:
					f, to = one[i], 2
				}
				batch = append(batch, f)
				want[to] = append(want[to], forwarded(t, f, g.ports[to], g.macs[to]))
			}
			g.take(batch...)
			for to, list := range want {
				for range len(list) {
					got, err := g.wires[to].Await(ctx, func(f lab.Frame) bool {
						var k packet.Key
						return [6]byte(f.Data[6:12]) == g.ports[to] && packet.Parse(f.Data, &k) == packet.None && k.Proto == packet.ProtoUDP
					})
					need(t, err)
					i := slices.IndexFunc(list, func(f []byte) bool { return bytes.Equal(f, got.Data) })
					if i < 0 {
						t.Fatalf("IPv%d %s: em%d sent %x", family, c.name, to, got.Data)
					}
					list = slices.Delete(list, i, i+1)
				}
			}
			g.accounted(0)
		}
	}
	if w := g.w; w.datagrams.held != 0 {
		t.Errorf("%d holds in use", w.datagrams.held)
	}
}

// shifted makes a later fragment begin 8 bytes earlier.
func shifted(f []byte, family uint8) []byte {
	f = bytes.Clone(f)
	h := f[packet.EthernetHeaderLen:]
	if family == packet.IPv6 {
		binary.BigEndian.PutUint16(h[packet.IPv6HeaderLen+2:], binary.BigEndian.Uint16(h[packet.IPv6HeaderLen+2:])-8)
		return f
	}
	binary.BigEndian.PutUint16(h[6:], binary.BigEndian.Uint16(h[6:])-1)
	binary.BigEndian.PutUint16(h[10:], 0)
	binary.BigEndian.PutUint16(h[10:], packet.Checksum(packet.Sum(0, h[:packet.IPv4HeaderLen])))
	return f
}

// TestFragmentsOfLinux: where fragments are Linux's, ports do not count in any, none is held, and nothing is remembered.
func TestFragmentsOfLinux(t *testing.T) {
	g := newRig(t, 3, false, byPort(false))
	d := g.datagram(packet.IPv4, 7001, 1)
	slices.Reverse(d)
	g.take(d...)
	if sent := g.sentBy(); sent != [3]uint64{0, 4, 0} {
		t.Errorf("sent %v", sent)
	}
	if g.w.datagrams.remembers() {
		t.Error("a datagram is remembered")
	}
	g.accounted(0)
}

// TestFragmentsOtherwise: what is decided without the first fragment waits for none; fragments follow a first one that is
// dropped; and those of another port, or protocol, with the same identification are not of the datagram.
func TestFragmentsOtherwise(t *testing.T) {
	g := newRig(t, 3, false, byPort(true))
	d := g.datagram(packet.IPv4, 7002, 1)
	g.take(d[1], d[0], d[2], d[3])
	if n := g.dropped(packet.Blackhole); n != 4 {
		t.Errorf("%d fragments dropped", n)
	}
	esp := bytes.Clone(g.datagram(packet.IPv4, 7001, 2)[1])
	h := esp[packet.EthernetHeaderLen:]
	h[9] = 50
	binary.BigEndian.PutUint16(h[10:], 0)
	binary.BigEndian.PutUint16(h[10:], packet.Checksum(packet.Sum(0, h[:packet.IPv4HeaderLen])))
	g.take(esp)
	if sent := g.sentBy(); sent != [3]uint64{0, 1, 0} {
		t.Errorf("sent %v", sent)
	}
	g.accounted(0)

	g.take(g.datagram(packet.IPv4, 7001, 3)[0])
	tcp := bytes.Clone(g.datagram(packet.IPv4, 7001, 3)[1])
	h = tcp[packet.EthernetHeaderLen:]
	h[9] = 6
	binary.BigEndian.PutUint16(h[10:], 0)
	binary.BigEndian.PutUint16(h[10:], packet.Checksum(packet.Sum(0, h[:packet.IPv4HeaderLen])))
	g.take(tcp)
	g.accounted(1)
	p := g.frame(1, packetOf{src: "10.0.0.2", dst: "203.0.113.9", size: 800}) // the same addresses, by another port
	g.inject(1, pieces(t, p, 7001, 3, 400)[1])
	g.forward(1, 1)
	g.accounted(2)
}
