package appliance

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"weir/fib"
)

// watchLinks follows the netdevs: their MAC addresses, whether they are up, and whether they still are what the ports need.
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
			r.linkChanged(u.Attrs(), u.Header.Type == unix.RTM_DELLINK)
			if len(updates) == 0 {
				r.refit()
			}
		}
	}
}

// linkChanged takes in what the kernel says of a link.
func (r *Router) linkChanged(a *netlink.LinkAttrs, gone bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	was, seen := r.flags[a.Index]
	if r.flags[a.Index] = a.RawFlags; gone {
		delete(r.flags, a.Index)
	}
	if r.running == nil {
		return
	}
	if _, ours := r.running.snap.PortByName(a.Name); ours || slices.Contains(r.running.ifindex, a.Index) {
		r.misfit = true
	}
	d := r.deviceOf(a.Index)
	if d == nil || gone {
		return
	}
	if up := a.RawFlags&unix.IFF_RUNNING != 0; seen && up != (was&unix.IFF_RUNNING != 0) {
		r.log.Info("link", zap.String("port", a.Name), zap.Bool("up", up))
		if up {
			r.askForGateways(r.running)
		}
	}
	if len(a.HardwareAddr) == 6 && d.port.MAC.String() != a.HardwareAddr.String() {
		r.macChanged(d, a.HardwareAddr)
	}
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
