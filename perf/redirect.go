package perf

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf/link"
)

// routeInXDP puts the kernel's own fast way into the router's place: an XDP program at its first port, which asks the kernel's
// tables. It returns how to take it out again.
func (t *testbed) routeInXDP() (stop func() error, err error) {
	var objects redirectObjects
	if err := loadRedirectObjects(&objects, nil); err != nil {
		return nil, fmt.Errorf("load router in XDP: %w", err)
	}
	var attached link.Link
	err = t.router.Do(func() error {
		in, err := t.router.Index(portIn)
		if err != nil {
			return err
		}
		out, err := t.router.Index(portOut)
		if err != nil {
			return err
		}
		if err := objects.Devices.Put(uint32(out), uint32(out)); err != nil {
			return err
		}
		attached, err = link.AttachXDP(link.XDPOptions{Program: objects.Redirect, Interface: in, Flags: link.XDPDriverMode})
		return err
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("attach router in XDP: %w", err), objects.Close())
	}
	return func() error { return errors.Join(attached.Close(), objects.Close()) }, nil
}
