package appliance

import (
	"bytes"
	"context"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"

	"weir/fib"
	"weir/perf/lab"
	"weir/policy"
	"weir/policy/packet"
	"weir/rings"
)

// everyPath is a policy with a way to every kind of end. Port 2 is VLAN 100 of em1, 3 is VLAN 300 within 200 of em1, and 4
// VLAN 8 within 7 of em0.
func everyPath(p *policy.Policy) {
	p.Ports[1].MTU = 1400
	p.Ports[0].Redirects = true
	p.ICMP.Sender = policy.Rate{}
	p.Neighbors = append(p.Neighbors,
		policy.StaticNeighbor{Neighbor: fib.Neighbor{Addr: addr("10.0.0.3"), Port: 0}, MAC: [6]byte{2, 0, 0, 0, 0, 3}},
		policy.StaticNeighbor{Neighbor: fib.Neighbor{Addr: addr("fe80::3"), Port: 0}, MAC: [6]byte{2, 0, 0, 0, 0, 3}})
	p.Ports = append(p.Ports, policy.Port{Name: "em1.100", Device: 1, VLAN: 100, MTU: 1400, Addresses: []netip.Prefix{prefix("10.0.9.1/24")}})
	p.Ports = append(p.Ports, policy.Port{Name: "em1.200.300", Device: 1, VLAN: 200, Inner: 300, Service: true, MTU: 1400, Addresses: []netip.Prefix{prefix("10.0.8.1/24")}},
		policy.Port{Name: "em0.7.8", VLAN: 7, Inner: 8, MTU: 1400})
	p.Neighbors = append(p.Neighbors, policy.StaticNeighbor{Neighbor: fib.Neighbor{Addr: addr("10.0.9.2"), Port: 2}, MAC: [6]byte{2, 0, 0, 0, 9, 2}},
		policy.StaticNeighbor{Neighbor: fib.Neighbor{Addr: addr("10.0.8.2"), Port: 3}, MAC: [6]byte{2, 0, 0, 0, 8, 2}})
	via := func(gateway string, port uint16) []fib.NextHop {
		return []fib.NextHop{{Gateway: addr("%s", gateway), Port: port, Weight: 1}}
	}
	p.Tables[1].Routes = append(p.Tables[1].Routes,
		fib.Route{Prefix: prefix("172.16.0.0/16"), Hops: via("10.0.1.2", 1)},
		fib.Route{Prefix: prefix("172.17.0.0/16"), Hops: via("10.0.9.2", 2)},
		fib.Route{Prefix: prefix("172.25.0.0/16"), Hops: via("10.0.8.2", 3)},
		fib.Route{Prefix: prefix("172.18.0.0/16"), Hops: via("10.0.1.3", 1)}, // nobody has answered yet
		fib.Route{Prefix: prefix("172.19.0.0/16"), Hops: via("10.0.1.4", 1)}, // does not answer
		fib.Route{Prefix: prefix("172.20.0.0/16"), Action: fib.Blackhole},
		fib.Route{Prefix: prefix("172.21.0.0/16"), Action: fib.Unreachable},
		fib.Route{Prefix: prefix("172.22.0.0/16"), Action: fib.Prohibit},
		fib.Route{Prefix: prefix("172.23.0.0/16"), Hops: via("10.0.0.3", 0)},
		fib.Route{Prefix: prefix("172.24.0.0/16"), Hops: via("10.0.1.2", 1), MTU: 100},
		fib.Route{Prefix: prefix("2001:dba::/32"), Hops: via("fe80::3", 0)},
		fib.Route{Prefix: prefix("2001:db8::/32"), Hops: via("fd00:0:0:1::2", 1)},
		fib.Route{Prefix: prefix("2001:db9::/32"), Action: fib.Prohibit},
	)
	p.Tables[0].Routes = append(p.Tables[0].Routes, fib.Route{Prefix: prefix("192.0.2.55/32"), Action: fib.Local}) // not an address of the kernel's
}

// TestPacketPathDoesNotAllocate covers every way through the worker, and where each ends; with nobody watching, while packets are
// captured, and while there is no room for those.
func TestPacketPathDoesNotAllocate(t *testing.T) {
	for name, o := range map[string]*CaptureOptions{
		"nobody watches": nil,
		"captured":       {In: true, Out: true, Dropped: true, SnapLength: 128}, // there is room for all
		"no room":        {In: true, Out: true, Dropped: true, SnapLength: frameMax},
		"filtered":       {In: true, Out: true, Dropped: true, Filter: []string{"src=10.0.0.2,fd00::/16", "sport=1000", "ttl!=7", "iif=em0"}},
	} {
		t.Run(name, func(t *testing.T) { everyPathWithoutAllocation(t, o) })
	}
}

func everyPathWithoutAllocation(t *testing.T, o *CaptureOptions) {
	g := newRig(t, 2, false, everyPath)
	g.setup.snap = g.setup.snap.WithAdjacencies(g.setup.snap.Adjacencies.With(fib.Adjacency{
		Neighbor: fib.Neighbor{Addr: addr("10.0.1.4"), Port: 1}, Device: 1, MTU: 1400, State: fib.Failed,
	}))
	var watch *capture
	if o != nil {
		watch = newCapture(*o, 1)
		g.router.captures = append(g.router.captures, watch)
	}
	g.publish()
	w := g.w
	const host4, host6 = "10.0.0.2", "fd00::2"
	answer := func() { w.errors, *w.senders = errorBuckets{}, senders{seed: w.senders.seed} } // never limited
	never := func() {
		b := &w.errors.buckets[0]
		b.tokens, b.filled = -1<<40, w.now
	}
	asked := func(*fib.Neighbor) {}
	punted := func(*punt) {}
	later := func() { // those that wait give up
		w.requests.drain(asked)
		w.now += int64(2 * waitMax)
		w.visitRooms()
	}
	var egress *rings.Queue
	var taken []uint64
	w.gen.links = []netip.Addr{addr("fe80::1")}
	for _, c := range []struct {
		name   string
		p      packetOf
		reason packet.Reason // that is counted, or None: transmitted
		pieces int           // that each packet is transmitted in; 0: 1
		told   int           // answers that each batch gets besides
		before func()        // once
		each   func()        // before every batch
		after  func()
	}{
		{name: "forward", p: packetOf{src: host4, dst: "172.16.0.1"}},
		{name: "forward IPv6", p: packetOf{src: host6, dst: "2001:db8::1"}},
		{name: "forward on-link", p: packetOf{src: host4, dst: "10.0.1.2"}},
		{name: "forward into a VLAN", p: packetOf{src: host4, dst: "172.17.0.1"}},
		{name: "forward into two VLANs", p: packetOf{src: host4, dst: "172.25.0.1"}},
		{name: "forward from two VLANs", p: packetOf{src: host4, dst: "172.16.0.1", tag: 7, inner: 8}},
		{name: "unknown VLAN within one", p: packetOf{src: host4, dst: "172.16.0.1", tag: 7, inner: 9}, reason: packet.UnknownVLAN},
		{name: "blackhole", p: packetOf{src: host4, dst: "172.20.0.1"}, reason: packet.Blackhole},
		{name: "unreachable", p: packetOf{src: host4, dst: "172.21.0.1"}, reason: packet.Unreachable, each: answer},
		{name: "prohibit", p: packetOf{src: host4, dst: "172.22.0.1"}, reason: packet.Prohibit, each: answer},
		{name: "prohibit IPv6", p: packetOf{src: host6, dst: "2001:db9::1"}, reason: packet.Prohibit, each: answer},
		{name: "limited", p: packetOf{src: host4, dst: "172.22.0.1"}, reason: packet.Prohibit, each: never},
		{name: "no route", p: packetOf{src: host4, dst: "198.51.100.1"}, reason: packet.NoRoute, each: answer},
		{name: "TTL", p: packetOf{src: host4, dst: "172.16.0.1", ttl: 1}, reason: packet.TTLExceeded, each: answer},
		{name: "hop limit", p: packetOf{src: host6, dst: "2001:db8::1", ttl: 1}, reason: packet.TTLExceeded, each: answer},
		{name: "too big", p: packetOf{src: host4, dst: "172.16.0.1", size: 1400, df: true}, reason: packet.TooBig, each: answer},
		{name: "too big IPv6", p: packetOf{src: host6, dst: "2001:db8::1", size: 1400}, reason: packet.TooBig, each: answer},
		{name: "fragments", p: packetOf{src: host4, dst: "172.16.0.1", size: 1400}, pieces: 2},
		{name: "many fragments", p: packetOf{src: host4, dst: "172.24.0.1", size: 300}, pieces: 4},
		{name: "fragments into a VLAN", p: packetOf{src: host4, dst: "172.17.0.1", size: 1400}, pieces: 2},
		{name: "no chunks for fragments", p: packetOf{src: host4, dst: "172.24.0.1", size: 300}, reason: packet.NoFrame, each: func() {
			for g.umems[0].Available() > 3 {
				a, _ := g.umems[0].Alloc()
				taken = append(taken, a)
			}
		}, after: func() {
			for _, a := range taken {
				g.umems[0].Free(a)
			}
			w.lane.in[0].queue.Refill()
		}},
		{name: "limited by sender", p: packetOf{src: host4, dst: "172.22.0.1"}, reason: packet.Prohibit, each: answer,
			before: func() { w.gen.snap.ICMP.Sender = policy.DefaultICMPLimits.Sender }, after: func() { w.gen.snap.ICMP.Sender = policy.Rate{} }},
		{name: "redirect", p: packetOf{src: host4, dst: "172.23.0.1"}, told: 1, each: answer},
		{name: "redirect on-link", p: packetOf{src: host4, dst: "10.0.0.3"}, told: 1, each: answer},
		{name: "redirect IPv6", p: packetOf{src: host6, dst: "2001:dba::1"}, told: 1, each: answer},
		{name: "no redirect to a stranger", p: packetOf{src: "192.0.2.77", dst: "172.23.0.1"}, each: answer},
		{name: "bad option", p: packetOf{src: host4, dst: "172.16.0.1", options: []layers.IPv4Option{{OptionType: 7, OptionLength: 4, OptionData: []byte{1, 0}}}},
			reason: packet.BadOption, each: answer},
		{name: "link-local source", p: packetOf{src: "fe80::77", dst: "2001:db8::1"}, reason: packet.BeyondScope, each: func() { answer(); later() }},
		{name: "martian", p: packetOf{src: "127.0.0.1", dst: "172.16.0.1"}, reason: packet.Martian},
		{name: "own source", p: packetOf{src: "10.0.1.1", dst: "172.16.0.1"}, reason: packet.OwnSource},
		{name: "unknown VLAN", p: packetOf{src: host4, dst: "172.16.0.1", tag: 5}, reason: packet.UnknownVLAN},
		{name: "checksum", p: packetOf{src: host4, dst: "172.16.0.1", breakSum: true}, reason: packet.BadChecksum},
		{name: "neighbour failed", p: packetOf{src: host4, dst: "172.19.0.1"}, reason: packet.NeighborFailed, each: func() { answer(); w.requests.drain(asked) }},
		{name: "neighbour pending", p: packetOf{src: host4, dst: "172.18.0.1"}, reason: packet.NeighborPending, each: func() { answer(); later() }, after: later},
		{name: "waited in vain", p: packetOf{src: host4, dst: "10.0.1.200"}, reason: packet.NeighborFailed, each: func() { answer(); later() }, after: later},
		{name: "punt", p: packetOf{src: host4, dst: "192.0.2.55"}, reason: packet.None, each: func() { w.punts.drain(punted) }},
		{name: "punt full", p: packetOf{src: host4, dst: "192.0.2.55"}, reason: packet.PuntFull,
			before: func() {
				for w.punts.slot() != nil {
					w.punts.commit()
				}
			}, after: func() { w.punts.drain(punted) }},
		{name: "port down", p: packetOf{src: host4, dst: "172.16.0.1"}, reason: packet.PortDown,
			before: func() { egress, w.egress[1].queue = w.egress[1].queue, nil }, after: func() { w.egress[1].queue = egress }},
		{name: "transmit full", p: packetOf{src: host4, dst: "172.16.0.1"}, reason: packet.TransmitFull,
			before: func() {
				need(t, g.host.SetDown("em1"))
				for range rigRing / rings.BatchSize {
					g.inject(0, repeat(g.frame(0, packetOf{src: host4, dst: "172.16.0.1"}), rings.BatchSize)...)
					g.forward(0, rings.BatchSize)
				}
			}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.before != nil {
				c.before()
			}
			if o != nil && o.SnapLength == 128 {
				watch.seen() // all that came before
			}
			const runs = 4
			g.inject(0, repeat(g.frame(0, c.p), (runs+1)*rings.BatchSize)...)
			packets, byPort := w.count.packets.Load(), portDrops(g, c.reason)
			punts, sent, dropped := w.count.punted.Load(), transmitted(g), w.count.drops[c.reason].Load()
			if n := testing.AllocsPerRun(runs, func() {
				if c.each != nil {
					c.each()
				}
				g.forward(0, rings.BatchSize)
			}); n != 0 {
				t.Errorf("%v allocations per batch", n)
			}
			if c.each != nil {
				c.each()
			}
			if c.after != nil {
				c.after()
			}
			switch {
			case c.name == "punt":
				if got := w.count.punted.Load() - punts; got != (runs+1)*rings.BatchSize {
					t.Errorf("%d packets punted", got)
				}
			case c.reason == packet.None:
				if got, want := transmitted(g)-sent, (runs+1)*(rings.BatchSize*max(1, c.pieces)+c.told); got != uint64(want) {
					t.Errorf("%d packets transmitted, expected %d", got, want)
				}
			default:
				got := w.count.drops[c.reason].Load() - dropped
				if got < runs {
					t.Errorf("%d packets dropped as %v", got, c.reason)
				}
				if n := portDrops(g, c.reason) - byPort; n != got {
					t.Errorf("%d packets of %d dropped as %v are counted for the port", n, got, c.reason)
				}
			}
			if o != nil && o.SnapLength == 128 {
				s := watch.seen()
				if n := w.count.packets.Load() - packets; s.in != n {
					t.Errorf("%d packets of %d captured as they came in", s.in, n)
				}
				if n := transmitted(g) - sent; s.out != n {
					t.Errorf("%d packets of %d captured as they went out", s.out, n)
				}
				if n := portDrops(g, c.reason) - byPort; s.drops[c.reason] != n {
					t.Errorf("%d packets of %d captured as they were dropped", s.drops[c.reason], n)
				}
			}
			if b := g.balance(); b != 0 {
				t.Errorf("%d packets unaccounted for", b)
			}
			g.census()
		})
	}
	if o != nil && o.SnapLength == frameMax {
		want := w.count.packets.Load() + transmitted(g)
		for reason := range packet.End {
			want += portDrops(g, reason)
		}
		s := watch.seen()
		if s.lost == 0 || s.total()+s.lost != want {
			t.Errorf("captured %d packets, lost %d, of %d", s.total(), s.lost, want)
		}
	}
	if o != nil && len(o.Filter) > 0 {
		if s := watch.seen(); s.in == 0 || s.out == 0 || s.drops[packet.Blackhole] == 0 || s.drops[packet.BadChecksum] > 0 || s.drops[packet.Martian] > 0 {
			t.Errorf("filtered: %+v", s)
		}
	}
}

// portDrops is what was dropped for a reason of what came in by any port.
func portDrops(g *rig, reason packet.Reason) (n uint64) {
	for _, d := range g.devices {
		n += d.drops[0][reason].Load()
	}
	return n
}

// seen is what a capture has taken.
type seen struct {
	in, out, lost uint64
	drops         map[packet.Reason]uint64
}

func (s seen) total() uint64 {
	n := s.in + s.out
	for _, d := range s.drops {
		n += d
	}
	return n
}

// seen empties the rings.
func (c *capture) seen() seen {
	s := seen{drops: map[packet.Reason]uint64{}}
	for _, ring := range c.rings {
		ring.queue.drain(func(p *captured) {
			switch p.point {
			case pointIn:
				s.in++
			case pointOut:
				s.out++
			case pointDrop:
				s.drops[p.reason]++
			}
		})
		for i := range ring.lost {
			s.lost += ring.lost[i].Load()
		}
	}
	return s
}

func repeat(f []byte, n int) [][]byte {
	list := make([][]byte, n)
	for i := range list {
		list[i] = f
	}
	return list
}

// transmitted is what has been handed to the kernel on all ports.
func transmitted(g *rig) (n uint64) {
	for _, d := range g.devices {
		n += d.queues[0].Stats().Transmitted
	}
	return n
}

// TestCarry: packets between ports whose memory differs arrive as they were sent, and no chunk is lost on either side.
func TestCarry(t *testing.T) {
	g := newRig(t, 2, true, nil)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	const rounds = 40
	for round := range rounds {
		from := round % 2
		to := 1 - from
		var sent [][]byte
		for range 1 + r.IntN(rings.BatchSize) {
			p := packetOf{src: addr("10.0.%d.2", from).String(), dst: addr("10.0.%d.2", to).String(), size: 1 + r.IntN(1400), df: true}
			if r.IntN(2) == 0 {
				p.src, p.dst = addr("fd00:0:0:%d::2", from).String(), addr("fd00:0:0:%d::2", to).String()
			}
			sent = append(sent, g.frame(from, p))
		}
		g.inject(from, sent...)
		g.forward(from, len(sent))
		for i, f := range sent {
			got, err := g.wires[to].Await(ctx, func(f lab.Frame) bool { return [6]byte(f.Data[6:12]) == g.ports[to] && carriesUDP(f.Data) })
			need(t, err, lab.VerifyChecksums(got.Data))
			if want := forwarded(t, f, g.ports[to], g.macs[to]); !bytes.Equal(got.Data, want) {
				t.Fatalf("frame %d of round %d\nis       %x\nexpected %x", i, round, got.Data, want)
			}
		}
	}
	g.census()
	if b := g.balance(); b != 0 {
		t.Errorf("%d packets unaccounted for", b)
	}

	// Without a free chunk on the other side they are dropped, and counted.
	far := g.umems[1]
	var taken []uint64
	for a, ok := far.Alloc(); ok; a, ok = far.Alloc() {
		taken = append(taken, a)
	}
	f := g.frame(0, packetOf{src: "10.0.0.2", dst: "10.0.1.2"})
	g.inject(0, repeat(f, rings.BatchSize)...)
	if n := testing.AllocsPerRun(1, func() { g.w.forward(&g.w.lane.in[0]) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	for deadline := time.Now().Add(10 * time.Second); g.w.count.drops[packet.NoFrame].Load() < rings.BatchSize/2; {
		g.w.forward(&g.w.lane.in[0])
		if time.Now().After(deadline) {
			t.Fatalf("%d packets dropped for want of a chunk", g.w.count.drops[packet.NoFrame].Load())
		}
	}
	for _, a := range taken {
		far.Free(a)
	}
	if b := g.balance(); b != 0 {
		t.Errorf("%d packets unaccounted for", b)
	}
	g.census()
}

// carriesUDP tells the test's packets from those of the hosts' and the router's own stacks.
func carriesUDP(f []byte) bool {
	var k packet.Key
	return packet.Parse(f, &k) == packet.None && k.Proto == packet.ProtoUDP && k.DstPort == 2000
}

// forwarded is what a frame must look like behind the router.
func forwarded(t *testing.T, f []byte, src, dst [6]byte) []byte {
	t.Helper()
	g := bytes.Clone(f)
	var k packet.Key
	if r := packet.Parse(g, &k); r != packet.None {
		t.Fatal(r)
	}
	packet.DecrementTTL(g, &k)
	copy(g, dst[:])
	copy(g[6:], src[:])
	return g[:k.L3()+int(k.Length)] // without Ethernet's padding
}

// BenchmarkForward is the worker's own part of the packet path: receive, parse, decide, rewrite, transmit.
func BenchmarkForward(b *testing.B) {
	g := newRig(b, 2, false, everyPath)
	frames := repeat(g.frame(0, packetOf{src: "10.0.0.2", dst: "172.16.0.1"}), rings.BatchSize)
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		g.inject(0, frames...)
		b.StartTimer()
		g.forward(0, len(frames))
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*rings.BatchSize), "ns/packet")
}
