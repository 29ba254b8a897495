package main

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weir/perf/lab"
	"weir/policy/packet"
)

// newNarrow is a network whose em1 has a small MTU, and beyond that a way with a smaller one: far4 and far6 are em1's too.
func newNarrow(t *testing.T) (n *network, w *weir, from, to *end) {
	n = newNetworkOf(t, endOptions{name: "em0", lab: lab.LinkOptions{NoMerge: true}},
		endOptions{name: "em1", lab: lab.LinkOptions{NoMerge: true}, config: "mtu: 1400"})
	from, to = n.ends[0], n.ends[1]
	need(t, to.AddAddress(hostPort, far4.String()+"/32"), to.AddAddress(hostPort, far6.String()+"/128"))
	w = n.start(n.config(`
tables:
  main:
    id: 254
    routes:
      - {to: 203.0.113.0/24, via: 10.0.1.2, mtu: 600}
      - {to: "2001:db8:5::/64", via: "fd00:0:0:1::2", mtu: 1290}
`))
	n.warm([2]*end{from, to})
	return n, w, from, to
}

var far4, far6 = netip.MustParseAddr("203.0.113.9"), netip.MustParseAddr("2001:db8:5::9")

// longest is the length of the longest IP packet among frames.
func longest(t *testing.T, frames []lab.Frame) (most uint16) {
	for _, f := range frames {
		var k packet.Key
		if packet.Parse(f.Data, &k) == packet.None {
			most = max(most, k.Length)
		}
	}
	return most
}

// TestPathMTU: a host's own TCP finds out what the way carries, by the errors that it gets, and all arrives.
func TestPathMTU(t *testing.T) {
	n, w, from, to := newNarrow(t)
	before := uint64(0)
	for _, c := range []struct {
		to  netip.Addr
		mtu uint16
	}{{to.addr4(), 1400}, {to.addr6(), 1400}, {far4, 600}, {far6, 1290}} {
		t.Run(c.to.String(), func(t *testing.T) {
			server := must[*lab.TCPServer](t)(to.ListenTCP(netip.AddrPortFrom(c.to, 0)))
			seen := len(to.watch().all())
			const bytes = 1 << 20
			result, err := from.SendTCP(testContext(t), lab.TCPOptions{IPOptions: lab.IPOptions{DiscoverMTU: true}, To: server.Address(), Bytes: bytes})
			if got := <-server.Received(); err != nil || result.Bytes != bytes || got.Err != nil || got.Bytes != bytes {
				t.Errorf("sent %+v, %v; received %+v", result, err, got)
			}
			need(t, server.Close())
			n.settle(w)
			s := w.look()
			if most := longest(t, to.frames.all()[seen:]); most != c.mtu {
				t.Errorf("the longest packet has %d bytes, expected %d", most, c.mtu)
			}
			if dropped := s.Totals.Drops[packet.TooBig.String()]; dropped == before || s.Totals.Fragmented > 0 {
				t.Errorf("%d packets were too big before, %d now, %d were fragmented", before, dropped, s.Totals.Fragmented)
			} else {
				before = dropped
			}
		})
	}
}

// TestPathMTULearned: the sender's kernel knows the MTU of the way once it has sent a packet that was too big.
func TestPathMTULearned(t *testing.T) {
	_, _, from, to := newNarrow(t)
	for _, c := range []struct {
		to  netip.Addr
		mtu int
	}{{to.addr4(), 1400}, {to.addr6(), 1400}, {far4, 600}, {far6, 1290}} {
		domain, level, discover, do, name := unix.AF_INET, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DO, unix.IP_MTU
		var address unix.Sockaddr = &unix.SockaddrInet4{Port: 9, Addr: to4(c.to)}
		if c.to.Is6() {
			domain, level, discover, do, name = unix.AF_INET6, unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_DO, unix.IPV6_MTU
			address = &unix.SockaddrInet6{Port: 9, Addr: c.to.As16()}
		}
		var fd int
		need(t, from.Do(func() (err error) {
			fd, err = unix.Socket(domain, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
			return err
		}))
		need(t, unix.SetsockoptInt(fd, level, discover, do), unix.Connect(fd, address))
		if mtu := must[int](t)(unix.GetsockoptInt(fd, level, name)); mtu != 1500 {
			t.Errorf("%v: MTU %d before, expected 1500", c.to, mtu)
		}
		_, err := unix.Write(fd, make([]byte, 1440))
		need(t, err)
		eventually(t, fmt.Sprintf("the kernel knows the MTU of the way to %v", c.to), func() (bool, any) {
			mtu, err := unix.GetsockoptInt(fd, level, name)
			return err == nil && mtu == c.mtu, mtu
		})
		need(t, unix.Close(fd))
	}
}

func to4(a netip.Addr) (b [4]byte) {
	if a.Is4() {
		b = a.As4()
	}
	return b
}

// TestFragmentsArrive: datagrams without DF that do not fit the way arrive whole: those that the sender did not cut, and
// those whose fragments the router cuts further.
func TestFragmentsArrive(t *testing.T) {
	n, w, from, to := newNarrow(t)
	fragmented := uint64(0)
	for _, c := range []struct {
		to    netip.Addr
		size  int // of the payload
		cut   uint64
		mtu   uint16
		units uint64 // datagrams
	}{
		{to.addr4(), 1372, 0, 1400, 50},   // fits
		{to.addr4(), 1373, 50, 1396, 50},  // by a byte too long
		{to.addr4(), 1472, 50, 1396, 50},  // all that the sender's link carries
		{to.addr4(), 4000, 100, 1396, 50}, // in three fragments, of which two are too long
		{far4, 1472, 50, 596, 50},
		{far4, 9000, 300, 600, 50}, // in seven, of which the last fits
	} {
		r := must[*lab.UDPReceiver](t)(to.ListenUDP(netip.AddrPortFrom(c.to, 7000)))
		seen := len(to.watch().all())
		sent, err := from.SendUDP(testContext(t), lab.UDPOptions{To: r.Address(), Size: c.size, Count: c.units, Rate: perSecond(1000)})
		need(t, err)
		delivered(t, w, delivery{streamed{sent, nil}, []*lab.UDPReceiver{r}})
		report := r.Report()
		if report.Received != c.units {
			t.Errorf("%d bytes to %v: %d of %d datagrams arrived", c.size, c.to, report.Received, c.units)
		}
		n.settle(w)
		s := w.look()
		if got := s.Totals.Fragmented - fragmented; got != c.cut {
			t.Errorf("%d bytes to %v: %d packets were cut, expected %d", c.size, c.to, got, c.cut)
		}
		fragmented = s.Totals.Fragmented
		if most := longest(t, to.frames.all()[seen:]); most > c.mtu {
			t.Errorf("%d bytes to %v: a packet of %d bytes", c.size, c.to, most)
		}
		for _, f := range to.frames.all()[seen:] {
			if err := lab.VerifyChecksums(f.Data); err != nil {
				t.Error(err)
			}
		}
		need(t, r.Close())
	}
}

// TestRedirectHeeded: a host takes the shorter way that it is told of; from a port that may not tell, it keeps the longer.
func TestRedirectHeeded(t *testing.T) {
	for _, c := range []struct {
		config string
		heeded bool
	}{{"redirects: true", true}, {"", true}, {"redirects: false", false}} {
		t.Run(c.config, func(t *testing.T) {
			n := newNetworkOf(t, endOptions{name: "em0", config: c.config}, endOptions{name: "em1"})
			from := n.ends[0]
			neighbors := "neighbors:\n"
			for _, a := range []string{"10.0.0.9", "fe80::9"} { // routers on the link of em0
				neighbors += fmt.Sprintf("  - {address: %q, port: em0, mac: %q}\n", a, gatewayMAC)
				need(t, from.AddNeighbor(hostPort, netip.MustParseAddr(a), gatewayMAC))
			}
			w := n.start(n.config(neighbors + `
tables:
  main:
    id: 254
    routes:
      - {to: 198.18.0.0/24, via: 10.0.0.9}
      - {to: "2001:db8:6::/64", via: [{gateway: "fe80::9", port: em0}]}
`))
			n.warm([2]*end{from, n.ends[1]})
			// A host heeds the router that it sends to, which tells from its link-local address.
			need(t, from.AddRoute(lab.Route{To: "default", Via: n.routerLinkLocal("em0").String(), Device: hostPort}))
			for dst, gateway := range map[string]string{"198.18.0.9": "10.0.0.9", "2001:db8:6::9": "fe80::9"} {
				to := netip.MustParseAddr(dst)
				used := func() netip.Addr {
					var routes []netlink.Route
					need(t, from.Do(func() (err error) {
						routes, err = netlink.RouteGet(net.IP(to.AsSlice()))
						return err
					}))
					a, _ := netip.AddrFromSlice(routes[0].Gw)
					return a.Unmap()
				}
				want := used()
				if want == netip.MustParseAddr(gateway) {
					t.Errorf("%v is reached by %v before anybody said so", to, want)
				}
				if c.heeded {
					want = netip.MustParseAddr(gateway)
				}
				eventually(t, fmt.Sprintf("%v is reached by %v", to, want), func() (bool, any) {
					// Nobody answers. The kernel heeds a redirect about a packet only as long as the socket is there that sent it.
					_, _ = from.Ping(testContext(t), lab.PingOptions{To: to, Timeout: 100 * time.Millisecond})
					w.rest()
					got := used()
					return got == want, got
				})
			}
			if s := w.rest(); s.Totals.Generated > 0 != c.heeded {
				t.Errorf("counted %+v", s.Totals)
			}
		})
	}
}
