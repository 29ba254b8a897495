package lab

import (
	"context"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// WaitUp returns when the device exists, is up and has a carrier.
func (h *Host) WaitUp(ctx context.Context, device string) error {
	return h.waitLink(ctx, device, "up", func(l netlink.Link) bool {
		const upAndRunning = unix.IFF_UP | unix.IFF_RUNNING | unix.IFF_LOWER_UP
		return l != nil && l.Attrs().RawFlags&upAndRunning == upAndRunning
	})
}

// WaitCarrierLost returns when the device has no carrier, or is down, or does not exist.
func (h *Host) WaitCarrierLost(ctx context.Context, device string) error {
	return h.waitLink(ctx, device, "without a carrier", func(l netlink.Link) bool {
		return l == nil || l.Attrs().RawFlags&unix.IFF_RUNNING == 0
	})
}

// WaitDevice returns when the device exists (or, with present false, when it does not).
func (h *Host) WaitDevice(ctx context.Context, device string, present bool) error {
	return h.waitLink(ctx, device, fmt.Sprintf("present: %v", present), func(l netlink.Link) bool { return (l != nil) == present })
}

// waitLink listens to the kernel's link messages, so that it needs no polling: it subscribes first and looks then,
// and looks again with every message. A nil link means that there is no such device.
func (h *Host) waitLink(ctx context.Context, device, what string, satisfied func(netlink.Link) bool) error {
	updates, done := make(chan netlink.LinkUpdate), make(chan struct{})
	ns := h.ns
	err := netlink.LinkSubscribeWithOptions(updates, done, netlink.LinkSubscribeOptions{Namespace: &ns})
	if err != nil {
		return fmt.Errorf("wait for %s of %s to be %s: %w", device, h.name, what, err)
	}
	defer func() {
		close(done)
		for range updates { // the subscription ends when it notices; it must not be left blocked on us
		}
	}()
	for {
		link, err := h.netlink.LinkByName(device)
		if err != nil {
			if _, absent := err.(netlink.LinkNotFoundError); !absent {
				return fmt.Errorf("find %s in %s: %w", device, h.name, err)
			}
			link = nil
		}
		if satisfied(link) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s of %s to be %s: %w", device, h.name, what, context.Cause(ctx))
		case _, open := <-updates:
			if !open {
				return fmt.Errorf("wait for %s of %s to be %s: no more messages from the kernel", device, h.name, what)
			}
		}
	}
}
