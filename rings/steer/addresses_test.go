package steer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// deliveries is what WatchAddresses has delivered so far.
type deliveries struct {
	mu   sync.Mutex
	sets [][]netip.Addr
}

func (d *deliveries) add(set []netip.Addr) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sets = append(d.sets, set)
}

func (d *deliveries) last() []netip.Addr {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.sets) == 0 {
		return nil
	}
	return d.sets[len(d.sets)-1]
}

func (d *deliveries) contains(addr string) func() bool {
	return func() bool { return slices.Contains(d.last(), netip.MustParseAddr(addr)) }
}

func (d *deliveries) lacks(addr string) func() bool {
	return func() bool { return !d.contains(addr)() }
}

func addAddr(tb testing.TB, on netlink.Link, cidr string) {
	tb.Helper()
	a, err := netlink.ParseAddr(cidr)
	if err != nil {
		tb.Fatal(err)
	}
	if err := netlink.AddrAdd(on, a); err != nil {
		tb.Fatal(err)
	}
}

func delAddr(tb testing.TB, on netlink.Link, cidr string) {
	tb.Helper()
	a, err := netlink.ParseAddr(cidr)
	if err != nil {
		tb.Fatal(err)
	}
	if err := netlink.AddrDel(on, a); err != nil {
		tb.Fatal(err)
	}
}

// TestWatchAddresses goes the whole way: from the kernel's address list to what the program does.
func TestWatchAddresses(t *testing.T) {
	ns := enterNS(t)
	a, _ := addVeth(t, plainVeth())
	program := newBench(t)
	program.plug(t)
	class := func(dst string) Class {
		return program.run(t, join(macs(ourMAC), packetTo(netip.MustParseAddr(dst))))
	}

	before := openDescriptors(t)
	var seen deliveries
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var result error
	done := goInNS(t, ns, func() {
		result = WatchAddresses(ctx, func(set []netip.Addr) {
			if err := program.own.Set(set); err != nil {
				t.Error(err)
			}
			seen.add(set)
		})
	})

	addAddr(t, a, "192.0.2.1/24")
	eventually(t, "192.0.2.1 is delivered", seen.contains("192.0.2.1"))
	if got := class("192.0.2.1"); got != OwnAddress {
		t.Errorf("to our address: %v", got)
	}
	if got := class("192.0.2.255"); got != OwnAddress {
		t.Errorf("to the network's broadcast address: %v", got)
	}
	if got := class("192.0.2.2"); got != Redirected {
		t.Errorf("to a neighbour: %v", got)
	}

	addAddr(t, a, "2001:db8::1/64")
	eventually(t, "2001:db8::1 is delivered", seen.contains("2001:db8::1"))
	if got := class("2001:db8::1"); got != OwnAddress {
		t.Errorf("to our IPv6 address: %v", got)
	}
	if got := class("2001:db8::"); got != OwnAddress {
		t.Errorf("to the subnet-router anycast address: %v", got)
	}

	delAddr(t, a, "192.0.2.1/24")
	eventually(t, "192.0.2.1 is withdrawn", seen.lacks("192.0.2.1"))
	for _, dst := range []string{"192.0.2.1", "192.0.2.255"} {
		if got := class(dst); got != Redirected {
			t.Errorf("to %s, which is no longer ours: %v", dst, got)
		}
	}

	cancel()
	<-done
	if !errors.Is(result, context.Canceled) {
		t.Errorf("WatchAddresses returned %v", result)
	}
	if after := openDescriptors(t); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
	for i, set := range seen.sets {
		if !slices.IsSortedFunc(set, netip.Addr.Compare) || len(slices.Compact(slices.Clone(set))) != len(set) {
			t.Errorf("delivery %d is not a sorted set: %v", i, set)
		}
		if i > 0 && slices.Equal(set, seen.sets[i-1]) {
			t.Errorf("delivery %d brings nothing new", i)
		}
	}
}

// While the receiver of a delivery dawdles, changes pile up; one delivery brings them all.
func TestWatchAddressesCoalesces(t *testing.T) {
	ns := enterNS(t)
	a, _ := addVeth(t, plainVeth())
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var seen deliveries
	first, proceed := make(chan struct{}), make(chan struct{})
	done := goInNS(t, ns, func() {
		WatchAddresses(ctx, func(set []netip.Addr) {
			seen.add(set)
			if len(seen.sets) == 1 {
				close(first)
				<-proceed
			}
		})
	})
	<-first
	for i := range 200 {
		addAddr(t, a, fmt.Sprintf("10.0.%d.1/24", i))
	}
	close(proceed)
	eventually(t, "the last address is delivered", seen.contains("10.0.199.1"))
	cancel()
	<-done
	// The first set, and one list; a third where IPv6 came up meanwhile, a fourth where a list was interrupted.
	if n := len(seen.sets); n > 10 {
		t.Errorf("200 changes at once came in %d deliveries", n)
	}
}

// A socket whose buffer overran reports ENOBUFS once. The listener takes that for a change.
func TestListenSurvivesOverrun(t *testing.T) {
	enterNS(t)
	a, _ := addVeth(t, plainVeth())
	events, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_IPV4_IFADDR)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.SetsockoptInt(events.GetFd(), unix.SOL_SOCKET, unix.SO_RCVBUF, 1); err != nil {
		t.Fatal(err)
	}
	for i := range 100 { // nobody listens: the buffer of a few kilobytes overruns
		addAddr(t, a, fmt.Sprintf("10.0.%d.1/24", i))
	}
	changed := make(chan struct{}, 1)
	broken := make(chan error, 1)
	go func() { broken <- listen(events, changed) }()
	// Among the messages from before the overrun is the overrun, which must not end the listener.
	for range 3 {
		select {
		case <-changed:
		case err := <-broken:
			t.Fatalf("listener ended: %v", err)
		}
		delAddr(t, a, "10.0.7.1/24")
		addAddr(t, a, "10.0.7.1/24")
	}
	events.Close()
	if err := <-broken; errors.Is(err, unix.ENOBUFS) {
		t.Errorf("listener ended by the overrun: %v", err)
	}
}

func TestAppendOwn(t *testing.T) {
	network := func(s string) *net.IPNet {
		if s == "" {
			return nil
		}
		ip, n, err := net.ParseCIDR(s)
		if err != nil {
			t.Fatal(err)
		}
		return &net.IPNet{IP: ip, Mask: n.Mask}
	}
	for _, c := range []struct {
		name, local, peer, broadcast string
		want                         []string
	}{
		{"ipv4", "192.0.2.1/24", "", "", []string{"192.0.2.1", "192.0.2.255"}},
		{"ipv4, odd length", "192.0.2.70/27", "", "", []string{"192.0.2.70", "192.0.2.95"}},
		{"ipv4, broadcast given", "192.0.2.1/24", "", "192.0.2.127", []string{"192.0.2.1", "192.0.2.127", "192.0.2.255"}},
		{"ipv4, two addresses", "192.0.2.1/30", "", "", []string{"192.0.2.1", "192.0.2.3"}},
		{"ipv4, point to point", "192.0.2.0/31", "", "", []string{"192.0.2.0"}},
		{"ipv4, host", "192.0.2.1/32", "", "", []string{"192.0.2.1"}},
		{"ipv4, peer", "192.0.2.1/32", "198.51.100.1/32", "", []string{"192.0.2.1"}},
		{"ipv4, peer with network", "192.0.2.1/32", "198.51.100.1/24", "", []string{"192.0.2.1", "198.51.100.255"}},
		{"ipv6", "2001:db8::1/64", "", "", []string{"2001:db8::1", "2001:db8::"}},
		{"ipv6, /126", "2001:db8::5/126", "", "", []string{"2001:db8::5", "2001:db8::4"}},
		{"ipv6, point to point", "2001:db8::1/127", "", "", []string{"2001:db8::1"}},
		{"ipv6, host", "2001:db8::1/128", "", "", []string{"2001:db8::1"}},
		{"ipv6, link-local", "fe80::1/64", "", "", []string{"fe80::1"}},
	} {
		got := appendOwn(nil, network(c.local), network(c.peer), net.ParseIP(c.broadcast))
		if !slices.Equal(got, addresses(c.want...)) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}
