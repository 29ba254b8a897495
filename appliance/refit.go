package appliance

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"weir/fib"
	"weir/policy"
)

// Netdevs go and come back, get queues, another MTU, lose addresses, all by somebody else's hand. A refit makes what runs
// fit them again, without a commit: a netdev that is gone becomes an absent port, one that is back is opened as a commit
// would, what the configuration gives and somebody took away is put back. It never touches the other ports' queues.

// refitEvery bounds how often: netlink says things in many messages, and somebody else may put back what we put back.
const refitEvery = time.Second

// refit looks at the netdevs if there is reason to, now or at the next tick.
func (r *Router) refit() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.running == nil || r.closed || time.Since(r.refitted) < refitEvery {
		return
	}
	if r.prepared != nil || r.behind() { // a commit is under way, or a worker late: the next tick
		return
	}
	recounted := r.recounted()
	if !r.misfit && recounted == nil {
		return
	}
	r.refitted, r.misfit = time.Now(), false
	k, err := lookAtKernel()
	if err != nil {
		r.misfit = true
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			r.log.Warn("look at netdevs", zap.Error(err))
		}
		return
	}
	r.leave(k, recounted)
	opened := false
	for i, d := range r.running.devices {
		opened = d.absent && r.enter(k, i, slices.ContainsFunc(recounted, func(o *device) bool { return o.port.Name == d.port.Name })) || opened
	}
	if opened {
		r.misfit = true // what was seen of the kernel is not true any more
		return
	}
	r.mend(k)
}

// behind reports whether a worker has not yet seen what was published last.
func (r *Router) behind() bool {
	return slices.ContainsFunc(r.workers, func(w *Worker) bool { return w.seen.Load() < r.epoch })
}

// kernelView is what the kernel has.
type kernelView struct {
	links     map[string]*netlink.LinkAttrs
	addresses map[int][]netip.Prefix     // by ifindex
	tentative map[netip.Prefix]bool      // of the addresses: duplicate address detection is not over, or has found one
	permanent map[kernelNeighbor][6]byte // static neighbours
}

func lookAtKernel() (*kernelView, error) {
	k := &kernelView{links: make(map[string]*netlink.LinkAttrs), addresses: make(map[int][]netip.Prefix), tentative: make(map[netip.Prefix]bool), permanent: make(map[kernelNeighbor][6]byte)}
	links, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	for _, l := range links {
		k.links[l.Attrs().Name] = l.Attrs()
	}
	addrs, err := netlink.AddrList(nil, unix.AF_UNSPEC)
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	for _, a := range addrs {
		addr, _ := netip.AddrFromSlice(a.IP)
		bits, _ := a.Mask.Size()
		prefix := netip.PrefixFrom(addr.Unmap(), bits)
		k.addresses[a.LinkIndex] = append(k.addresses[a.LinkIndex], prefix)
		if a.Flags&(unix.IFA_F_TENTATIVE|unix.IFA_F_DADFAILED) != 0 {
			k.tentative[prefix] = true
		}
	}
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		neighbors, err := netlink.NeighList(0, family)
		if err != nil {
			return nil, fmt.Errorf("list neighbours: %w", err)
		}
		for _, n := range neighbors {
			if n.State&netlink.NUD_PERMANENT != 0 && len(n.HardwareAddr) == 6 {
				addr, _ := netip.AddrFromSlice(n.IP)
				k.permanent[kernelNeighbor{addr.Unmap(), n.LinkIndex}] = [6]byte(n.HardwareAddr)
			}
		}
	}
	return k, nil
}

// has reports whether the device is the netdev of its name.
func (k *kernelView) has(d *device) bool {
	a := k.links[d.port.Name]
	return a != nil && a.Index == d.port.Ifindex
}

func (k *kernelView) hasNeighbor(s *setup, n *fib.Adjacency) bool {
	return k.permanent[kernelNeighbor{n.Neighbor.Addr, s.ifindex[n.Neighbor.Port]}] == n.DstMAC
}

// again is a setup for the same configuration, to be changed before it runs.
func (s *setup) again() *setup {
	snap := *s.snap
	snap.Ports = slices.Clone(snap.Ports)
	base := s.routed()
	snap.Adjacencies = base
	return &setup{snap: &snap, base: base, fixed: s.fixed, users: s.users, lost: s.lost, runTime: s.runTime, refit: true, reasons: make(map[*device]string),
		devices: slices.Clone(s.devices), ifindex: slices.Clone(s.ifindex), desired: slices.Clone(s.desired)}
}

// exchange makes next the running setup, and releases what the one before alone used.
func (r *Router) exchange(next *setup) {
	r.askLinks(next)
	next.snap = next.snap.WithAdjacencies(r.withLinks(next, r.resolve(next)))
	r.learnLinkLocals(next)
	epoch := r.publish(&generation{snap: next.snap, lanes: r.lanes(next, nil), links: next.links, tallies: r.tallies.inUse})
	r.running = next
	ctx := context.Background()
	err := r.await(ctx, epoch)
	late := err != nil
	if err = errors.Join(err, r.start(next)); !late {
		err = errors.Join(err, r.release(ctx, next))
	}
	if err != nil {
		r.fail("follow netdevs", err)
	}
	r.askForGateways(next)
}

// leave lets go of the netdevs that are gone, or are others of the same name, and of those with other queues.
func (r *Router) leave(k *kernelView, recounted []*device) {
	next := r.running.again()
	var left []*device
	for i, d := range next.devices {
		switch {
		case d.absent:
			continue
		case !k.has(d):
			r.log.Error("port is absent", zap.String("port", d.port.Name), zap.String("reason", noSuchInterface))
		case slices.Contains(recounted, d):
			r.log.Info("queues changed", zap.String("port", d.port.Name), zap.Int("from", d.port.Queues))
		default:
			continue
		}
		left = append(left, d)
		next.devices[i] = absentDevice(d.port.Name, d.mode)
	}
	if left == nil {
		return
	}
	for i := range next.snap.Ports {
		p := &next.snap.Ports[i]
		if d := r.running.devices[p.Device]; next.devices[p.Device].absent && !k.has(d) { // else its settings stay
			was := next.ifindex[i]
			next.ifindex[i] = 0
			next.desired = slices.DeleteFunc(next.desired, func(t setting) bool { return t.Ifindex == was })
		}
	}
	r.stale = append(r.stale, left...)
	r.exchange(next)
}

// enter opens the netdev of an absent port, if there is one, and reports whether it did. A link that is down is set up,
// as by a commit, unless the netdev was open before.
func (r *Router) enter(k *kernelView, i int, again bool) bool {
	was, p := r.running.devices[i], r.running.snap.Ports[i]
	if k.links[p.Name] == nil {
		was.reason = noSuchInterface
		return false
	}
	next := r.running.again()
	d, err := r.openDevice(p)
	if err == nil {
		next.devices[i], next.opened, d.again = d, []*device{d}, again
		if err = r.equip(next, d); err != nil {
			r.undo(next)
		}
	}
	if err != nil {
		r.explain(was, &was.reason, err.Error())
		r.misfit = true // whatever is in the way may go without a word
		return false
	}
	r.exchange(next)
	return true
}

// equip gives a device that a refit has opened its settings and queues.
func (r *Router) equip(next *setup, d *device) error {
	if err := r.fit(next); err != nil {
		return err
	}
	if err := r.makeWorkers(next); err != nil { // they are made: it checks that each gets a queue
		return err
	}
	return r.openQueues(next)
}

// mend puts back what the configuration gives and the kernel has no more, and follows what it leaves open.
func (r *Router) mend(k *kernelView) {
	if r.fits(k) {
		return
	}
	s, next := r.running, r.running.again()
	next.kernel = k
	if err := r.fit(next); err != nil {
		r.fail("follow netdevs", err)
	}
	same := func(a, b policy.Port) bool { return a.MTU == b.MTU }
	if slices.Equal(s.ifindex, next.ifindex) && slices.EqualFunc(s.snap.Ports, next.snap.Ports, same) {
		s.desired = next.desired
		return
	}
	r.exchange(next)
}

// fits compares the running setup to the kernel.
func (r *Router) fits(k *kernelView) bool {
	s := r.running
	for i := range s.snap.Ports {
		p := &s.snap.Ports[i]
		d, a := s.devices[p.Device], k.links[p.Name]
		switch {
		case d.absent || s.ifindex[i] == 0:
			continue
		case a == nil || a.Index != s.ifindex[i] || a.MTU != int(p.MTU):
			return false
		}
		for _, prefix := range p.Addresses {
			if !slices.Contains(k.addresses[a.Index], prefix) {
				return false
			}
			if k.tentative[prefix] {
				r.misfit = true // it may come out deaf: the next tick sees
			} else if a.RawFlags&unix.IFF_LOWER_UP != 0 && deaf(prefix.Addr()) {
				return false
			}
		}
	}
	all := s.base
	for i := range uint32(all.Len()) {
		n := all.At(i)
		if n.Static && s.ifindex[n.Neighbor.Port] != 0 && !k.hasNeighbor(s, n) {
			return false
		}
	}
	return true
}

// deaf reports whether the kernel does not answer for an IPv6 address that it has: a link that goes down while the address is
// looked for duplicates of takes its local route along, and with keep_addr_on_down the address comes back without it.
func deaf(addr netip.Addr) bool {
	if addr.Is4() {
		return false
	}
	routes, err := netlink.RouteGet(addr.AsSlice())
	return errors.Is(err, unix.ENETUNREACH) || errors.Is(err, unix.EHOSTUNREACH) || err == nil && len(routes) > 0 && routes[0].Type != unix.RTN_LOCAL
}

// fit applies the settings of a refit. Of a device that it opens an error fails it; what else goes wrong is the device's
// reason, and leaves it as it was.
func (r *Router) fit(next *setup) error {
	s := r.running
	had := next.desired
	next.desired = nil
	for i := range next.snap.Ports {
		p := &next.snap.Ports[i]
		d := next.devices[p.Device]
		ifindex, err := r.applyPort(next, p)
		if err != nil && !next.keeps(d) {
			return fmt.Errorf("port %s: %w", p.Name, err)
		}
		if err != nil {
			next.reasons[d], r.misfit = fmt.Sprintf("%s: %v", p.Name, err), true
			ifindex, p.MTU = s.ifindex[i], s.snap.Ports[i].MTU
			for _, t := range had {
				if t.Ifindex == ifindex && !slices.Contains(next.desired, t) {
					next.desired = append(next.desired, t)
				}
			}
		}
		next.ifindex[i] = ifindex
	}
	for _, d := range next.devices {
		if next.keeps(d) && !d.absent {
			r.explain(d, &d.reason, next.reasons[d])
		}
	}
	return r.applyNeighbors(next)
}

// recounted are the devices whose netdev has another number of queues than it was opened with (ethtool -L), of which no
// message tells that every kernel sends. They are opened anew: packets on a queue without a socket are the kernel's, and
// drivers such as veth do not run the XDP program on queues that come later. (A queue that has a socket cannot be taken
// away: the kernel refuses.)
func (r *Router) recounted() (list []*device) {
	for _, d := range r.running.devices {
		if d.absent {
			continue
		}
		if n, err := d.port.CountQueues(); err == nil && n != d.port.Queues { // an error: it is gone, as we shall hear
			list = append(list, d)
		}
	}
	return list
}

// explain notes why a device is not as configured, and logs it once.
func (r *Router) explain(d *device, reason *string, why string) {
	if *reason != why && why != "" {
		r.log.Error("port is not as configured", zap.String("port", d.port.Name), zap.String("reason", why))
	}
	*reason = why
}
