package main

import (
	"context"
	"fmt"
	"net/netip"
	"testing"

	"weir/perf/lab"
	"weir/policy/packet"
)

// uplinkByPort sends UDP to port 7001 by wan1, and all else by wan0.
func uplinkByPort(n *network, fragments string, ports ...string) string {
	one, other := n.end("wan0"), n.end("wan1")
	return n.config(fmt.Sprintf(`
fragments: %s
tables:
  main: {id: 254, routes: [{to: 0.0.0.0/0, via: %s}, {to: "::/0", via: "%s"}]}
  other: {id: 100, routes: [{to: 0.0.0.0/0, via: %s}, {to: "::/0", via: "%s"}]}
rules:
  - {name: by-port, priority: 100, proto: udp, dport: 7001, lookup: other}
`, fragments, one.addr4(), one.addr6(), other.addr4(), other.addr6()), ports...)
}

// listenAt receives at a port of a service of a host.
func listenAt(t *testing.T, h *end, a netip.Addr, port uint16) *lab.UDPReceiver {
	t.Helper()
	return must[*lab.UDPReceiver](t)(h.ListenUDP(netip.AddrPortFrom(a, port)))
}

// TestFragmentsByPort: datagrams that the sender's kernel has to fragment go by their port, and arrive whole, while commits
// bring a port in front of the others and take it away again. As Linux has it, no fragment goes by its port.
func TestFragmentsByPort(t *testing.T) {
	n := newNetwork(t, "aux", "em0", "wan0", "wan1")
	from, wan0, wan1 := n.ends[1], n.ends[2], n.ends[3]
	serve(t, wan0, wan1)
	some := []string{"em0", "wan0", "wan1"}
	w := n.start(uplinkByPort(n, "consistent", some...))
	n.warm([2]*end{from, wan0}, [2]*end{from, wan1})
	var right, astray []*lab.UDPReceiver
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	const size = 4000 // three fragments
	var streams []<-chan streamed
	for _, service := range alternating {
		for i, h := range []*end{wan0, wan1} {
			port := uint16(7000 + i)
			right = append(right, listenAt(t, h, service, port))
			astray = append(astray, listenAt(t, h, service, 7001-uint16(i)))
			streams = append(streams, stream(ctx, from.Host, lab.UDPOptions{
				To: netip.AddrPortFrom(service, port), Flow: uint32(10 * len(streams)), Flows: 2, Size: size, Rate: perSecond(500),
			}))
		}
	}
	const reloads = 10
	for i := range reloads {
		ports := [][]string{nil, some}[i%2]
		was := right[3].Report().Received
		w.write(uplinkByPort(n, "consistent", ports...))
		w.reload()
		eventually(t, "datagrams arrive", func() (bool, any) {
			got := right[3].Report().Received
			return got > was+20, got
		})
	}
	stop()
	var list []delivery
	for i, s := range streams {
		list = append(list, delivery{<-s, []*lab.UDPReceiver{right[i]}})
	}
	late := delivered(t, w, list...)
	sent := uint64(0)
	for i := range list {
		sent += list[i].sent.Packets
		if r := astray[i].Report(); r.Received > 0 {
			t.Errorf("%d datagrams of stream %d went astray", r.Received, i)
		}
	}
	s := w.rest()
	if s.Generation != reloads+1 || s.Totals.Received+late < 3*sent || late == 0 && s.Totals.Dropped > 0 {
		t.Errorf("%d datagrams sent, generation %d, counted %+v", sent, s.Generation, s.Totals)
	}

	w.write(uplinkByPort(n, "linux", some...))
	w.reload()
	for f := range alternating {
		const count = 20
		o := lab.UDPOptions{To: netip.AddrPortFrom(alternating[f], 7001), Flow: 90, Size: size, Count: count, Rate: perSecond(500)}
		sent, err := from.SendUDP(testContext(t), o)
		delivered(t, w, delivery{streamed{sent, err}, []*lab.UDPReceiver{astray[2*f]}})
	}
}

// TestFragmentsOutOfOrder: a fragment that comes before the first of its datagram follows it; without a first it goes
// nowhere, which is counted. Marks see the port of the first in both.
func TestFragmentsOutOfOrder(t *testing.T) {
	n := newNetwork(t, "em0", "em1", "em2")
	w := n.start(n.config("fragments: consistent\n" + marking))
	from, fast := n.ends[0], n.ends[2]
	fast.watch()
	id := uint32(0)
	for _, dst := range []string{"203.0.113.9", "2001:db8:5::9"} {
		dst := netip.MustParseAddr(dst)
		n.warm([2]*end{from, fast})
		for _, order := range [][]packet.Fragment{
			{packet.FragmentFirst, packet.FragmentLater}, {packet.FragmentLater, packet.FragmentFirst},
			{packet.FragmentLater, packet.FragmentLater, packet.FragmentFirst, packet.FragmentLater},
		} {
			id++
			for _, f := range order {
				from.sent(spec{src: from.addr(dst), dst: dst, dport: 5000, fragment: f, id: id, tos: 0x03})
			}
			var got map[packet.Fragment]int
			eventually(t, "all fragments arrive", func() (bool, any) {
				got = map[packet.Fragment]int{}
				n := 0
				for _, f := range fast.frames.all() {
					if !is(id)(f.Data) {
						continue
					}
					n++
					k := parsed(t, f.Data)
					got[k.Fragment]++
					if k.TOS != 0xbb || k.TTL != 63 {
						t.Errorf("to %s: tos %#x, ttl %d", dst, k.TOS, k.TTL)
					}
				}
				return n >= len(order), got
			})
			if got[packet.FragmentFirst] != 1 || got[packet.FragmentLater] != len(order)-1 {
				t.Errorf("to %s: %v of %v", dst, got, order)
			}
		}
		id++
		from.sent(spec{src: from.addr(dst), dst: dst, fragment: packet.FragmentLater, id: id})
	}
	eventually(t, "fragments without a first are dropped", func() (bool, any) {
		s := w.look()
		return s.Totals.Drops[packet.FragmentOrphan.String()] == 2 && s.Totals.Waiting == 0, s.Totals
	})
}
