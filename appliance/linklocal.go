package appliance

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// Every port has an IPv6 link-local address, which the kernel makes, and checks for duplicates for a second or two after
// the link came up. Workers need it as the source of what they tell hosts on the link: redirects above all.

// linkLocals lists those of the setup's ports that the kernel would use.
func (s *setup) linkLocals() ([]netip.Addr, error) {
	list, err := netlink.AddrList(nil, unix.AF_INET6)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) { // what was missed comes as an update
		return nil, fmt.Errorf("list link-local addresses: %w", err)
	}
	links := make([]netip.Addr, len(s.ifindex))
	for _, a := range list {
		addr, ok := netip.AddrFromSlice(a.IP)
		if !ok || !addr.IsLinkLocalUnicast() || a.Flags&(unix.IFA_F_TENTATIVE|unix.IFA_F_DADFAILED) != 0 {
			continue
		}
		for port, ifindex := range s.ifindex {
			if ifindex == a.LinkIndex && !links[port].IsValid() {
				links[port] = addr
			}
		}
	}
	return links, nil
}

// watchLinkLocals follows them until the context ends or netlink fails.
func (r *Router) watchLinkLocals(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	updates := make(chan netlink.AddrUpdate, 256)
	var failure error
	err := netlink.AddrSubscribeWithOptions(updates, ctx.Done(), netlink.AddrSubscribeOptions{
		ErrorCallback: func(err error) { failure = err }, // called before updates is closed
	})
	if err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	for {
		if err := r.relearnLinkLocals(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case _, ok := <-updates:
			if !ok {
				return fmt.Errorf("receive: %w", failure)
			}
		}
		for len(updates) > 0 { // whatever has come in the meantime asks once
			<-updates
		}
	}
}

// relearnLinkLocals publishes them where they have changed.
func (r *Router) relearnLinkLocals() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.running
	if s == nil {
		return nil
	}
	links, err := s.linkLocals()
	if err != nil || slices.Equal(links, s.links) {
		return err
	}
	s.links = links
	g := *r.published.Load()
	g.links = links
	r.publish(&g)
	return nil
}

// learnLinkLocals completes a setup that is about to run. Without them there are no redirects, and no reason not to run.
func (r *Router) learnLinkLocals(s *setup) {
	var err error
	if s.links, err = s.linkLocals(); err != nil {
		r.log.Warn("start without link-local addresses", zap.Error(err))
	}
}
