package main

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"weir/perf/lab"
)

// soak is how long faults go on: go test ./cmd/weir -run FaultsUnderLoad -timeout 0 -args -soak=10m
var soak = flag.Duration("soak", 0, "go on with faults under load for so long; 0: two rounds")

// faults is a router with a stream that passes em0 and em1, which no fault touches, and one to em2, which all do. What is
// malformed comes in on em3.
type faults struct {
	*network
	w                      *weir
	random                 *rand.Rand
	from, to, card, sender *end
	mac                    byte // of the card, the last byte
	frames                 int  // malformed ones of a round
}

// TestFaultsUnderLoad: whatever happens to a port, to neighbours, to the configuration, or comes in, the router lives, loses
// nothing of what has nothing to do with it, and has in the end what it had in the beginning. Then it is killed.
func TestFaultsUnderLoad(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	two := lab.LinkOptions{Queues: 2}
	n := newNetworkOf(t, endOptions{name: "em0"}, endOptions{name: "em1"}, endOptions{name: "em2"}, endOptions{name: "em3", lab: two})
	f := &faults{network: n, random: rand.New(rand.NewPCG(seed, 0)), from: n.ends[0], to: n.ends[1], card: n.ends[2], sender: n.ends[3],
		frames: int(perSecond(500_000))}
	f.card.options = []string{`addresses: [10.0.2.1/24, "fd00:0:0:2::1/64", 10.64.0.1/10]`}
	f.sender.options = append(f.sender.options, "vlans: {100: {}, 200: {vlans: {300: {}}}}")
	need(t, f.sender.SetQueues(hostPort, 1), n.router.SetQueues("em3", 1))
	for _, what := range []string{"all", "em2"} {
		// As by default. With 1, Linux 6.18 brings an address whose duplicate detection was under way when the link went back
		// without its local route: it is listed, but nobody answers.
		need(t, n.router.SetSysctl("net/ipv6/conf/"+what+"/keep_addr_on_down", "0"))
	}
	f.w = n.start(f.config(0))
	f.w.unbalanced = true // what was in a ring when its netdev went is lost with it
	n.warm([2]*end{f.from, f.to}, [2]*end{f.from, f.card}, [2]*end{f.sender, f.to})

	arrived := must[*lab.UDPReceiver](t)(f.card.ListenUDP(netip.AddrPortFrom(f.card.addr4(), 7100)))
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	victim := stream(ctx, f.from.Host, lab.UDPOptions{To: arrived.Address(), Flow: 1000, Rate: perSecond(2_000)})
	flows := func() {
		t.Helper()
		was := arrived.Report().Received
		eventually(t, "traffic passes again", func() (bool, any) { got := arrived.Report().Received; return got > was+100, got })
	}
	var first, last usage
	for round, end := 0, time.Now().Add(*soak); round < 2 || time.Now().Before(end); round++ {
		for _, fault := range []struct {
			name string
			do   func()
		}{
			{"links that flap", f.flap}, {"another MAC address", f.newMAC}, {"a netdev that goes and comes", f.pull},
			{"a queue more", f.addQueue}, {"commits", f.reload}, {"neighbours that do not answer", f.scanNobody}, {"malformed packets", f.malformed},
		} {
			began := time.Now()
			lost := f.beside(fault.name, fault.do)
			flows()
			t.Logf("round %d, %s: %v; of the stream beside it, the kernel dropped %d packets", round, fault.name, time.Since(began).Round(time.Millisecond), lost)
		}
		if round == 0 {
			first = f.w.usage(nil)
			last = first
			continue
		}
		last = f.w.usage(&first)
	}
	t.Logf("after the first round %v, in the end %v", first, last)
	if growth := last.resident - first.resident; growth > 16<<20 && !raceEnabled {
		t.Errorf("memory grew by %d KiB", growth>>10)
	}

	f.w.kill()
	f.w.run()
	flows()
	n.warm([2]*end{f.from, f.to})
	f.beside("after the kill", func() {})
	stop()
	need(t, (<-victim).err)
	for _, r := range arrived.Report().Flows {
		if r.Duplicated+r.Damaged > 0 {
			t.Errorf("arrived %+v", r)
		}
	}
}

// usage is what a process has of the system.
type usage struct{ descriptors, goroutines, resident int }

func (u usage) String() string {
	return fmt.Sprintf("%d descriptors, %d goroutines, %d KiB", u.descriptors, u.goroutines, u.resident>>10)
}

// usage waits until the router, which has to serve metrics, uses no more descriptors and goroutines than before.
func (w *weir) usage(before *usage) (u usage) {
	w.t.Helper()
	w.rest()
	eventually(w.t, "descriptors and goroutines are as many as before", func() (bool, any) {
		list := must[[]os.DirEntry](w.t)(os.ReadDir(fmt.Sprintf("/proc/%d/fd", w.process.PID())))
		text := must[[]byte](w.t)(w.n.scrape(metricsAt))
		u = usage{len(list), int(exposed(w.t, text)["go_goroutines"]), w.resident()}
		return before == nil || u.descriptors == before.descriptors && u.goroutines == before.goroutines, u
	})
	return u
}

// config has one more rule or less, and what malformed packets find their way by.
func (f *faults) config(i int) string {
	return f.network.config(fmt.Sprintf(`
system: {metrics: {listen: %q}}
tables: {main: {id: 254, routes: [{to: 203.0.113.0/24, via: 10.0.2.2}, {to: "2001:db8::/32", via: "fd00:0:0:2::2"}]}, x: {id: 100, routes: [{to: 198.51.100.%d/32, type: blackhole}]}}
rules: [{name: some, priority: %d, to: 198.51.100.0/24, lookup: x}]
`, metricsAt, i%200, 100+i))
}

// beside does something while 20,000 packets a second pass between em0 and em1. All arrive, but for those that the kernel
// has dropped before the router saw them or after it let go of them, which are counted there.
func (f *faults) beside(what string, do func()) (explained uint64) {
	t := f.t
	t.Helper()
	dropped := func() (n uint64) {
		for _, p := range f.w.look().Ports {
			if p.Name == f.from.port || p.Name == f.to.port {
				for _, q := range p.Queues {
					n += q.RingFull + q.NoFill
				}
			}
		}
		for _, e := range []*end{f.from, f.to} {
			for host, port := range map[*lab.Host]string{e.Host: hostPort, f.router: e.port} {
				s, err := host.Statistics(port)
				need(t, err)
				n += s.RxDropped + s.TxDropped
			}
		}
		return n
	}
	before := dropped()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var receivers []*lab.UDPReceiver
	var streams []<-chan streamed
	for _, a := range []netip.Addr{f.to.addr4(), f.to.addr6()} {
		r := must[*lab.UDPReceiver](t)(f.to.ListenUDP(netip.AddrPortFrom(a, 7000)))
		receivers = append(receivers, r)
		streams = append(streams, stream(ctx, f.from.Host, lab.UDPOptions{To: r.Address(), Flows: 2, Rate: perSecond(20_000) / 2}))
		need(t, r.WaitCount(testContext(t), 100))
	}
	do()
	stop()
	for i, s := range streams {
		sent := <-s
		need(t, sent.err)
		var report lab.UDPReport
		eventually(t, "all of a stream has arrived beside "+what, func() (bool, any) {
			report, explained = receivers[i].Report(), dropped()-before
			return report.Received+report.Overrun+explained >= sent.sent.Packets, fmt.Sprintf("%d sent, %d arrived, %d dropped by the kernel", sent.sent.Packets, report.Received, explained)
		})
		for flow, r := range report.Flows {
			if r.Duplicated+r.Reordered+r.Damaged > 0 || r.TTL != 63 || r.Received > sent.sent.Flows[flow] {
				t.Errorf("beside %s: flow %d, of which %d were sent: %+v", what, flow, sent.sent.Flows[flow], r)
			}
		}
		if report.Foreign > 0 {
			t.Errorf("beside %s: %d packets that nobody sent", what, report.Foreign)
		}
		need(t, receivers[i].Close())
	}
	return explained
}

// flap takes the link of em2 down and up, at either end, faster than the router may see it.
func (f *faults) flap() {
	for i := range 20 {
		host, port := f.router, "em2"
		if i%2 == 1 {
			host, port = f.card.Host, hostPort
		}
		need(f.t, host.SetDown(port), host.SetUp(port))
	}
	f.returned()
}

// returned waits until em2 is what it was.
func (f *faults) returned() {
	f.w.becomes("em2", "up", "")
	// A host has no router that repairs it: Linux 6.18 may have taken the local route of its address away for good, too.
	own := f.card.addr6().String() + "/64"
	need(f.t, f.card.RemoveAddress(hostPort, own), f.card.AddAddress(hostPort, own))
	f.card.addGateways()              // they went with the link
	f.ping(f.card, f.card.gateway4()) // which tells the router's kernel of another MAC address
	f.ping(f.card, f.card.gateway6())
	f.warm([2]*end{f.from, f.card})
}

// newMAC gives the card another MAC address.
func (f *faults) newMAC() {
	f.mac++
	need(f.t, f.card.SetMAC(hostPort, net.HardwareAddr{2, 0, 0, 0, 7, f.mac}), f.card.SetDown(hostPort), f.card.SetUp(hostPort))
	f.returned()
}

// pull deletes em2 and makes it again.
func (f *faults) pull() {
	need(f.t, f.card.link.Delete())
	f.w.becomes("em2", "absent", "no such interface")
	need(f.t, f.card.link.Recreate())
	f.returned()
}

// addQueue gives em3 a queue more, once: as long as the router uses it, the kernel does not take it away.
func (f *faults) addQueue() {
	need(f.t, f.router.SetQueues("em3", 2))
	eventually(f.t, "the new queue is served", func() (bool, any) { p := f.w.port("em3"); return len(p.Queues) == 2 && p.State == "up", p })
	f.warm([2]*end{f.sender, f.to})
}

// reload commits ten configurations.
func (f *faults) reload() {
	for range 10 {
		f.w.write(f.config(f.random.IntN(1000)))
		f.w.hangup()
	}
}

// scanNobody sends to addresses that nobody has.
func (f *faults) scanNobody() {
	for _, first := range []string{"10.100.0.0", "fd00:0:0:2:1:1:0:0"} {
		ctx, stop := context.WithCancel(f.t.Context())
		s := f.sender.scan(ctx, netip.MustParseAddr(first), perSecond(20_000))
		eventually(f.t, "addresses are tried", func() (bool, any) {
			got := s.sent.Load()
			return got > uint64(perSecond(20_000)), got
		})
		stop()
		need(f.t, <-s.done)
	}
	eventually(f.t, "nobody waits any more", func() (bool, any) { got := f.w.look().Totals; return got.Waiting == 0, got })
}

// malformed sends frames of every kind that have been tampered with, or are random.
func (f *faults) malformed() {
	socket := must[*lab.FrameSocket](f.t)(f.sender.OpenFrames(hostPort))
	defer socket.Close()
	bases := f.sender.bases(f.card)
	before := f.w.look().Totals
	for i := range f.frames {
		need(f.t, socket.Send(f.t.Context(), mutated(f.random, bases[i%len(bases)])))
	}
	if after := f.w.look().Totals; after.Received == before.Received || after.Dropped == before.Dropped {
		f.t.Errorf("counted %+v", after)
	}
	f.warm([2]*end{f.sender, f.to})
}
