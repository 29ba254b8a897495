package management

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"github.com/vishvananda/netlink"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

const (
	answerPatience = 2 * time.Second // for a server, each time
	attempts       = 3
	pauseFirst     = time.Second
	pauseMax       = 30 * time.Second
	leaseDefault   = time.Hour // of a server that does not say; RFC 2131 has it say so
	leaseMin       = 10 * time.Second
)

// lease is what a server has given.
type lease struct {
	address netip.Prefix
	gateway netip.Addr // invalid: none
	valid   time.Duration
	renew   time.Duration // when to ask again
}

// ask has an address by DHCP until the context ends.
func (m *Manager) ask(ctx context.Context, port string) {
	var held *lease
	defer func() {
		if held != nil {
			m.log.Info("the lease is not renewed any more", zap.Stringer("address", held.address))
		}
	}()
	pause := pauseFirst
	told := false
	for ctx.Err() == nil {
		now, err := m.exchange(ctx, port, &held)
		wait := pause
		if err == nil {
			pause, told, wait = pauseFirst, false, now
		} else {
			if ctx.Err() == nil && !told {
				m.log.Warn("no address by DHCP", zap.String("port", port), zap.Error(err))
				told = true
			}
			pause = min(2*pause, pauseMax)
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// exchange asks for a lease and keeps it, renewing it, until that fails. It returns after how long to ask anew.
func (m *Manager) exchange(ctx context.Context, port string, held **lease) (again time.Duration, err error) {
	client, err := nclient4.New(port, nclient4.WithTimeout(answerPatience), nclient4.WithRetry(attempts))
	if err != nil {
		return 0, fmt.Errorf("open DHCP client: %w", err)
	}
	defer client.Close()
	given, err := client.Request(ctx)
	if err != nil {
		return 0, fmt.Errorf("ask for an address: %w", err)
	}
	for {
		next, err := parseLease(given.ACK)
		if err == nil {
			err = next.apply(port, *held)
		}
		if err != nil {
			return 0, err
		}
		if *held == nil || (*held).address != next.address {
			m.log.Info("address by DHCP", zap.String("port", port), zap.Stringer("address", next.address), zap.Stringer("gateway", next.gateway), zap.Duration("lease", next.valid))
		}
		*held = next
		renewed := false
		// From half of the lease on the server is asked to prolong it, each time after half of what is left (RFC 2131 section 4.4.5).
		end := time.Now().Add(next.valid)
		for wait := next.renew; !renewed && wait >= leaseMin/2; wait = time.Until(end) / 2 {
			select {
			case <-ctx.Done():
				return 0, ctx.Err()
			case <-time.After(wait):
			}
			longer, err := client.Renew(ctx, given)
			var refused *nclient4.ErrNak
			if errors.As(err, &refused) {
				(*held).drop(port)
				*held = nil
				return 0, nil
			}
			if err == nil {
				given, renewed = longer, true
			}
		}
		if !renewed {
			return 0, errors.New("no server prolongs the lease")
		}
	}
}

func parseLease(ack *dhcpv4.DHCPv4) (*lease, error) {
	ip, ok := netip.AddrFromSlice(ack.YourIPAddr.To4())
	ones, bits := ack.SubnetMask().Size()
	if !ok || ip.IsUnspecified() {
		return nil, fmt.Errorf("the DHCP server gave no address: %v", ack.YourIPAddr)
	}
	if bits != 32 || ones == 0 {
		ones = 32
	}
	l := &lease{address: netip.PrefixFrom(ip, ones), valid: max(leaseMin, ack.IPAddressLeaseTime(leaseDefault))}
	l.renew = ack.IPAddressRenewalTime(l.valid / 2)
	if l.renew <= 0 || l.renew >= l.valid {
		l.renew = l.valid / 2
	}
	for _, r := range ack.Router() {
		if gateway, ok := netip.AddrFromSlice(r.To4()); ok && !gateway.IsUnspecified() {
			l.gateway = gateway
			break
		}
	}
	return l, nil
}

// apply gives the netdev what the lease says, in place of what another one said.
func (l *lease) apply(port string, before *lease) error {
	link, err := netlink.LinkByName(port)
	if err != nil {
		return fmt.Errorf("apply lease: %w", err)
	}
	if before != nil && (before.address != l.address || before.gateway != l.gateway) {
		before.drop(port)
	}
	a := address(l.address)
	a.ValidLft = int(min(l.valid/time.Second, math.MaxInt32))
	a.PreferedLft = a.ValidLft
	if err := netlink.AddrReplace(link, a); err != nil {
		return fmt.Errorf("apply lease: %w", err)
	}
	if !l.gateway.IsValid() {
		return nil
	}
	route := defaultRoute(link, l.gateway)
	route.Protocol = unix.RTPROT_DHCP
	route.SetFlag(netlink.FLAG_ONLINK) // some networks have a gateway beyond the mask
	if err := netlink.RouteReplace(route); err != nil {
		return fmt.Errorf("apply lease: %w", err)
	}
	return nil
}

// drop takes away what the lease gave.
func (l *lease) drop(port string) {
	link, err := netlink.LinkByName(port)
	if err != nil {
		return // and all with it
	}
	if l.gateway.IsValid() {
		_ = netlink.RouteDel(defaultRoute(link, l.gateway)) // it may be gone with its lease
	}
	_ = netlink.AddrDel(link, address(l.address))
}
