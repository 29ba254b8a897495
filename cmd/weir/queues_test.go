package main

import (
	"net/netip"
	"testing"

	"weir/perf/lab"
)

// TestQueues: with two queues a port's flows spread over them, each stays in order, and every queue's worker has its
// share; with one worker for both queues too.
func TestQueues(t *testing.T) {
	for _, c := range []struct {
		name    string
		workers string
		worker  [2]int // of each queue
	}{{"two workers", "[0, 1]", [2]int{0, 1}}, {"one worker", "[1]", [2]int{0, 0}}} {
		t.Run(c.name, func(t *testing.T) {
			two := lab.LinkOptions{Queues: 2}
			n := newNetworkOf(t, endOptions{name: "em0", lab: two}, endOptions{name: "em1", lab: two})
			w := n.start(n.config("system: {workers: " + c.workers + "}\n"))
			from, to := n.ends[0], n.ends[1]
			n.warm([2]*end{from, to})
			const flows, packets = 16, 40_000
			var receivers []*lab.UDPReceiver
			var streams []<-chan streamed
			for i, direction := range [][2]*end{{from, to}, {to, from}} {
				for _, a := range []netip.Addr{direction[1].addr4(), direction[1].addr6()} {
					r := must[*lab.UDPReceiver](t)(direction[1].ListenUDP(netip.AddrPortFrom(a, uint16(7000+i))))
					receivers = append(receivers, r)
					streams = append(streams, stream(testContext(t), direction[0].Host, lab.UDPOptions{
						To: r.Address(), Flows: flows, Count: packets / 4, Rate: perSecond(20_000) / 4,
					}))
				}
			}
			var list []delivery
			for i, r := range receivers {
				list = append(list, delivery{<-streams[i], []*lab.UDPReceiver{r}})
			}
			late := delivered(t, w, list...)
			transfer(t, w, from.Host, to, to.addr4(), 1<<20)
			s := w.rest()
			if len(s.Workers) != c.worker[1]+1 {
				t.Errorf("%d workers", len(s.Workers))
			}
			for _, p := range s.Ports {
				if len(p.Queues) != 2 {
					t.Fatalf("%d queues of %s", len(p.Queues), p.Name)
				}
				for i, q := range p.Queues {
					if q.Worker != c.worker[i] || q.Received+late < packets/20 {
						t.Errorf("queue %d of %s: %+v", i, p.Name, q)
					}
				}
				if both := p.Queues[0].Transmitted > 0 && p.Queues[1].Transmitted > 0; both != (c.worker[1] == 1) {
					t.Errorf("%s transmitted %d and %d packets by %s", p.Name, p.Queues[0].Transmitted, p.Queues[1].Transmitted, c.name)
				}
			}
			if s.Totals.Dropped > 0 {
				t.Errorf("drops: %v", s.Totals.Drops)
			}
		})
	}
}

// TestUnequalQueues: a port with fewer queues than another bounds the workers, and loses nothing.
func TestUnequalQueues(t *testing.T) {
	n := newNetworkOf(t, endOptions{name: "em0", lab: lab.LinkOptions{Queues: 3}}, endOptions{name: "em1"})
	w := n.start(n.config(""))
	from, to := n.ends[0], n.ends[1]
	n.warm([2]*end{from, to})
	for i, direction := range [][2]*end{{from, to}, {to, from}} {
		r := must[*lab.UDPReceiver](t)(direction[1].ListenUDP(netip.AddrPortFrom(direction[1].addr6(), uint16(7000+i))))
		sent, err := direction[0].SendUDP(testContext(t), lab.UDPOptions{To: r.Address(), Flows: 9, Count: 5000, Rate: perSecond(20_000)})
		delivered(t, w, delivery{streamed{sent, err}, []*lab.UDPReceiver{r}})
	}
	if s := w.rest(); len(s.Workers) != 1 || s.Totals.Dropped > 0 {
		t.Errorf("%d workers, counted %+v", len(s.Workers), s.Totals)
	}
}
