package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weir/appliance"
	"weir/perf/lab"
)

// kernelNeighbors are those of the router's kernel on a port.
func (n *network) kernelNeighbors(port string, family int) (list []netlink.Neigh) {
	n.t.Helper()
	index := must[int](n.t)(n.router.Index(port))
	need(n.t, n.router.Do(func() (err error) {
		list, err = netlink.NeighList(index, family)
		return err
	}))
	return list
}

// forget deletes a neighbour in the router's kernel.
func (n *network) forget(port string, addr netip.Addr) {
	n.t.Helper()
	need(n.t, n.router.RemoveNeighbor(port, addr))
}

// neighbor is what the router knows of one.
func (w *weir) neighbor(addr netip.Addr) (appliance.NeighborState, bool) {
	w.t.Helper()
	for _, e := range w.look().Neighbors {
		if e.Address == addr.String() {
			return e, true
		}
	}
	return appliance.NeighborState{}, false
}

// managed are the gateways that the router's kernel keeps resolved.
func (n *network) managed(port string) (list []string) {
	n.t.Helper()
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		for _, e := range n.kernelNeighbors(port, family) {
			if e.FlagsExt&netlink.NTF_EXT_MANAGED != 0 {
				list = append(list, e.IP.String())
			}
		}
	}
	return list
}

// TestGatewaysAreManaged: the kernel keeps the gateways of routes resolved without a packet to them, again when it forgot
// them, and no longer than there are routes.
func TestGatewaysAreManaged(t *testing.T) {
	n := newNetwork(t, "em0", "em1")
	gateway := n.ends[1]
	plain := n.config("")
	w := n.start(plain + "tables: {main: {id: 254, routes: [{to: 203.0.113.0/24, via: 10.0.1.2}, {to: \"2001:db8:5::/48\", via: \"fd00:0:0:1::2\"}]}}\n")
	both := []netip.Addr{gateway.addr4(), gateway.addr6()}
	resolved := func(what string) {
		t.Helper()
		eventually(t, what, func() (bool, any) {
			managed := n.managed("em1")
			for _, a := range both {
				if e, ok := w.neighbor(a); !ok || e.State != "resolved" {
					return false, e
				}
			}
			return len(managed) == 2, managed
		})
	}
	resolved("the gateways are resolved and managed")
	for _, a := range both {
		n.forget("em1", a)
	}
	resolved("the gateways that the kernel has forgotten are so again")
	need(t, gateway.SetDown(hostPort), gateway.SetUp(hostPort))
	resolved("after the link was down too")
	w.write(plain)
	w.reload()
	if left := n.managed("em1"); len(left) > 0 {
		t.Errorf("managed without a route: %v", left)
	}
	w.write(plain + "tables: {main: {id: 254, routes: [{to: 203.0.113.0/24, via: 10.0.1.2}]}}\n")
	w.reload()
	w.stop()
	if left := n.managed("em1"); len(left) > 0 {
		t.Errorf("managed after the end: %v", left)
	}
}

// TestNeighborOfOthers: a static neighbour of the configuration that somebody has given the kernel already is his. It stays when
// weir ends, through commits too, where those that weir made go.
func TestNeighborOfOthers(t *testing.T) {
	n := newNetwork(t, "em0", "em1")
	need(t, n.router.AddAddress("em1", "10.0.1.99/24")) // without one the kernel forgets every IPv4 neighbour
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 0x50}
	his, ours := []netip.Addr{netip.MustParseAddr("10.0.1.50"), netip.MustParseAddr("fd00:0:0:1::50")}, netip.MustParseAddr("10.0.1.51")
	permanent := func() (list []netip.Addr) {
		for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
			for _, e := range n.kernelNeighbors("em1", family) {
				if addr, _ := netip.AddrFromSlice(e.IP); e.State&netlink.NUD_PERMANENT != 0 && bytes.Equal(e.HardwareAddr, mac) {
					list = append(list, addr.Unmap())
				}
			}
		}
		slices.SortFunc(list, netip.Addr.Compare)
		return list
	}
	for _, addr := range his {
		need(t, n.router.AddNeighbor("em1", addr, mac))
	}
	config := "neighbors:\n"
	for _, addr := range append(slices.Clone(his), ours) {
		config += fmt.Sprintf("- {address: \"%s\", port: em1, mac: \"%s\"}\n", addr, mac)
	}
	w := n.start(n.config(config))
	all := []netip.Addr{his[0], ours, his[1]}
	if got := permanent(); !slices.Equal(got, all) {
		t.Errorf("while weir runs: %v, want %v", got, all)
	}
	w.reload()
	w.stop()
	if got := permanent(); !slices.Equal(got, his) {
		t.Errorf("after weir: %v, want %v", got, his)
	}
}

// TestNeighborInUse: no packet to a host waits while the kernel's view of it grows stale, is probed, collected or
// deleted by hand, over and over.
func TestNeighborInUse(t *testing.T) {
	n := newNetwork(t, "em0", "em1")
	from, to := n.ends[0], n.ends[1]
	for _, family := range []string{"ipv4", "ipv6"} {
		need(t, n.router.SetSysctl("net/"+family+"/neigh/em1/base_reachable_time_ms", "300"),
			n.router.SetSysctl("net/"+family+"/neigh/em1/delay_first_probe_time", "1"),
			n.router.SetSysctl("net/"+family+"/neigh/em1/gc_stale_time", "1"))
	}
	w := n.start(n.config(""))
	n.warm([2]*end{from, to})
	check := background(t, from, to)
	states := make(map[int]bool)
	for i := range 4 {
		for _, want := range []int{netlink.NUD_STALE | netlink.NUD_DELAY, netlink.NUD_PROBE | netlink.NUD_REACHABLE} {
			eventually(t, "the kernel's view changes", func() (bool, any) {
				for _, e := range n.kernelNeighbors("em1", unix.AF_INET) {
					if e.IP.String() == to.addr4().String() && e.State&want != 0 {
						states[e.State] = true
						return true, nil
					}
				}
				return false, states
			})
		}
		if i%2 == 0 {
			n.forget("em1", to.addr4())
			n.forget("em1", to.addr6())
		}
	}
	check(w)
	if s := w.rest().Totals; s.Dropped+s.Generated > 0 {
		t.Errorf("counted %+v", s)
	}
	if len(states) < 2 {
		t.Errorf("the kernel's view was %v all the time: this test tests nothing", states)
	}
}

// TestForgottenAndGone: a host in use that the kernel forgets and that does not answer any more is unreachable in the end.
func TestForgottenAndGone(t *testing.T) {
	n := newNetwork(t, "em0", "em1")
	from, to := n.ends[0], n.ends[1]
	w := n.start(n.config(""))
	n.warm([2]*end{from, to})
	for _, dst := range []netip.Addr{to.addr4(), to.addr6()} {
		bits := map[bool]string{true: "/24", false: "/64"}[dst.Is4()]
		need(t, to.RemoveAddress(hostPort, dst.String()+bits))
		n.forget("em1", dst)
		eventually(t, "the host is unreachable", func() (bool, any) {
			echo, err := from.Ping(testContext(t), lab.PingOptions{To: dst, Timeout: 100 * time.Millisecond})
			return err == nil && echo.Error != nil, echo.Error
		})
		// Its routes went with the address.
		need(t, to.AddAddress(hostPort, dst.String()+bits), to.AddRoute(lab.Route{To: "default", Via: to.gateway(dst).String()}))
		n.ping(from, dst)
	}
	w.rest()
}

// scan sends packets to ever other hosts of a network, from its first address on, until the context ends.
type scan struct {
	sent atomic.Uint64
	done chan error
}

func (e *end) scan(ctx context.Context, first netip.Addr, rate float64) *scan {
	e.n.t.Helper()
	s := &scan{done: make(chan error, 1)}
	socket := e.watch().socket
	frame := e.frame(spec{src: e.addr(first), dst: first})
	at := 14 + 16
	if first.Is6() {
		at = 14 + 24 + 12
	}
	base := binary.BigEndian.Uint32(frame[at:])
	go func() {
		begin := time.Now()
		for ctx.Err() == nil {
			if float64(s.sent.Load()) > time.Since(begin).Seconds()*rate {
				time.Sleep(time.Millisecond) // the pace of the scan, nothing waits for it
				continue
			}
			binary.BigEndian.PutUint32(frame[at:], base+uint32(s.sent.Load()))
			if first.Is4() {
				copy(frame[14+10:], []byte{0, 0})
				binary.BigEndian.PutUint16(frame[14+10:], ^sum16(frame[14:34]))
			}
			if err := socket.Send(ctx, frame); err != nil && ctx.Err() == nil {
				s.done <- err
				return
			}
			s.sent.Add(1)
		}
		s.done <- nil
	}()
	return s
}

// sum16 is the ones' complement sum of RFC 1071.
func sum16(b []byte) uint16 {
	sum := uint32(0)
	for ; len(b) > 1; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}

// resident is how much memory the router's process has, in bytes.
func (w *weir) resident() int {
	w.t.Helper()
	var pages, resident int
	text := must[[]byte](w.t)(os.ReadFile(fmt.Sprintf("/proc/%d/statm", w.process.PID())))
	_, err := fmt.Sscan(string(text), &pages, &resident)
	need(w.t, err)
	return resident * os.Getpagesize()
}

// TestScan: somebody tries 100,000 addresses of a connected network, 20,000 a second. In the middle of it a host comes up
// there, and is reached; memory does not grow; nothing is left when it is over.
func TestScan(t *testing.T) {
	families(t, func(t *testing.T, like netip.Addr) {
		n := newNetworkOf(t, endOptions{name: "em0"}, endOptions{name: "em1"}, endOptions{name: "em2"})
		scanner, target, client := n.ends[0], n.ends[1], n.ends[2]
		target.options = append(target.options[:0], `addresses: [10.0.1.1/24, "fd00:0:0:1::1/64", 10.64.0.1/10]`)
		first, host, bits, family := netip.MustParseAddr("10.100.0.0"), netip.MustParseAddr("10.64.7.7"), "/10", unix.AF_INET
		if like.Is6() {
			first, host, bits, family = netip.MustParseAddr("fd00:0:0:1:1:1:0:0"), netip.MustParseAddr("fd00:0:0:1::7:7"), "/64", unix.AF_INET6
		}
		w := n.start(n.config(""))
		n.warm([2]*end{client, target}, [2]*end{scanner, target})
		before := w.resident()
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		s := scanner.scan(ctx, first, perSecond(20_000))
		reached := func(packets uint64) {
			t.Helper()
			eventually(t, fmt.Sprintf("%d addresses are tried", packets), func() (bool, any) {
				got := w.look().Totals.Received
				return got >= packets, got
			})
		}
		reached(30_000)
		need(t, target.AddAddress(hostPort, host.String()+bits))
		n.ping(client, host)
		n.ping(client, target.addr(like)) // who was known before stays so
		reached(100_000)
		neighbors, known := len(n.kernelNeighbors("em1", family)), len(w.look().Neighbors)
		growth := w.resident() - before
		stop()
		need(t, <-s.done)
		t.Logf("%d addresses tried; memory grew by %d KiB, the kernel has %d neighbours, the router %d", s.sent.Load(), growth>>10, neighbors, known)
		if growth > 64<<20 || neighbors > 1024 || known > 1024 {
			t.Errorf("memory grew by %d KiB, the kernel has %d neighbours, the router %d", growth>>10, neighbors, known)
		}
		eventually(t, "nobody waits any more", func() (bool, any) { got := w.look().Totals; return got.Waiting == 0, got })
		for _, e := range n.kernelNeighbors("em1", family) {
			if e.State&(netlink.NUD_FAILED|netlink.NUD_INCOMPLETE) != 0 {
				addr, _ := netip.AddrFromSlice(e.IP)
				n.forget("em1", addr)
			}
		}
		eventually(t, "the router forgets whom the kernel forgets", func() (bool, any) {
			list := w.look().Neighbors
			for _, e := range list {
				if e.State != "resolved" {
					return false, len(list)
				}
			}
			return true, nil
		})
	})
}

// TestNewMACAnnounced: a host says that it has another MAC address, by a gratuitous ARP or an unsolicited neighbour
// advertisement, and the next packets go there.
func TestNewMACAnnounced(t *testing.T) {
	families(t, func(t *testing.T, like netip.Addr) {
		n := newNetwork(t, "em0", "em1")
		w := n.start(n.config(""))
		from, to := n.ends[0], n.ends[1]
		n.warm([2]*end{from, to})
		to.watch()
		mac := net.HardwareAddr{2, 0, 0, 0, 0, 0x79}
		to.send(announcement(t, to.addr(like), mac))
		eventually(t, "the router knows the new address", func() (bool, any) {
			e, _ := w.neighbor(to.addr(like))
			return e.MAC == mac.String() && e.State == "resolved", e
		})
		from.sent(spec{src: from.addr(like), dst: to.addr(like), id: 9})
		if got := net.HardwareAddr(to.frames.await(t, "packet to the new address", is(9))[:6]); got.String() != mac.String() {
			t.Errorf("sent to %s, expected %s", got, mac)
		}
	})
}

// announcement tells everybody on a link at which MAC address a host is.
func announcement(t *testing.T, addr netip.Addr, mac net.HardwareAddr) []byte {
	t.Helper()
	all := net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	stack := []gopacket.SerializableLayer{
		&layers.Ethernet{SrcMAC: mac, DstMAC: all, EthernetType: layers.EthernetTypeARP},
		&layers.ARP{AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4, Operation: layers.ARPReply,
			SourceHwAddress: mac, SourceProtAddress: addr.AsSlice(), DstHwAddress: mac, DstProtAddress: addr.AsSlice()},
	}
	if addr.Is6() {
		ip := &layers.IPv6{Version: 6, HopLimit: 255, NextHeader: layers.IPProtocolICMPv6, SrcIP: addr.AsSlice(), DstIP: net.ParseIP("ff02::1")}
		icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(layers.ICMPv6TypeNeighborAdvertisement, 0)}
		need(t, icmp.SetNetworkLayerForChecksum(ip))
		stack = []gopacket.SerializableLayer{
			&layers.Ethernet{SrcMAC: mac, DstMAC: net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}, EthernetType: layers.EthernetTypeIPv6}, ip, icmp,
			&layers.ICMPv6NeighborAdvertisement{Flags: 0x20 /* override */, TargetAddress: addr.AsSlice(),
				Options: layers.ICMPv6Options{{Type: layers.ICMPv6OptTargetAddress, Data: mac}}},
		}
	}
	b := gopacket.NewSerializeBuffer()
	need(t, gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, stack...))
	return b.Bytes()
}
