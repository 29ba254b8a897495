package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"weir/perf/lab"
)

// reached is how a router's own addresses answer.
type reached struct {
	asked, lost  int
	median, most time.Duration
	segments     uint32 // sent again by TCP
	transfer     time.Duration
}

func (r reached) String() string {
	return fmt.Sprintf("%d of %d pings lost, median %v, longest %v; 1 MiB by TCP in %v, %d segments sent again",
		r.lost, r.asked, r.median, r.most, r.transfer.Round(time.Millisecond), r.segments)
}

// reach asks the router itself, on both its ports, and for its MAC addresses over and over, and has a TCP session with it.
func (n *network) reach(t *testing.T, from *end) (r reached) {
	t.Helper()
	var times []time.Duration
	addrs := []netip.Addr{from.gateway4(), from.gateway6(), n.ends[1].gateway4(), n.ends[1].gateway6()}
	for i := range 50 {
		for _, a := range addrs {
			if i%10 == 0 {
				_ = from.RemoveNeighbor(hostPort, from.gateway(a)) // it may be gone already
			}
			r.asked++
			echo, err := from.Ping(testContext(t), lab.PingOptions{To: a, Timeout: time.Second})
			switch {
			case errors.Is(err, lab.ErrNoAnswer):
				r.lost++
			case err != nil || echo.Error != nil:
				t.Errorf("ping to %s: %v, %v", a, err, echo.Error)
			default:
				times = append(times, echo.RTT)
			}
		}
	}
	slices.Sort(times)
	if len(times) > 0 {
		r.median, r.most = times[len(times)/2], times[len(times)-1]
	}
	for _, a := range addrs {
		server := must[*lab.TCPServer](t)(n.router.ListenTCP(netip.AddrPortFrom(a, 0)))
		result, err := from.SendTCP(testContext(t), lab.TCPOptions{To: server.Address(), Bytes: 1 << 18})
		if err != nil {
			t.Errorf("session with %s: %v", a, err)
		}
		r.transfer += result.Duration
		r.segments += result.Retransmits
		need(t, server.Close())
	}
	return r
}

// TestKernelPathUnderLoad: the router's own addresses answer, by ARP, ND, ping and TCP, while all passes that the machine can
// send. How soon is told, beside a kernel router under the same load.
func TestKernelPathUnderLoad(t *testing.T) {
	for _, who := range []string{"Linux", "weir"} {
		t.Run(who, func(t *testing.T) {
			n := newNetwork(t, "em0", "em1")
			from, to := n.ends[0], n.ends[1]
			var w *weir
			if who == "weir" {
				w = n.start(n.config(""))
			} else {
				for _, e := range n.ends {
					need(t, n.router.AddAddress(e.port, e.gateway4().String()+"/24"), n.router.AddAddress(e.port, e.gateway6().String()+"/64"))
				}
				need(t, n.router.EnableForwarding())
			}
			n.warm([2]*end{from, to}, [2]*end{to, from})
			idle := n.reach(t, from)
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			var streams []<-chan streamed
			var receivers []*lab.UDPReceiver
			for _, direction := range [][2]*end{{from, to}, {to, from}} {
				r := must[*lab.UDPReceiver](t)(direction[1].ListenUDP(netip.AddrPortFrom(direction[1].addr4(), 7000)))
				receivers = append(receivers, r)
				streams = append(streams, stream(ctx, direction[0].Host, lab.UDPOptions{To: r.Address(), Flows: 4}))
			}
			need(t, receivers[0].WaitCount(testContext(t), 1000), receivers[1].WaitCount(testContext(t), 1000))
			was, at := receivers[0].Report().Received+receivers[1].Report().Received, time.Now()
			loaded := n.reach(t, from)
			passed := receivers[0].Report().Received + receivers[1].Report().Received - was
			t.Logf("idle: %v", idle)
			t.Logf("with %.0f packets a second through it: %v", float64(passed)/time.Since(at).Seconds(), loaded)
			stop()
			for _, s := range streams {
				need(t, (<-s).err)
			}
			// What finds no room in the ring of a NIC is lost for any router, but the kernel must not starve.
			if idle.lost > 0 || loaded.lost > loaded.asked/10 {
				t.Errorf("pings were lost")
			}
			if w != nil {
				w.rest()
			}
		})
	}
}
