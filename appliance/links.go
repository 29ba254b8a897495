package appliance

import (
	"context"
	"fmt"

	"github.com/vishvananda/netlink"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"weir/fib"
)

// watchLinks follows the ports' links: their MAC addresses, and for the log whether they are up.
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
	up := make(map[int]bool)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case u, ok := <-updates:
			if !ok {
				return fmt.Errorf("receive: %w", failure)
			}
			r.linkChanged(u.Attrs(), up)
		}
	}
}

// linkChanged takes in what the kernel says of a link. up has those that were up when it last spoke of them.
func (r *Router) linkChanged(a *netlink.LinkAttrs, up map[int]bool) {
	running := a.RawFlags&unix.IFF_RUNNING != 0
	was, seen := up[a.Index]
	up[a.Index] = running
	r.mu.Lock()
	defer r.mu.Unlock()
	d := r.deviceOf(a.Index)
	if d == nil {
		return
	}
	if seen && was != running {
		r.log.Info("link", zap.String("port", a.Name), zap.Bool("up", running))
		r.kernel.again()
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
