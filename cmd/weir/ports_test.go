package main

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"weir/appliance"
	"weir/perf/lab"
)

// port is what the router says of a port.
func (w *weir) port(name string) appliance.PortState {
	w.t.Helper()
	for _, p := range w.look().Ports {
		if p.Name == name {
			return p
		}
	}
	w.t.Fatalf("no port %s", name)
	return appliance.PortState{}
}

// becomes waits until a port is in a state, and for a reason that has the given words.
func (w *weir) becomes(name, state, reason string) {
	w.t.Helper()
	eventually(w.t, fmt.Sprintf("%s is %s", name, state), func() (bool, any) {
		p := w.port(name)
		return p.State == state && strings.Contains(p.Reason, reason) && (reason != "" || p.Reason == ""), p
	})
}

// background is traffic between two hosts that must not notice what happens elsewhere.
func background(t *testing.T, from, to *end) (check func(*weir)) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	var receivers []*lab.UDPReceiver
	var streams []<-chan streamed
	for _, a := range []netip.Addr{to.addr4(), to.addr6()} {
		r := must[*lab.UDPReceiver](t)(to.ListenUDP(netip.AddrPortFrom(a, 7000)))
		receivers = append(receivers, r)
		streams = append(streams, stream(ctx, from.Host, lab.UDPOptions{To: r.Address(), Flows: 2, Rate: perSecond(10_000)}))
	}
	return func(w *weir) {
		t.Helper()
		stop()
		var list []delivery
		for i, r := range receivers {
			list = append(list, delivery{<-streams[i], []*lab.UDPReceiver{r}})
		}
		delivered(t, w, list...)
	}
}

// TestPortGoneAndBack: a netdev is deleted and made again under the router. The other ports do not notice; the port is
// absent, and then what it was: queues, XDP program, addresses, MTU, static neighbours, offloads.
func TestPortGoneAndBack(t *testing.T) {
	n := newNetworkOf(t, endOptions{name: "em0"}, endOptions{name: "em1"}, endOptions{name: "em2", config: "mtu: 1400"})
	from, to, card := n.ends[0], n.ends[1], n.ends[2]
	config := n.config("neighbors: [{address: 10.0.2.50, port: em2, mac: \"02:00:00:00:00:50\"}]\n")
	w := n.start(config)
	n.warm([2]*end{from, to}, [2]*end{from, card})
	w.unbalanced = true // what was in a ring when its netdev went is lost with it
	set := n.fingerprint()
	check := background(t, from, to)
	for range 2 {
		need(t, card.link.Delete())
		w.becomes("em2", "absent", "no such interface")
		text, _ := w.call("show", "ports")
		if !strings.Contains(text, "DEGRADED: port em2: no such interface") {
			t.Errorf("show ports:\n%s", text)
		}
		for i, dst := range []netip.Addr{card.addr4(), card.addr6(), netip.MustParseAddr("10.0.2.50")} {
			before := w.look().Totals.Drops["no-route"]
			from.watch()
			from.sent(spec{src: from.addr(dst), dst: dst, id: uint32(i)})
			eventually(t, "a packet to the absent port is dropped", func() (bool, any) {
				s := w.look().Totals
				return s.Drops["no-route"] == before+1, s
			})
		}
		generation := w.look().Generation
		if out, status := w.call("reload"); status == 0 || !strings.Contains(out, "em2") || w.look().Generation != generation {
			t.Errorf("a commit without the netdev: status %d, %s", status, out)
		}

		need(t, card.link.Recreate())
		w.becomes("em2", "up", "")
		card.addGateways()
		n.warm([2]*end{from, card}, [2]*end{card, to})
		n.ping(card, card.gateway4())
		n.ping(card, card.gateway6())
		if n.xdp("em2") == 0 {
			t.Error("no program on the port that is back")
		}
		eventually(t, "the kernel is as it was", func() (bool, any) {
			err := difference(set, n.fingerprint())
			return err == nil, err
		})
		if s := w.look(); len(s.Trouble) > 0 || s.Generation != generation {
			t.Errorf("generation %d after %d, trouble %v", s.Generation, generation, s.Trouble)
		}
		if w.reload() != generation+1 {
			t.Error("a commit with the netdev that is back")
		}
	}
	check(w)
}

// TestPortComesBackNarrow: a netdev with fewer queues than there are workers stays absent, and the router says what to do.
func TestPortComesBackNarrow(t *testing.T) {
	two := lab.LinkOptions{Queues: 2}
	n := newNetworkOf(t, endOptions{name: "em0", lab: two}, endOptions{name: "em1", lab: two}, endOptions{name: "em2", lab: two})
	from, to, card := n.ends[0], n.ends[1], n.ends[2]
	w := n.start(n.config("system: {workers: [0, 1]}\n"))
	n.warm([2]*end{from, to}, [2]*end{from, card})
	w.unbalanced = true
	check := background(t, from, to)
	need(t, card.link.Delete())
	narrow := must[*lab.Link](t)(n.lab.Link(card.Host, hostPort, n.router, card.port, lab.LinkOptions{}))
	w.becomes("em2", "absent", "has 1 queues, but 2 workers run")
	need(t, narrow.Delete(), card.link.Recreate())
	w.becomes("em2", "up", "")
	card.addGateways()
	n.warm([2]*end{from, card})
	check(w)
}

// TestQueuesAdded: a port gets another queue. It is served, and the other ports do not notice.
func TestQueuesAdded(t *testing.T) {
	two := lab.LinkOptions{Queues: 2}
	n := newNetworkOf(t, endOptions{name: "em0", lab: two}, endOptions{name: "em1", lab: two}, endOptions{name: "em2"})
	from, to, other := n.ends[0], n.ends[1], n.ends[2]
	need(t, from.SetQueues(hostPort, 1), n.router.SetQueues(from.port, 1))
	w := n.start(n.config("system: {workers: [0]}\n"))
	n.warm([2]*end{from, to})
	check := background(t, other, to)
	if p := w.port("em0"); len(p.Queues) != 1 {
		t.Fatalf("at first %d queues", len(p.Queues))
	}
	need(t, n.router.SetQueues(from.port, 2))
	eventually(t, "the new queue is served", func() (bool, any) { p := w.port("em0"); return len(p.Queues) == 2, p })
	check(w)
	n.warm([2]*end{from, to})
	need(t, from.SetQueues(hostPort, 2))
	r := must[*lab.UDPReceiver](t)(to.ListenUDP(netip.AddrPortFrom(to.addr6(), 7100)))
	sent, err := from.SendUDP(testContext(t), lab.UDPOptions{To: r.Address(), Flows: 16, Count: 5000, Rate: perSecond(20_000)})
	delivered(t, w, delivery{streamed{sent, err}, []*lab.UDPReceiver{r}})
	if p := w.port("em0"); p.Queues[1].Received == 0 || p.State != "up" {
		t.Errorf("the new queue: %+v", p)
	}
	if err := n.router.SetQueues(from.port, 1); err == nil {
		t.Error("the kernel takes a queue away that has a socket: the router must follow that")
	}
}

// TestChangedByHand: what the configuration gives is put back, what it leaves open is followed, a link that is set down
// stays down.
func TestChangedByHand(t *testing.T) {
	n := newNetworkOf(t, endOptions{name: "em0"}, endOptions{name: "em1"}, endOptions{name: "em2", config: "mtu: 1400"})
	from, to, other := n.ends[0], n.ends[1], n.ends[2]
	w := n.start(n.config("neighbors: [{address: 10.0.2.50, port: em2, mac: \"02:00:00:00:00:50\"}]\n"))
	n.warm([2]*end{from, to}, [2]*end{from, other})
	check := background(t, from, to)
	set := n.fingerprint()
	restored := func(what string) {
		t.Helper()
		eventually(t, what+" is put back", func() (bool, any) {
			err := difference(set, n.fingerprint())
			return err == nil, err
		})
	}
	need(t, n.router.RemoveAddress("em2", "10.0.2.1/24"))
	restored("an IPv4 address")
	need(t, n.router.RemoveAddress("em2", "fd00:0:0:2::1/64"))
	restored("an IPv6 address")
	need(t, n.router.RemoveNeighbor("em2", netip.MustParseAddr("10.0.2.50")))
	restored("a static neighbour")
	need(t, n.router.SetMTU("em2", 1300))
	restored("an MTU")
	n.ping(other, other.gateway4())
	n.ping(other, other.gateway6())

	need(t, n.router.SetDown("em2"))
	w.becomes("em2", "down", "set down")
	need(t, n.router.SetUp("em2"))
	w.becomes("em2", "up", "")
	restored("what went with the link")
	n.ping(other, other.gateway6())
	need(t, other.SetDown(hostPort))
	w.becomes("em2", "down", "no carrier")
	need(t, other.SetUp(hostPort))
	w.becomes("em2", "up", "")

	check(w) // em0 and em1 are next
	need(t, n.router.SetMTU("em1", 1450))
	eventually(t, "the MTU is followed", func() (bool, any) {
		echo, err := from.Ping(testContext(t), lab.PingOptions{To: to.addr4(), Size: 1440, IPOptions: lab.IPOptions{DontFragment: true}})
		return err == nil && echo.Error != nil && echo.Error.Code == 4 && echo.Error.MTU() == 1450, fmt.Sprintf("%+v %v", echo.Error, err)
	})
	need(t, n.router.SetMTU("em1", 1500), n.router.AddAddress("em1", "10.0.77.1/24"))
	n.ping(from, netip.MustParseAddr("10.0.77.1")) // nobody has told weir but the kernel
	need(t, n.router.RemoveAddress("em1", "10.0.77.1/24"))
	if s := w.look(); len(s.Trouble) > 0 || s.Generation != 1 {
		t.Errorf("generation %d, trouble %v", s.Generation, s.Trouble)
	}
}

// TestDeafAddress: an IPv6 address whose local route is gone, as a flap in the middle of its duplicate address detection leaves it, is
// added anew, so that the router answers there again.
func TestDeafAddress(t *testing.T) {
	n := newNetwork(t, "em0", "em1")
	from, to := n.ends[0], n.ends[1]
	w := n.start(n.config(""))
	n.warm([2]*end{from, to})
	own := netip.MustParseAddr("fd00::1")
	n.ping(from, own)
	need(t, n.router.RemoveRoute(lab.Route{To: own.String() + "/128", Type: "local", Table: 255, Device: "em0"}))
	eventually(t, "the address is deaf", func() (bool, any) {
		echo, err := from.Ping(testContext(t), lab.PingOptions{To: own, Timeout: 200 * time.Millisecond})
		return err != nil || echo.Error != nil, echo
	})
	need(t, n.router.AddAddress("em0", "192.0.2.77/32")) // the kernel has something to say about the port
	defer func() { need(t, n.router.RemoveAddress("em0", "192.0.2.77/32")) }()
	n.ping(from, own)
	n.exchange(from, to)
	if out, _ := w.call("show", "log"); !strings.Contains(out, "address without its local route, added anew") {
		t.Errorf("the log says nothing of it:\n%s", out)
	}
}
