package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"

	"weir/perf/lab"
)

// TestLinkDown: a link goes down and comes up under traffic, at either end; the router recovers by itself and its counters add up.
func TestLinkDown(t *testing.T) {
	n := newNetwork(t, "em0", "em1")
	w := n.start(n.config(""))
	from, to := n.ends[0], n.ends[1]
	n.warm([2]*end{from, to})
	receiver := must[*lab.UDPReceiver](t)(to.ListenUDP(netip.AddrPortFrom(to.addr4(), 7000)))
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	s := stream(ctx, from.Host, lab.UDPOptions{To: receiver.Address(), Flows: 2, Rate: perSecond(10_000)})
	flows := func(what string) {
		t.Helper()
		was := receiver.Report().Received
		eventually(t, what, func() (bool, any) { now := receiver.Report().Received; return now > was+100, now })
	}
	flows("traffic passes")
	for _, side := range []struct {
		host *lab.Host
		port string
	}{{n.router, to.port}, {to.Host, hostPort}, {n.router, from.port}} {
		need(t, side.host.SetDown(side.port))
		need(t, n.router.WaitCarrierLost(ctx, map[bool]string{true: from.port, false: to.port}[side.port == from.port]))
		received := w.look().Totals.Received
		if side.port != from.port {
			eventually(t, "packets go on coming in", func() (bool, any) { now := w.look().Totals.Received; return now > received+100, now })
		}
		need(t, side.host.SetUp(side.port))
		if side.host == to.Host { // its routes went with the link
			to.addGateways()
		}
		flows("traffic passes again")
	}
	stop()
	if got := <-s; got.err != nil {
		t.Error(got.err)
	}
	n.ping(from, to.addr4())
	n.ping(from, to.addr6())
}

// TestNewMAC: a gateway gets another MAC address, and a port of the router does.
func TestNewMAC(t *testing.T) {
	n := newNetwork(t, "em0", "em1")
	from, gateway := n.ends[0], n.ends[1]
	// The static neighbour is one that the kernel does not tell about anew when the port's address changes.
	w := n.start(n.config(fmt.Sprintf("neighbors: [{address: 10.0.0.2, port: em0, mac: %q}]\n", from.mac()) +
		"tables: {main: {id: 254, routes: [{to: 203.0.113.0/24, via: 10.0.1.2}]}}\n"))
	service := netip.MustParseAddr("203.0.113.1")
	need(t, gateway.AddAddress("lo", service.String()+"/32"))
	n.ping(from, service)
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 0x77}
	need(t, gateway.SetMAC(hostPort, mac), gateway.SetDown(hostPort), gateway.SetUp(hostPort))
	gateway.addGateways()               // they went with the link
	n.ping(gateway, gateway.gateway4()) // the router's kernel learns the new address by ARP
	n.ping(from, service)
	eventually(t, "the router knows the new address", func() (bool, any) {
		list := w.look().Neighbors
		for _, e := range list {
			if e.Address == gateway.addr4().String() {
				return e.MAC == mac.String(), e
			}
		}
		return false, list
	})

	n.warm([2]*end{from, gateway})
	mac[5] = 0x78
	need(t, n.router.SetMAC(from.port, mac))
	need(t, from.RemoveNeighbor(hostPort, from.gateway4()), from.RemoveNeighbor(hostPort, from.gateway6())) // which it would use for a while
	n.ping(from, service)
	n.ping(from, gateway.addr6())
	from.watch()
	from.sent(spec{src: from.addr4(), dst: service, id: 5, ttl: 1})
	answer := from.frames.await(t, "error from the new address", is(5))
	if got := net.HardwareAddr(answer[6:12]); got.String() != mac.String() {
		t.Errorf("the port sends from %s, expected %s", got, mac)
	}
}

// TestNoNeighbor: a neighbour that does not answer makes a host unreachable; few packets wait for it.
func TestNoNeighbor(t *testing.T) {
	n := newNetwork(t, "em0", "em1")
	w := n.start(n.config("system: {icmp: {per-destination: {rate: 0}}}\n"))
	from, to := n.ends[0], n.ends[1]
	from.watch()
	n.warm([2]*end{from, to})
	const sent, seats = 40, 16
	nobody4, nobody6 := netip.MustParseAddr("10.0.1.200"), netip.MustParseAddr("fd00:0:0:1::200")
	id := uint32(0)
	for range sent {
		for _, dst := range []netip.Addr{nobody4, nobody6} {
			id++
			from.sent(spec{src: from.addr(dst), dst: dst, id: id})
		}
	}
	eventually(t, "packets that find no seat are dropped", func() (bool, any) {
		s := w.look().Totals
		return s.Waiting == 2*seats && s.Drops["neighbor-pending"] == 2*(sent-seats), s
	})
	eventually(t, "those that waited are refused", func() (bool, any) {
		s := w.look().Totals
		return s.Waiting == 0 && s.Drops["neighbor-failed"] == 2*seats, s
	})
	n.settle(w)
	counts := make(map[string]int)
	for _, f := range from.frames.all() {
		if seen, ok := idOf(f.Data); ok && seen <= id {
			need(t, lab.VerifyChecksums(f.Data))
			k := parsed(t, f.Data)
			counts[fmt.Sprintf("%d: %d/%d from %s", k.Family, k.ICMPType, k.ICMPCode, k.SrcAddr())]++
		}
	}
	want := map[string]int{"4: 3/1 from 10.0.0.1": seats, "6: 1/3 from fd00::1": seats}
	if fmt.Sprint(counts) != fmt.Sprint(want) {
		t.Errorf("errors %v, expected %v", counts, want)
	}
	for i, dst := range []netip.Addr{nobody4, nobody6} {
		// It comes to life, and is reached again.
		bits := []string{"/24", "/64"}[i]
		need(t, to.AddAddress(hostPort, dst.String()+bits))
		n.ping(from, dst)
	}
}

// TestRestart: the router is stopped, started, killed and started again in the middle of traffic.
func TestRestart(t *testing.T) {
	n := newNetworkOf(t, endOptions{name: "em0"}, endOptions{name: "em1", config: "mtu: 1400"})
	from, to := n.ends[0], n.ends[1]
	need(t, n.router.SetDown(to.port)) // so that it is one more thing to restore
	config := n.config("neighbors: [{address: 10.0.1.50, port: em1, mac: \"02:00:00:00:00:50\"}]\n")
	w := n.start(config)
	n.warm([2]*end{from, to})
	receiver := must[*lab.UDPReceiver](t)(to.ListenUDP(netip.AddrPortFrom(to.addr4(), 7000)))
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	s := stream(ctx, from.Host, lab.UDPOptions{To: receiver.Address(), Flows: 2, Rate: perSecond(20_000)})
	flows := func() {
		t.Helper()
		was := receiver.Report().Received
		eventually(t, "traffic passes", func() (bool, any) { now := receiver.Report().Received; return now > was+100, now })
	}
	flows()
	w.stop()
	w.run()
	flows()
	w.kill()
	for _, e := range n.ends {
		if n.xdp(e.port) != 0 {
			t.Errorf("the program of a dead router stays on %s", e.port)
		}
	}
	if err := difference(w.before, n.fingerprint()); err == nil {
		t.Error("a killed router left nothing to undo: this test tests nothing")
	}
	w.run() // finds what the dead one left, and undoes it in the end
	flows()
	stop()
	if got := <-s; got.err != nil {
		t.Error(got.err)
	}
	for _, f := range receiver.Report().Flows {
		if f.Duplicated+f.Damaged > 0 {
			t.Errorf("arrived %+v", f)
		}
	}
}

// TestKilledThenOther: what a killed router left is undone by the next start, even one that wants something else.
func TestKilledThenOther(t *testing.T) {
	n := newNetworkOf(t, endOptions{name: "em0", config: "mtu: 1400"}, endOptions{name: "em1"}, endOptions{name: "em2"})
	w := n.start(n.config("", "em0", "em1"))
	w.kill()
	w.write(n.config("", "em2"))
	w.run()
	for _, line := range difference2(w.before, n.fingerprint()) {
		if !strings.Contains(line, "em2") && !strings.Contains(line, "weir-punt") && !strings.Contains(line, "10.0.2.0/24") &&
			!strings.Contains(line, "fd00:0:0:2::/64") {
			t.Errorf("the dead router's change is still there: %s", line)
		}
	}
}

// difference2 is difference, by line.
func difference2(before, after []string) []string {
	if err := difference(before, after); err != nil {
		return strings.Split(err.Error(), "\n")
	}
	return nil
}

// TestKilledThenFails: a start that cannot work undoes it too.
func TestKilledThenFails(t *testing.T) {
	n := newNetworkOf(t, endOptions{name: "em0", config: "mtu: 1400"}, endOptions{name: "em1"})
	w := n.start(n.config(""))
	w.kill()
	need(t, os.Remove(w.control))
	w.write(strings.Replace(n.config(""), "  em1:", "  em9:", 1))
	w.fails()
	w.clean()
}

// TestTerminatedUnderTraffic: SIGTERM while packets pass; and SIGINT.
func TestTerminatedUnderTraffic(t *testing.T) {
	n := newNetwork(t, "em0", "em1")
	w := n.start(n.config(""))
	from, to := n.ends[0], n.ends[1]
	n.warm([2]*end{from, to})
	receiver := must[*lab.UDPReceiver](t)(to.ListenUDP(netip.AddrPortFrom(to.addr4(), 7000)))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s := stream(ctx, from.Host, lab.UDPOptions{To: receiver.Address(), Rate: perSecond(20_000)})
	need(t, receiver.WaitCount(testContext(t), 1000))
	w.stop()
	w.run()
	need(t, receiver.WaitCount(testContext(t), receiver.Report().Received+1000))
	w.over = true
	need(t, w.process.Signal(syscall.SIGINT), w.process.Wait())
	w.clean()
	cancel()
	if got := <-s; got.err != nil {
		t.Error(got.err)
	}
}

// said checks what a router that did not start has said, and that it left nothing behind.
func said(t *testing.T, w *weir, output string, words ...string) {
	t.Helper()
	for _, word := range words {
		if !strings.Contains(output, word) {
			t.Errorf("no %q in:\n%s", word, output)
		}
	}
	for _, word := range []string{"panic", "goroutine "} {
		if strings.Contains(output, word) {
			t.Errorf("%q in:\n%s", word, output)
		}
	}
	if w.before != nil {
		w.clean()
	}
}

// TestStartRefused: what keeps the router from starting is said, and nothing is left changed.
func TestStartRefused(t *testing.T) {
	n := newNetworkOf(t, endOptions{name: "em0", config: "mtu: 1400"}, endOptions{name: "em1"})
	need(t, n.router.SetDown("em0"))
	good := n.config("")
	t.Run("port that is not there", func(t *testing.T) {
		w := n.prepare(strings.Replace(good, "  em1:", "  em9:", 1))
		said(t, w, w.fails(), "em9", "no such interface")
	})
	t.Run("port that is no Ethernet", func(t *testing.T) {
		w := n.prepare(strings.Replace(good, "  em1:", "  lo:", 1))
		said(t, w, w.fails(), "lo")
	})
	t.Run("CPU that is not there", func(t *testing.T) {
		w := n.prepare(good + "system: {workers: [99]}\n")
		said(t, w, w.fails(), "CPU 99", "usable: [")
	})
	t.Run("more workers than queues", func(t *testing.T) {
		w := n.prepare(good + "system: {workers: [0, 1]}\n")
		said(t, w, w.fails(), "2 workers", "1 queues", "ethtool -L")
	})
	t.Run("bad file", func(t *testing.T) {
		w := n.prepare(good + "rulez: []\n")
		said(t, w, w.fails(), fmt.Sprintf("%s:%d:1: ", w.file, 1+strings.Count(good, "\n")))
	})
	t.Run("no file", func(t *testing.T) {
		w := n.prepare(good)
		need(t, os.Remove(w.file))
		said(t, w, w.fails(), w.file)
	})
	t.Run("MTU too large", func(t *testing.T) {
		w := n.prepare(strings.Replace(good, "mtu: 1400", "mtu: 9000", 1))
		said(t, w, w.fails(), "9000")
	})
	t.Run("ring size", func(t *testing.T) {
		w := n.prepare(good)
		for _, size := range []string{"1000", "32", "0", "-64"} {
			p := must[*lab.Process](t)(n.router.Start(testContext(t), w.command("--ring-size="+size)))
			if err := p.Wait(); !strings.Contains(fmt.Sprint(err), "exit status 2") {
				t.Errorf("%s: %v", size, err)
			}
			said(t, w, p.Output(), "a ring size is a power of two, at least 64")
		}
	})
	for what, capabilities := range map[string]string{"no privilege": "all", "no BPF": "bpf,-sys_admin"} {
		t.Run(what, func(t *testing.T) {
			w := n.prepare(good)
			c := w.command()
			args := append([]string{"--bounding-set=-" + capabilities, "--inh-caps=-all", c.Name}, c.Args...)
			p := must[*lab.Process](t)(n.router.Start(testContext(t), lab.Command{Name: "setpriv", Args: args, Env: c.Env}))
			if p.Wait() == nil {
				t.Error("it started")
			}
			said(t, w, p.Output(), "CAP_")
		})
	}
	t.Run("another's XDP program", func(t *testing.T) {
		w := n.prepare(good)
		program, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "stranger", Type: ebpf.XDP, License: "MIT",
			Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 2 /* XDP_PASS */), asm.Return()}})
		need(t, err)
		defer program.Close()
		var attached link.Link
		need(t, n.router.Do(func() error {
			device, err := net.InterfaceByName("em1")
			if err == nil {
				attached, err = link.AttachXDP(link.XDPOptions{Program: program, Interface: device.Index})
			}
			return err
		}))
		defer attached.Close()
		id := n.xdp("em1")
		w.before = n.fingerprint()
		said(t, w, w.fails(), "em1", "stranger")
		if n.xdp("em1") != id || id == 0 {
			t.Errorf("program %d was evicted: now %d", id, n.xdp("em1"))
		}
	})
}

// TestSecondRouter: a namespace has one router; a second says so and does not disturb the first.
func TestSecondRouter(t *testing.T) {
	n := newNetwork(t, "em0", "em1", "em2")
	w := n.start(n.config("", "em0", "em1"))
	from, to := n.ends[0], n.ends[1]
	n.warm([2]*end{from, to})
	before := n.fingerprint()
	other := n.prepare(n.config("", "em2"))
	said(t, other, other.fails(), "another weir")
	same := n.prepare(n.config("", "em0", "em1"))
	said(t, same, same.fails(), "another weir")
	same.control, same.state = w.control, w.state // as when somebody just starts it twice
	said(t, &weir{}, same.fails(), "another weir")
	if err := difference(before, n.fingerprint()); err != nil {
		t.Errorf("the second one changed the kernel:\n%v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(w.state, "*")); len(left) == 0 {
		t.Error("the second one removed what the first has noted")
	}
	n.warm([2]*end{from, to})
}

// TestSmallMemlock: where the kernel charges frames to RLIMIT_MEMLOCK, the error says what to do.
func TestSmallMemlock(t *testing.T) {
	n := newNetwork(t, "em0", "em1")
	w := n.prepare(n.config(""))
	c := w.command()
	args := append([]string{"--bounding-set=-ipc_lock", "sh", "-c", `ulimit -l 64 && exec "$0" "$@"`, c.Name}, c.Args...)
	p := must[*lab.Process](t)(n.router.Start(testContext(t), lab.Command{Name: "setpriv", Args: args, Env: c.Env}))
	if p.Wait() == nil {
		t.Error("it started")
	}
	said(t, w, p.Output(), "open queue 0 of em0", "ulimit -l")
}
