package appliance

import (
	"net"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weir/fib"
	"weir/policy"
)

// state is what the running snapshot has of a neighbour; ok is false if it does not know it.
func (g *rig) state(n fib.Neighbor) (a fib.Adjacency, ok bool) {
	all := g.router.running.snap.Adjacencies
	i, ok := all.Find(n)
	if ok {
		a = *all.At(i)
	}
	return a, ok
}

// kernelSays is a message about a neighbour of port 1.
func (g *rig) kernelSays(text string, state int, mac string, gone bool) {
	g.t.Helper()
	n := netlink.Neigh{LinkIndex: g.devices[1].port.Ifindex, Family: unix.AF_INET, IP: net.ParseIP(text), State: state}
	if addr("%s", text).Is6() {
		n.Family = unix.AF_INET6
	}
	if mac != "" {
		hw, err := net.ParseMAC(mac)
		need(g.t, err)
		n.HardwareAddr = hw
	}
	g.router.mu.Lock()
	defer g.router.mu.Unlock()
	if key, ok := g.router.neighbors.learn(&n, gone); ok {
		g.router.neighborsChanged(map[kernelNeighbor]bool{key: true})
	}
}

// TestNeighborsFollowTheKernel: what the kernel says of a neighbour is what workers know, by the states of its own.
func TestNeighborsFollowTheKernel(t *testing.T) {
	g := newRig(t, 2, false, func(p *policy.Policy) {
		p.Tables[1].Routes = append(p.Tables[1].Routes, fib.Route{Prefix: prefix("172.16.0.0/16"),
			Hops: []fib.NextHop{{Gateway: addr("10.0.1.3"), Port: 1, Weight: 1}}})
	})
	const mac, other = "02:00:00:00:00:03", "02:00:00:00:00:04"
	gateway, host := fib.Neighbor{Addr: addr("10.0.1.3"), Port: 1}, fib.Neighbor{Addr: addr("fd00:0:0:1::77"), Port: 1}
	if a, ok := g.state(gateway); !ok || a.State != fib.Incomplete {
		t.Fatalf("gateway at first: %+v %v", a, ok)
	}
	for _, c := range []struct {
		state int
		mac   string
		want  fib.NeighborState
	}{
		{netlink.NUD_INCOMPLETE, "", fib.Incomplete}, {netlink.NUD_REACHABLE, mac, fib.Resolved}, {netlink.NUD_STALE, mac, fib.Resolved},
		{netlink.NUD_DELAY, mac, fib.Resolved}, {netlink.NUD_PROBE, mac, fib.Resolved}, {netlink.NUD_REACHABLE, other, fib.Resolved},
		{netlink.NUD_FAILED, "", fib.Failed}, {netlink.NUD_PERMANENT, mac, fib.Resolved}, {netlink.NUD_NOARP, other, fib.Resolved},
	} {
		g.kernelSays("10.0.1.3", c.state, c.mac, false)
		a, ok := g.state(gateway)
		if !ok || a.State != c.want || c.want == fib.Resolved && (hardwareAddr(a.DstMAC) != c.mac || a.SrcMAC != g.ports[1] || a.Device != 1) {
			t.Errorf("kernel's state %#x: %+v %v, expected %v", c.state, a, ok, c.want)
		}
		if !g.w.follow() {
			t.Fatal("the worker stops")
		}
	}
	at, _ := g.router.running.snap.Adjacencies.Find(gateway)
	g.kernelSays("10.0.1.3", 0, "", true)
	if a, ok := g.state(gateway); !ok || a.State != fib.Incomplete {
		t.Errorf("a gateway that the kernel has forgotten: %+v %v", a, ok)
	}
	if i, _ := g.router.running.snap.Adjacencies.Find(gateway); i != at {
		t.Errorf("the gateway's index went from %d to %d", at, i)
	}

	g.kernelSays("fd00:0:0:1::77", netlink.NUD_INCOMPLETE, "", false) // nobody has asked for it
	if _, ok := g.state(host); ok {
		t.Error("an unresolved host that no packet is for is known")
	}
	epoch := g.router.epoch
	g.kernelSays("fd00:0:0:1::77", netlink.NUD_REACHABLE, mac, false)
	if a, ok := g.state(host); !ok || a.State != fib.Resolved || g.router.epoch != epoch+1 {
		t.Errorf("host: %+v %v, publication %d after %d", a, ok, g.router.epoch, epoch)
	}
	g.kernelSays("fd00:0:0:1::77", netlink.NUD_STALE, mac, false)
	if g.router.epoch != epoch+1 {
		t.Error("a publication although nothing of use has changed")
	}
	g.kernelSays("fd00:0:0:1::77", 0, "", true)
	if _, ok := g.state(host); ok {
		t.Error("a host that the kernel has forgotten is still known")
	}
	static := fib.Neighbor{Addr: addr("10.0.1.2"), Port: 1}
	g.kernelSays("10.0.1.2", netlink.NUD_REACHABLE, other, false)
	if a, _ := g.state(static); a.DstMAC != g.macs[1] || !a.Static {
		t.Errorf("a static neighbour was learnt: %+v", a)
	}
	g.kernelSays("224.0.0.5", netlink.NUD_NOARP, mac, false)
	if _, ok := g.state(fib.Neighbor{Addr: addr("224.0.0.5"), Port: 1}); ok {
		t.Error("a multicast address is a neighbour")
	}
}

// TestAsk: the kernel really probes whom it is asked for, and what comes of it is learnt.
func TestAsk(t *testing.T) {
	g := newRig(t, 2, false, nil)
	need(t, g.host.AddAddress("em1", "10.0.1.1/24"), g.host.AddAddress("em1", "fd00:0:0:1::1/64"),
		g.hosts[1].AddAddress("eth0", "10.0.1.70/24"), g.hosts[1].AddAddress("eth0", "fd00:0:0:1::70/64"),
		g.host.SetSysctl("net/ipv4/neigh/em1/retrans_time_ms", "50"), g.host.SetSysctl("net/ipv6/neigh/em1/retrans_time_ms", "50"))
	want := map[fib.Neighbor]fib.NeighborState{
		{Addr: addr("10.0.1.70"), Port: 1}: fib.Resolved, {Addr: addr("fd00:0:0:1::70"), Port: 1}: fib.Resolved,
		{Addr: addr("10.0.1.71"), Port: 1}: fib.Failed, {Addr: addr("fd00:0:0:1::71"), Port: 1}: fib.Failed,
	}
	need(t, g.host.Do(func() error {
		for n := range want {
			g.router.ask(n)
		}
		if len(g.router.neighbors.asked) != len(want) {
			t.Errorf("asked for %v", g.router.neighbors.asked)
		}
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for deadline := time.Now().Add(15 * time.Second); ; <-tick.C {
			if err := g.router.relearn(); err != nil {
				return err
			}
			open := 0
			for n, state := range want {
				if a, ok := g.state(n); !ok || a.State != state {
					open++
				}
			}
			if open == 0 {
				return nil
			}
			if time.Now().After(deadline) {
				t.Errorf("the kernel's neighbours: %v", g.router.neighbors.entries)
				return nil
			}
		}
	}))
	for n, state := range want {
		if a, _ := g.state(n); state == fib.Resolved && a.DstMAC != g.macs[1] {
			t.Errorf("%v is at %v, expected %v", n, a.DstMAC, g.macs[1])
		}
	}
}

// TestRefresh: a neighbour that packets go to, and that the kernel takes for stale, is probed; one that nobody uses is not.
func TestRefresh(t *testing.T) {
	g := newRig(t, 2, false, nil)
	need(t, g.host.AddAddress("em1", "10.0.1.1/24"))
	for _, text := range []string{"10.0.1.70", "10.0.1.71"} {
		need(t, g.host.Do(func() error {
			return netlink.NeighSet(&netlink.Neigh{LinkIndex: g.devices[1].port.Ifindex, IP: net.ParseIP(text), State: netlink.NUD_STALE, HardwareAddr: g.macs[1][:]})
		}))
	}
	need(t, g.host.Do(g.router.relearn))
	g.w.follow()
	g.inject(0, g.frame(0, packetOf{src: "10.0.0.2", dst: "10.0.1.70"}))
	g.forward(0, 1)
	need(t, g.host.Do(func() error { g.router.refresh(); return nil }))
	used, idle := fib.Neighbor{Addr: addr("10.0.1.70"), Port: 1}, fib.Neighbor{Addr: addr("10.0.1.71"), Port: 1}
	if _, ok := g.router.neighbors.asked[used]; !ok {
		t.Error("the neighbour in use was not probed")
	}
	if _, ok := g.router.neighbors.asked[idle]; ok {
		t.Error("a neighbour that nobody uses was probed")
	}
	need(t, g.host.Do(func() error {
		list, err := netlink.NeighList(g.devices[1].port.Ifindex, unix.AF_INET)
		for _, n := range list {
			stale := n.State&netlink.NUD_STALE != 0
			if n.IP.Equal(net.ParseIP("10.0.1.70")) && stale || n.IP.Equal(net.ParseIP("10.0.1.71")) && !stale {
				t.Errorf("the kernel has %s in state %#x", n.IP, n.State)
			}
		}
		return err
	}))
}
