package appliance

import (
	"context"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"weir/fib"
)

// watchLinks follows the netdevs: whether they are up, their MAC addresses, and whether they still are what the ports need.
func (r *Router) watchLinks(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	updates := make(chan netlink.LinkUpdate, 256)
	var failure error
	err := netlink.LinkSubscribeWithOptions(updates, ctx.Done(), netlink.LinkSubscribeOptions{
		ErrorCallback: func(err error) { failure = err }, ListExisting: true,
	})
	if err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	tick := time.NewTicker(refitEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			r.refit()
		case u, ok := <-updates:
			if !ok {
				return fmt.Errorf("receive: %w", failure)
			}
			r.mu.Lock()
			changed := make(map[int]string)
			for { // whatever has come in the meantime makes one new generation, not many
				changed[u.Attrs().Index] = u.Attrs().Name
				if len(updates) == 0 {
					break
				}
				u = <-updates
			}
			r.linksChanged(changed)
			r.mu.Unlock()
			r.refit()
		}
	}
}

// linksChanged looks at the ports among netdevs that the kernel had something to say about, by index with their names. Messages
// may be older than what the running setup has been told when it came into force, so that the kernel is asked. r.mu must be
// held.
func (r *Router) linksChanged(changed map[int]string) {
	s := r.running
	if s == nil {
		return
	}
	for ifindex, name := range changed {
		if _, ours := s.snap.PortByName(name); ours || slices.Contains(s.ifindex, ifindex) {
			r.misfit = true
			r.kernel.again() // also where it went down and came back unseen: the kernel has dropped routes
		}
	}
	for i := range s.snap.Ports {
		for _, ifindex := range s.netdevs(i) {
			if _, ok := changed[ifindex]; !ok {
				continue
			}
			delete(changed, ifindex)
			was := r.links[ifindex]
			now := askLink(ifindex)
			r.links[ifindex] = now
			if was.up != now.up {
				r.log.Info("link", zap.String("port", s.snap.Ports[i].Name), zap.Bool("up", now.up))
			}
			if d := r.deviceOf(ifindex); d != nil && now.hasMAC && d.port.MAC.String() != net.HardwareAddr(now.mac[:]).String() {
				r.macChanged(d, now.mac[:])
			}
		}
	}
	if next := r.withLinks(s, s.snap.Adjacencies); next != s.snap.Adjacencies {
		r.republish(s, next)
		lost := s.lostGateways()
		go func() {
			for _, n := range lost {
				r.ask(n)
			}
		}()
	}
}

// link is what a netdev is like.
type link struct {
	up     bool // set up, and with a carrier (IFF_LOWER_UP, which unlike IFF_RUNNING does not come late)
	set    bool // set up
	mac    [6]byte
	hasMAC bool
}

// askLink asks the kernel. One that is gone is down.
func askLink(ifindex int) (l link) {
	found, err := netlink.LinkByIndex(ifindex)
	if err != nil {
		return l
	}
	a := found.Attrs()
	l.up, l.set = a.RawFlags&unix.IFF_LOWER_UP != 0, a.RawFlags&unix.IFF_UP != 0
	if l.hasMAC = len(a.HardwareAddr) == len(l.mac); l.hasMAC {
		copy(l.mac[:], a.HardwareAddr)
	}
	return l
}

// askLinks asks for all links of a setup. r.mu must be held.
func (r *Router) askLinks(s *setup) {
	r.links = make(map[int]link)
	for i := range s.snap.Ports {
		for _, ifindex := range s.netdevs(i) {
			if _, known := r.links[ifindex]; !known {
				r.links[ifindex] = askLink(ifindex)
			}
		}
	}
}

// netdevs are those that a port needs: the device, and for a VLAN that the kernel has its own.
func (s *setup) netdevs(port int) []int {
	device := s.devices[s.snap.Ports[port].Device].port.Ifindex
	if own := s.ifindex[port]; own != 0 && own != device {
		return []int{device, own}
	}
	return []int{device}
}

// withLinks returns the adjacencies with the ports down whose links are; the same if nothing changes. Neighbours behind a link
// that is down are lost: once it is up again, multipath routes wait for their answer. r.mu must be held.
func (r *Router) withLinks(s *setup, all *fib.Adjacencies) *fib.Adjacencies {
	var down []uint16
	same := true
	for i := range s.snap.Ports {
		isDown := slices.ContainsFunc(s.netdevs(i), func(ifindex int) bool { return !r.links[ifindex].up })
		if isDown {
			down = append(down, uint16(i))
		}
		same = same && isDown == all.Down(uint16(i))
	}
	if same {
		return all
	}
	next := all.WithDown(down...)
	var set []fib.Adjacency
	for i := range s.gateways() {
		a := *all.At(i)
		switch {
		case a.Static:
			continue
		case next.Down(a.Neighbor.Port):
			a.Lost = true
			if _, kept := r.neighbors.kept[a.Neighbor]; kept { // the kernel forgot it when the link went
				delete(r.neighbors.kept, a.Neighbor)
				a.State = fib.Incomplete
			}
		case all.Down(a.Neighbor.Port) && a.State == fib.Resolved: // the kernel has kept it
			a.Lost = false
		}
		set = append(set, a)
	}
	return next.With(set...)
}

func (r *Router) deviceOf(ifindex int) *device {
	if r.running != nil {
		for _, d := range r.running.devices {
			if d.port.Ifindex == ifindex {
				return d
			}
		}
	}
	return nil
}

// macChanged gives every adjacency of a port its new source address. r.mu must be held.
func (r *Router) macChanged(d *device, mac []byte) {
	if err := d.port.SetMAC(mac); err != nil {
		r.fail("follow address of "+d.port.Name, err)
	}
	r.log.Info("MAC address changed", zap.String("port", d.port.Name), zap.Stringer("mac", d.port.MAC))
	s := r.running
	var set []fib.Adjacency
	for i := range uint32(s.snap.Adjacencies.Len()) {
		a := *s.snap.Adjacencies.At(i)
		if a.Neighbor.Addr.IsValid() && s.devices[a.Device] == d {
			a.SrcMAC = [6]byte(mac)
			set = append(set, a)
		}
	}
	r.republish(s, s.snap.Adjacencies.With(set...))
}
