package steer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// WatchAddresses follows the addresses that the kernel holds for its own in the network namespace of the calling
// thread, until ctx ends (it then returns ctx.Err()) or netlink fails. It calls deliver with the whole set, sorted and
// without duplicates: once at the start, and again whenever the set has changed. Changes that come close together are
// delivered together, and deliver is never called twice at a time.
//
// The set has the addresses of all interfaces, and what the kernel derives from them: the broadcast addresses of IPv4
// networks, and the subnet-router anycast addresses of IPv6 networks (RFC 4291 section 2.6.1). Whether an interface is up
// makes no difference: what it lists, the kernel keeps.
func WatchAddresses(ctx context.Context, deliver func([]netip.Addr)) error {
	events, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR)
	if err != nil {
		return fmt.Errorf("subscribe to address changes: %w", err)
	}
	kernel, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		events.Close()
		return fmt.Errorf("open netlink: %w", err)
	}
	defer kernel.Close()

	// An event only says that it is time to ask the kernel again. So a lost one (ENOBUFS) is as good as one that came,
	// and the listener keeps reading while a list is under way: many events make one token.
	changed := make(chan struct{}, 1)
	broken := make(chan error, 1)
	go func() {
		broken <- listen(events, changed)
		close(broken)
	}()
	defer func() {
		events.Close()
		for range broken { // until listen is gone
		}
	}()

	var last []netip.Addr
	for first := true; ; first = false {
		next, err := ownAddresses(kernel)
		switch {
		case errors.Is(err, netlink.ErrDumpInterrupted):
			// The list changed while it was read; the event of that change makes us read it again.
			signal(changed)
		case err != nil:
			return fmt.Errorf("list addresses: %w", err)
		case first || !slices.Equal(last, next):
			last = next
			deliver(slices.Clone(next))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-broken:
			return fmt.Errorf("receive address changes: %w", err)
		case <-changed:
		}
	}
}

// listen turns whatever arrives into a token, until the socket fails or is closed.
func listen(events *nl.NetlinkSocket, changed chan<- struct{}) error {
	for {
		_, _, err := events.Receive()
		if err != nil && !errors.Is(err, unix.ENOBUFS) && !errors.Is(err, unix.EINTR) {
			return err
		}
		signal(changed)
	}
}

// signal leaves a token, unless there is one already.
func signal(changed chan<- struct{}) {
	select {
	case changed <- struct{}{}:
	default:
	}
}

func ownAddresses(kernel *netlink.Handle) ([]netip.Addr, error) {
	list, err := kernel.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil, err
	}
	var own []netip.Addr
	for _, a := range list {
		own = appendOwn(own, a.IPNet, a.Peer, a.Broadcast)
	}
	slices.SortFunc(own, netip.Addr.Compare)
	return slices.Compact(own), nil
}

// appendOwn appends what the kernel takes for its own because of one interface address: local, the network that it is
// in (peer's, if there is a peer), and the broadcast address that was given to it.
func appendOwn(own []netip.Addr, local, peer *net.IPNet, broadcast net.IP) []netip.Addr {
	addr, ok := netip.AddrFromSlice(local.IP)
	if !ok {
		return own
	}
	addr = addr.Unmap()
	own = append(own, addr)

	network := local
	if peer != nil {
		network = peer
	}
	bits, _ := network.Mask.Size()
	base, _ := netip.AddrFromSlice(network.IP)
	base = base.Unmap()
	switch {
	case addr.Is4():
		// fib_add_ifaddr in net/ipv4/fib_frontend.c: the address given, and the last of a network with room for one
		// (RFC 3021: 31 bits leave none).
		if given, ok := netip.AddrFromSlice(broadcast); ok && !given.IsUnspecified() {
			own = append(own, given.Unmap())
		}
		if base.Is4() && bits < 31 {
			own = append(own, lastOf(base, bits))
		}
	case bits < 127 && !addr.IsLinkLocalUnicast():
		// addrconf_join_anycast in net/ipv6/addrconf.c: the first address of the network, 127 bits leave none.
		if first := netip.PrefixFrom(addr, bits).Masked().Addr(); !first.IsUnspecified() {
			own = append(own, first)
		}
	}
	return own
}

// lastOf is the address with all host bits set in the IPv4 network of base.
func lastOf(base netip.Addr, bits int) netip.Addr {
	a := base.As4()
	for bit := bits; bit < 32; bit++ {
		a[bit/8] |= 0x80 >> (bit % 8)
	}
	return netip.AddrFrom4(a)
}
