package management

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// Port says what the netdev shall have.
type Port struct {
	Name      string
	DHCP      bool // for IPv4
	Addresses []netip.Prefix
	Gateways  []netip.Addr // of default routes, one for a family at most
}

func (p *Port) equal(o *Port) bool {
	if p == nil || o == nil {
		return p == o
	}
	return p.Name == o.Name && p.DHCP == o.DHCP && slices.Equal(p.Addresses, o.Addresses) && slices.Equal(p.Gateways, o.Gateways)
}

// Manager gives the netdev what it shall have, and goes on doing so.
type Manager struct {
	log *zap.Logger

	mu      sync.Mutex
	wanted  *Port
	changed chan struct{} // has room for one
}

// New returns a manager of nothing yet.
func New(log *zap.Logger) *Manager {
	return &Manager{log: log.Named("management"), changed: make(chan struct{}, 1)}
}

// Set says what there shall be from now on; nil: nothing. It does not wait.
func (m *Manager) Set(p *Port) {
	m.mu.Lock()
	m.wanted = p
	m.mu.Unlock()
	select {
	case m.changed <- struct{}{}:
	default:
	}
}

// Run does what was said until the context ends.
func (m *Manager) Run(ctx context.Context) {
	var running *Port
	stop := func() {}
	defer func() { stop() }()
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.changed:
		}
		m.mu.Lock()
		next := m.wanted
		m.mu.Unlock()
		if running.equal(next) {
			continue
		}
		stop()
		stop = func() {}
		m.remove(running, next)
		running = next
		if next == nil {
			continue
		}
		holding, cancel := context.WithCancel(ctx)
		done := make(chan struct{})
		go func() {
			defer close(done)
			m.hold(holding, next)
		}()
		stop = func() {
			cancel()
			<-done
		}
	}
}

// remove takes away what the netdev had and shall have no more.
func (m *Manager) remove(old, next *Port) {
	if old == nil {
		return
	}
	link, err := netlink.LinkByName(old.Name)
	if err != nil {
		return // and all with it
	}
	same := next != nil && next.Name == old.Name
	for _, a := range old.Addresses {
		if !same || !slices.Contains(next.Addresses, a) {
			m.warn("remove address", netlink.AddrDel(link, address(a)), unix.EADDRNOTAVAIL)
		}
	}
	for _, g := range old.Gateways {
		if !same || !slices.Contains(next.Gateways, g) {
			m.warn("remove gateway", netlink.RouteDel(defaultRoute(link, g)), unix.ESRCH)
		}
	}
}

// warn logs what went wrong, except where that is what was to be.
func (m *Manager) warn(what string, err, expected error) {
	if err != nil && !errors.Is(err, expected) {
		m.log.Warn(what, zap.Error(err))
	}
}

// look is how often the netdev is looked at: it may go and come, or somebody take away what it was given.
const look = 5 * time.Second

// hold gives the netdev what it shall have until the context ends.
func (m *Manager) hold(ctx context.Context, p *Port) {
	updates := make(chan netlink.LinkUpdate, 16)
	if err := netlink.LinkSubscribe(updates, ctx.Done()); err != nil {
		m.log.Warn("watch links", zap.Error(err))
		updates = nil
	}
	var asking sync.WaitGroup
	defer asking.Wait()
	if p.DHCP {
		asking.Go(func() { m.ask(ctx, p.Name) })
	}
	tick := time.NewTicker(look)
	defer tick.Stop()
	told := ""
	for {
		text := ""
		if err := p.apply(); err != nil {
			text = err.Error()
		}
		if text != told && text != "" {
			m.log.Warn("not as it shall be", zap.String("port", p.Name), zap.String("why", text))
		}
		told = text
		select {
		case <-ctx.Done():
			for range updates { // until it is closed, so that nobody waits to send to it
			}
			return
		case _, ok := <-updates:
			if !ok {
				updates = nil
			}
		case <-tick.C:
		}
	}
}

// apply gives the netdev what it lacks.
func (p *Port) apply() error {
	link, err := netlink.LinkByName(p.Name)
	if err != nil {
		return fmt.Errorf("find netdev: %w", err)
	}
	// Router advertisements are for hosts, which this netdev is one of, even if the kernel forwards elsewhere.
	const conf = "/proc/sys/net/"
	for file, value := range map[string]string{"ipv6/conf/" + p.Name + "/accept_ra": "2", "ipv6/conf/" + p.Name + "/forwarding": "0", "ipv4/conf/" + p.Name + "/forwarding": "0"} {
		if e := os.WriteFile(conf+file, []byte(value), 0o644); e != nil && !errors.Is(e, os.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	if link.Attrs().Flags&net.FlagUp == 0 {
		err = errors.Join(err, netlink.LinkSetUp(link))
	}
	for _, a := range p.Addresses {
		if e := netlink.AddrReplace(link, address(a)); e != nil {
			err = errors.Join(err, fmt.Errorf("add %s: %w", a, e))
		}
	}
	for _, g := range p.Gateways {
		if e := netlink.RouteReplace(defaultRoute(link, g)); e != nil {
			err = errors.Join(err, fmt.Errorf("add gateway %s: %w", g, e))
		}
	}
	return err
}

func address(a netip.Prefix) *netlink.Addr {
	return &netlink.Addr{IPNet: &net.IPNet{IP: a.Addr().AsSlice(), Mask: net.CIDRMask(a.Bits(), a.Addr().BitLen())}}
}

// metric leaves it to every other default route to be better: those that weir gives the kernel, above all.
const metric = 1024

func defaultRoute(link netlink.Link, gateway netip.Addr) *netlink.Route {
	all := netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	if gateway.Is4() {
		all = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	return &netlink.Route{
		LinkIndex: link.Attrs().Index, Gw: gateway.AsSlice(), Priority: metric, Protocol: unix.RTPROT_STATIC,
		Dst: &net.IPNet{IP: all.Addr().AsSlice(), Mask: net.CIDRMask(0, all.Addr().BitLen())},
	}
}
