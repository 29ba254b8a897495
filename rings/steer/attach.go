package steer

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Mode is where in the kernel the program runs.
type Mode uint8

// Modes.
const (
	Auto    Mode = iota // Driver, or where the driver cannot, Generic
	Driver              // in the driver, before the kernel has made a socket buffer
	Generic             // in the stack, on a socket buffer: works on every Ethernet device, and is slow
)

// String is the word for the mode.
func (m Mode) String() string {
	switch m {
	case Auto:
		return "auto"
	case Driver:
		return "driver"
	case Generic:
		return "generic"
	}
	return "unknown"
}

// Attach makes the program see the frames of an interface of the calling thread's network namespace, and tells it the
// interface's MAC address. It returns the mode that it runs in. Where that is Generic though Auto was asked for, reason
// says why, for the log.
//
// Attach never takes the place of another program: then the error is a ForeignProgramError. An interface whose driver
// does not take the program gives ErrDriverMode in mode Driver.
//
// The program is attached by a bpf_link: it detaches with Close, with the interface, and when the process dies.
func (p *Program) Attach(ifindex int, mode Mode) (got Mode, reason string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
		return Auto, "", ErrClosed
	case p.link != nil:
		return Auto, "", ErrAttached
	}
	device, err := netlink.LinkByIndex(ifindex)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return Auto, "", fmt.Errorf("attach to interface %d: %w", ifindex, ErrNoInterface)
	}
	if err != nil {
		return Auto, "", fmt.Errorf("attach to interface %d: %w", ifindex, err)
	}
	name := device.Attrs().Name
	if err := p.setMAC(device.Attrs().HardwareAddr); err != nil {
		return Auto, "", fmt.Errorf("attach to %s: %w", name, err)
	}

	if mode != Generic {
		err := p.attach(ifindex, link.XDPDriverMode)
		switch {
		case err == nil:
			return Driver, "", nil
		case !refused(err):
			return Auto, "", fmt.Errorf("attach to %s in driver mode: %w", name, obstacle(ifindex, name, err))
		case mode == Driver:
			return Auto, "", fmt.Errorf("attach to %s: %w: %s (%w)", name, ErrDriverMode, refusal(name, err), err)
		}
		reason = refusal(name, err)
	}
	if err := p.attach(ifindex, link.XDPGenericMode); err != nil {
		return Auto, "", fmt.Errorf("attach to %s in generic mode: %w", name, obstacle(ifindex, name, err))
	}
	return Generic, reason, nil
}

func (p *Program) attach(ifindex int, flags link.XDPAttachFlags) error {
	l, err := link.AttachXDP(link.XDPOptions{Program: p.objects.Steer, Interface: ifindex, Flags: flags})
	if err == nil {
		p.link = l
	}
	return err
}

// refused reports whether an error of a driver-mode attach is the driver's own no, for which generic mode is the
// remedy. Of all others the cause would stop generic mode too, or must be left in peace.
func refused(err error) bool {
	for _, other := range []error{unix.EPERM, unix.EBUSY, unix.EEXIST, unix.ENODEV, ebpf.ErrNotSupported} {
		if errors.Is(err, other) {
			return false
		}
	}
	return true
}

// obstacle says what stood in the way of an attach that the driver did not refuse. The kernel answers EBUSY where the
// same hook is taken, EEXIST where the other mode's hook or an upper device's is (dev_xdp_attach in net/core/dev.c).
func obstacle(ifindex int, name string, err error) error {
	switch {
	case errors.Is(err, unix.EBUSY), errors.Is(err, unix.EEXIST):
		return foreign(ifindex, name)
	case errors.Is(err, unix.ENODEV):
		return fmt.Errorf("%w (%w)", ErrNoInterface, err)
	}
	return explain(err)
}

// foreign finds out whose program is on the interface, as far as the kernel tells.
func foreign(ifindex int, name string) *ForeignProgramError {
	e := &ForeignProgramError{Interface: name}
	device, err := netlink.LinkByIndex(ifindex)
	if err != nil || device.Attrs().Xdp == nil {
		return e
	}
	e.ID = device.Attrs().Xdp.ProgId
	program, err := ebpf.NewProgramFromID(ebpf.ProgramID(e.ID))
	if err != nil {
		return e
	}
	defer program.Close()
	if info, err := program.Info(); err == nil {
		e.Name = info.Name
	}
	return e
}
