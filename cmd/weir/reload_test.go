package main

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"syscall"
	"testing"

	"weir/perf/lab"
)

// services are addresses behind both uplinks.
var (
	alternating = [2]netip.Addr{netip.MustParseAddr("203.0.113.10"), netip.MustParseAddr("2001:db8:5::10")}
	steady      = [2]netip.Addr{netip.MustParseAddr("203.0.113.20"), netip.MustParseAddr("2001:db8:5::20")}
)

// serve gives hosts the addresses of the services.
func serve(t *testing.T, hosts ...*end) {
	t.Helper()
	for _, h := range hosts {
		for _, a := range []netip.Addr{alternating[0], steady[0]} {
			need(t, h.AddAddress("lo", a.String()+"/32"))
		}
		for _, a := range []netip.Addr{alternating[1], steady[1]} {
			need(t, h.AddAddress("lo", a.String()+"/128"))
		}
	}
}

// uplinkPolicy sends everything to wan0, but the alternating service to the uplink of the given index.
func uplinkPolicy(n *network, uplink int, ports ...string) string {
	one, other := n.end("wan0"), n.end([]string{"wan0", "wan1"}[uplink])
	return n.config(fmt.Sprintf(`
tables:
  main:
    id: 254
    routes: [{to: 0.0.0.0/0, via: %s}, {to: "::/0", via: "%s"}]
  other:
    id: 100
    routes: [{to: 0.0.0.0/0, via: %s}, {to: "::/0", via: "%s"}]
rules:
  - {name: alternating, priority: 100, to: %s, lookup: other}
  - {name: alternating6, priority: 100, to: "%s", lookup: other}
`, one.addr4(), one.addr6(), other.addr4(), other.addr6(), alternating[0], alternating[1]), ports...)
}

// listen receives on a service of a host.
func listen(t *testing.T, h *end, a netip.Addr) *lab.UDPReceiver {
	t.Helper()
	return must[*lab.UDPReceiver](t)(h.ListenUDP(netip.AddrPortFrom(a, 7000)))
}

// TestReloadUnderTraffic: a hundred commits, of which every one changes where a flow goes, lose no packet and misroute
// none, and flows that they do not concern do not notice.
func TestReloadUnderTraffic(t *testing.T) {
	n := newNetwork(t, "em0", "wan0", "wan1")
	from, wan0, wan1 := n.ends[0], n.ends[1], n.ends[2]
	serve(t, wan0, wan1)
	w := n.start(uplinkPolicy(n, 0))
	n.warm([2]*end{from, wan0}, [2]*end{from, wan1})
	var alternate [2][2]*lab.UDPReceiver // by family and uplink
	var unmoved, misled [2]*lab.UDPReceiver
	for f := range 2 {
		alternate[f] = [2]*lab.UDPReceiver{listen(t, wan0, alternating[f]), listen(t, wan1, alternating[f])}
		unmoved[f], misled[f] = listen(t, wan0, steady[f]), listen(t, wan1, steady[f])
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	rate := perSecond(50_000) / 4
	var moving, still [2]<-chan streamed
	for f := range 2 {
		o := lab.UDPOptions{Flows: 4, Rate: rate, Size: 64}
		o.To = netip.AddrPortFrom(alternating[f], 7000)
		moving[f] = stream(ctx, from.Host, o)
		o.To = netip.AddrPortFrom(steady[f], 7000)
		still[f] = stream(ctx, from.Host, o)
	}
	const reloads = 100
	for i := range reloads {
		was := alternate[i%2][(i+1)%2].Report().Received
		w.write(uplinkPolicy(n, (i+1)%2))
		if i%2 == 0 {
			w.hangup()
		} else {
			w.reload()
		}
		if i%10 == 0 { // packets have really gone the new way before the next commit
			eventually(t, "packets go the new way", func() (bool, any) {
				got := alternate[i%2][(i+1)%2].Report().Received
				return got > was, got
			})
		}
	}
	stop()
	var list []delivery
	for f := range 2 {
		list = append(list, delivery{<-moving[f], alternate[f][:]}, delivery{<-still[f], []*lab.UDPReceiver{unmoved[f]}})
	}
	delivered(t, w, list...)
	for f := range 2 {
		a, b := alternate[f][0].Report(), alternate[f][1].Report()
		if a.Received == 0 || b.Received == 0 {
			t.Errorf("uplinks got %d and %d packets", a.Received, b.Received)
		}
		if r := misled[f].Report(); r.Received > 0 {
			t.Errorf("%d packets of flows that no commit concerned went astray", r.Received)
		}
	}
	s := w.rest()
	if s.Generation != reloads+1 || s.Totals.Dropped > 0 || len(s.Trouble) > 0 {
		t.Errorf("generation %d, counted %+v, trouble %v", s.Generation, s.Totals, s.Trouble)
	}
}

// TestBadFile: a file that is refused, or that cannot be put in force, changes nothing, and says where it is wrong.
func TestBadFile(t *testing.T) {
	n := newNetwork(t, "em0", "wan0", "wan1")
	from, wan0, wan1 := n.ends[0], n.ends[1], n.ends[2]
	serve(t, wan0, wan1)
	good := uplinkPolicy(n, 1)
	w := n.start(good)
	n.warm([2]*end{from, wan0}, [2]*end{from, wan1})
	receiver := listen(t, wan1, alternating[0])
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	s := stream(ctx, from.Host, lab.UDPOptions{To: receiver.Address(), Rate: perSecond(10_000)})
	before := n.fingerprint()
	for _, c := range []struct{ what, text, want string }{
		{"unknown key", good + "rulez: []\n", fmt.Sprintf("%s:%d:1: ", w.file, 1+strings.Count(good, "\n"))},
		{"unknown table", strings.Replace(good, "lookup: other", "lookup: nowhere", 1), "rules[0]"},
		{"no such port", strings.Replace(good, "  em0:", "  em9:", 1), "em9"},
		{"mode of a running port", strings.Replace(good, "mode: auto", "mode: generic", 1), "mode"},
		{"MTU that does not fit the frames", strings.Replace(good, "mode: auto", "mode: auto\n    mtu: 3000", 1), "3000"},
		{"several ports, the last of which is not there", strings.Replace(good, "tables:", "  em7:\n    mtu: 1300\ntables:", 1), "em7"},
	} {
		w.write(c.text)
		out, status := w.call("reload")
		if status == 0 || !strings.Contains(out, c.want) {
			t.Errorf("%s: status %d, %q does not say %q", c.what, status, out, c.want)
		}
		logged := strings.Count(w.process.Output(), "commit failed") + strings.Count(w.process.Output(), "commit refused")
		need(t, w.process.Signal(syscall.SIGHUP))
		eventually(t, c.what+": the failed commit is logged", func() (bool, any) {
			now := strings.Count(w.process.Output(), "commit failed") + strings.Count(w.process.Output(), "commit refused")
			return now > logged, now
		})
		if g := w.look().Generation; g != 1 {
			t.Errorf("%s: generation %d", c.what, g)
		}
		was := receiver.Report().Received
		eventually(t, "traffic goes on", func() (bool, any) { return receiver.Report().Received > was, was })
	}
	if err := difference(before, n.fingerprint()); err != nil {
		t.Errorf("refused commits changed the kernel:\n%v", err)
	}
	stop()
	delivered(t, w, delivery{<-s, []*lab.UDPReceiver{receiver}})
	w.write(good)
	if g := w.reload(); g != 2 {
		t.Errorf("generation %d after the first good reload", g)
	}
}

// TestReloadPorts adds, changes and removes ports while traffic passes other ones: it does not notice.
func TestReloadPorts(t *testing.T) {
	n := newNetwork(t, "em0", "wan0", "aux", "wan1")
	from, wan0, aux, wan1 := n.ends[0], n.ends[1], n.ends[2], n.ends[3]
	serve(t, wan0, wan1)
	w := n.start(uplinkPolicy(n, 1, "em0", "wan0", "wan1"))
	n.warm([2]*end{from, wan0}, [2]*end{from, wan1})
	w.unbalanced = true // what arrives at a port while it is closed is not accounted for
	receivers := []*lab.UDPReceiver{listen(t, wan0, steady[0]), listen(t, wan1, alternating[0]), listen(t, wan0, steady[1]), listen(t, wan1, alternating[1])}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var streams []<-chan streamed
	for _, r := range receivers {
		streams = append(streams, stream(ctx, from.Host, lab.UDPOptions{To: r.Address(), Flows: 2, Rate: perSecond(20_000) / 4}))
	}
	if n.xdp("aux") != 0 {
		t.Fatal("a program on a port that is not configured")
	}
	commit := func(config string) {
		t.Helper()
		w.write(config)
		w.reload()
	}
	for range 3 {
		commit(uplinkPolicy(n, 1, "aux", "wan1", "em0", "wan0")) // added first, so that all indexes shift
		if n.xdp("aux") == 0 {
			t.Error("no program on the new port")
		}
		n.ping(aux, wan0.addr4())
		n.ping(aux, wan0.addr6())
		n.ping(from, aux.addr4())

		aux.options = append(aux.options, "mtu: 1300")
		commit(uplinkPolicy(n, 1, "wan0", "aux", "em0", "wan1"))
		if mtu := must[int](t)(n.router.MTU("aux")); mtu != 1300 {
			t.Errorf("MTU %d", mtu)
		}
		echo := must[lab.Echo](t)(wan0.Ping(testContext(t), lab.PingOptions{To: aux.addr4(), Size: 1400, IPOptions: lab.IPOptions{DontFragment: true}}))
		if echo.Error == nil || echo.Error.Code != 4 || echo.Error.MTU() != 1300 {
			t.Errorf("too big for the new MTU: %+v, %v", echo, echo.Error)
		}
		aux.options = aux.options[:len(aux.options)-1]
		commit(uplinkPolicy(n, 1, "wan0", "aux", "em0", "wan1"))
		if mtu := must[int](t)(n.router.MTU("aux")); mtu != 1500 {
			t.Errorf("MTU %d after it was taken out of the file", mtu)
		}

		kept := aux.options[0]
		aux.options[0] = `addresses: [10.0.2.1/24, "fd00:0:0:2::1/64", 10.77.0.1/24, "fd00:77::1/64"]`
		commit(uplinkPolicy(n, 1, "wan0", "aux", "em0", "wan1"))
		for _, a := range []string{"10.77.0.1", "fd00:77::1"} {
			n.ping(aux, netip.MustParseAddr(a)) // the kernel answers
			n.ping(from, netip.MustParseAddr(a))
		}
		aux.options[0] = kept
		commit(uplinkPolicy(n, 1, "wan0", "aux", "em0", "wan1"))
		if text := strings.Join(n.fingerprint(), "\n"); strings.Contains(text, "77") {
			t.Errorf("an address stays:\n%s", text)
		}

		commit(uplinkPolicy(n, 1, "wan1", "wan0", "em0"))
		if n.xdp("aux") != 0 {
			t.Error("a program stays on a port that was taken out")
		}
		need(t, n.router.AddAddress("aux", "10.99.0.1/24"), aux.AddAddress(hostPort, "10.99.0.2/24"))
		n.ping(aux, netip.MustParseAddr("10.99.0.1")) // the kernel has the port now
		need(t, n.router.RemoveAddress("aux", "10.99.0.1/24"), aux.RemoveAddress(hostPort, "10.99.0.2/24"))
	}
	stop()
	var list []delivery
	for i, r := range receivers {
		list = append(list, delivery{<-streams[i], []*lab.UDPReceiver{r}})
	}
	delivered(t, w, list...)
	if s := w.rest(); len(s.Trouble) > 0 {
		t.Errorf("trouble: %v", s.Trouble)
	}
}

// TestReloadMovesWaitingPackets: packets that wait for a neighbour survive a commit in which all ports change their places.
func TestReloadMovesWaitingPackets(t *testing.T) {
	n := newNetwork(t, "em0", "em1")
	w := n.start(n.config("", "em0", "em1"))
	from, to := n.ends[0], n.ends[1]
	to.watch()
	n.warm([2]*end{from, to})
	late := netip.MustParseAddr("10.0.1.99")
	for i := range 5 {
		from.sent(spec{src: from.addr4(), dst: late, id: uint32(i + 1)})
	}
	eventually(t, "packets wait", func() (bool, any) { s := w.look(); return s.Totals.Waiting == 5, s.Totals })
	w.write(n.config("", "em1", "em0"))
	w.reload()
	need(t, to.AddAddress(hostPort, late.String()+"/24")) // now it answers
	for i := range 5 {
		to.frames.await(t, "packet that waited", is(uint32(i+1)))
	}
	if s := w.rest(); s.Totals.Waiting != 0 || s.Totals.Dropped != 0 {
		t.Errorf("counted %+v", s.Totals)
	}
}
