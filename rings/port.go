package rings

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"

	"weir/rings/ethtool"
	"weir/rings/steer"
)

// Mode is how a port's packets get to us.
type Mode uint8

// Modes, as the configuration names them.
const (
	Auto     Mode = iota // the best that the driver offers
	ZeroCopy             // the NIC writes into the UMEM; an error where it cannot
	Copy                 // XDP in the driver, the kernel copies into the UMEM
	Generic              // XDP in the stack: works everywhere, slowly
)

var modeNames = [...]string{Auto: "auto", ZeroCopy: "zero-copy", Copy: "copy", Generic: "generic"}

// String is the configuration's word for the mode.
func (m Mode) String() string { return modeNames[m] }

// ParseMode reads a mode's name; the empty one is Auto.
func ParseMode(s string) (Mode, error) {
	for m, name := range modeNames {
		if s == name || s == "" {
			return Mode(m), nil
		}
	}
	return 0, fmt.Errorf("mode %q: must be auto, zero-copy, copy or generic", s)
}

// Switch is what the XDP programs of all ports share: the router's own addresses.
type Switch struct{ own *steer.Own }

// NewSwitch loads what the ports share.
func NewSwitch() (*Switch, error) {
	own, err := steer.NewOwn(0)
	if err != nil {
		return nil, err
	}
	return &Switch{own: own}, nil
}

// SetOwn replaces the addresses that belong to the router: packets to them go to the kernel, whatever port they
// come in on.
func (s *Switch) SetOwn(addrs []netip.Addr) error { return s.own.Set(addrs) }

// WatchOwn calls deliver with the kernel's addresses, whole, now and whenever they change, until the context ends.
func WatchOwn(ctx context.Context, deliver func([]netip.Addr)) error {
	return steer.WatchAddresses(ctx, deliver)
}

// Close releases it. Every port must have been closed.
func (s *Switch) Close() error { return s.own.Close() }

// Port is a netdev with weir's XDP program on it. Its methods are the control plane's.
type Port struct {
	Name    string
	Ifindex int
	MAC     net.HardwareAddr
	MTU     int
	Driver  string
	Queues  int // of the NIC, asked after attaching

	XDP    string // where the program runs: driver or generic
	Reason string // why this mode: a sentence for the log

	asked    Mode
	zeroCopy bool
	program  *steer.Program
	offloads []string // switched off by OpenPort, to be restored by Close
}

// OpenPort attaches weir's XDP program to a netdev. Until a queue is started every packet still goes to the kernel.
func (s *Switch) OpenPort(name string, mode Mode) (*Port, error) {
	link, err := netlink.LinkByName(name)
	if err != nil {
		if errors.As(err, new(netlink.LinkNotFoundError)) {
			return nil, fmt.Errorf("open port %s: no such interface here (ip link shows which there are)", name)
		}
		return nil, fmt.Errorf("open port %s: %w", name, err)
	}
	a := link.Attrs()
	p := &Port{Name: name, Ifindex: a.Index, MAC: a.HardwareAddr, MTU: a.MTU, Driver: driverName(name), asked: mode}
	if len(p.MAC) != 6 {
		return nil, fmt.Errorf("open port %s: not an Ethernet interface", name)
	}
	if err := p.attach(s.own); err != nil {
		return nil, errors.Join(fmt.Errorf("open port %s: %w", name, err), p.Close())
	}
	return p, nil
}

// queuesPerPortMax is room for sockets; a NIC with more queues has the rest served by the kernel.
const queuesPerPortMax = 256

func (p *Port) attach(own *steer.Own) (err error) {
	if p.offloads, err = disableVLANOffload(p.Name); err != nil {
		return err
	}
	if p.program, err = steer.Load(steer.Options{Own: own, MaxQueues: queuesPerPortMax}); err != nil {
		return err
	}
	want := steer.Auto
	switch p.asked {
	case Generic:
		want = steer.Generic
	case ZeroCopy:
		want = steer.Driver
	}
	got, reason, err := p.program.Attach(p.Ifindex, want)
	if err != nil {
		return err
	}
	p.XDP = got.String()
	queues, err := ethtool.Queues(p.Name)
	if err != nil {
		return err
	}
	p.Queues = min(queues, queuesPerPortMax)
	p.choose(got == steer.Generic, reason)
	return nil
}

// choose decides between zero-copy and copy, and says why.
func (p *Port) choose(generic bool, reason string) {
	features, known := xdpFeatures(p.Ifindex)
	switch {
	case p.asked == Generic:
		p.Reason = "generic XDP as configured"
	case generic:
		p.Reason = "the driver takes no XDP program: " + reason
	case p.asked == Copy:
		p.Reason = "copy as configured"
	case p.asked == ZeroCopy:
		p.zeroCopy, p.Reason = true, "zero-copy as configured"
	case features&FeatureXSKZeroCopy != 0:
		p.zeroCopy, p.Reason = true, "the driver offers zero-copy"
	case !known:
		p.Reason = "the kernel does not say whether the driver offers zero-copy (Linux 6.3 does)"
	default:
		p.Reason = fmt.Sprintf("driver %s offers no zero-copy", p.Driver)
	}
}

// Mode is the mode that the port runs in: never Auto.
func (p *Port) Mode() Mode {
	switch {
	case p.zeroCopy:
		return ZeroCopy
	case p.XDP == steer.Generic.String():
		return Generic
	}
	return Copy
}

// WantsZeroCopy reports whether its queues need a zero-copy UMEM.
func (p *Port) WantsZeroCopy() bool { return p.zeroCopy }

// FallBack gives up zero-copy after a bind refused it, and reports whether the port's mode allows that.
func (p *Port) FallBack(err error) bool {
	if !p.zeroCopy || p.asked == ZeroCopy || !errors.Is(err, ErrZeroCopy) {
		return false
	}
	p.zeroCopy, p.Reason = false, fmt.Sprintf("driver %s announces zero-copy, but %v", p.Driver, err)
	return true
}

// OpenUMEM makes a UMEM whose first queue is queue index of this port.
func (p *Port) OpenUMEM(index int, o UMEMOptions) (u *UMEM, q *Queue, err error) {
	o.ZeroCopy = p.zeroCopy
	var s *opened
	err = whileBusy(func() (err error) {
		u, s, err = openUMEM(p.Ifindex, index, &o)
		return err
	})
	if err != nil {
		return nil, nil, fmt.Errorf("open queue %d of %s: %w", index, p.Name, err)
	}
	q, err = u.attachQueue(s, p.Ifindex, index, p.Name)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("open queue %d of %s: %w", index, p.Name, err), u.Close())
	}
	return u, q, nil
}

// OpenQueue opens queue index of this port over a UMEM that has one already.
func (p *Port) OpenQueue(index int, u *UMEM) (*Queue, error) {
	var s *opened
	err := whileBusy(func() (err error) {
		s, err = u.share(p.Ifindex, index)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open queue %d of %s: %w", index, p.Name, err)
	}
	q, err := u.attachQueue(s, p.Ifindex, index, p.Name)
	if err != nil {
		return nil, fmt.Errorf("open queue %d of %s: %w", index, p.Name, err)
	}
	return q, nil
}

// Start lets packets into the queue, which should have been refilled.
func (p *Port) Start(q *Queue) error {
	if err := p.program.Register(q.Index, q.fd); err != nil {
		return fmt.Errorf("start queue %d of %s: %w", q.Index, p.Name, err)
	}
	return nil
}

// Stop lets no more packets into the queue: they go to the kernel.
func (p *Port) Stop(q *Queue) error {
	if err := p.program.Unregister(q.Index); err != nil {
		return fmt.Errorf("stop queue %d of %s: %w", q.Index, p.Name, err)
	}
	return nil
}

// CloseQueue closes the socket and unmaps its rings. The worker must have let go of it.
func (p *Port) CloseQueue(q *Queue) error {
	if err := q.close(); err != nil {
		return fmt.Errorf("close queue %d of %s: %w", q.Index, p.Name, err)
	}
	return nil
}

// SetMAC follows a change of the netdev's address.
func (p *Port) SetMAC(mac net.HardwareAddr) error {
	p.MAC = mac
	return p.program.SetMAC(mac)
}

// CountQueues asks how many queues the netdev has now, which ethtool -L may have changed since OpenPort.
func (p *Port) CountQueues() (int, error) {
	n, err := ethtool.Queues(p.Name)
	return min(n, queuesPerPortMax), err
}

// Steered counts what the XDP program did with the packets of this port, by the name of their class.
func (p *Port) Steered() (map[string]uint64, error) {
	counters, err := p.program.Counters()
	if err != nil {
		return nil, err
	}
	named := make(map[string]uint64)
	for class, n := range counters {
		if n > 0 {
			named[steer.Class(class).String()] = n
		}
	}
	return named, nil
}

// Offloads are the offloads that OpenPort switched off.
func (p *Port) Offloads() []string { return p.offloads }

// Close detaches the XDP program and restores the offloads. Queues must have been closed.
func (p *Port) Close() error {
	var err error
	if p.program != nil {
		err = p.program.Close()
	}
	// By index: a netdev that is gone needs nothing restored, and another may have its name by now.
	if link, gone := netlink.LinkByIndex(p.Ifindex); gone == nil {
		err = errors.Join(err, RestoreOffloads(link.Attrs().Name, p.offloads))
	}
	p.program, p.offloads = nil, nil
	if err != nil {
		return fmt.Errorf("close port %s: %w", p.Name, err)
	}
	return nil
}

func driverName(name string) string {
	driver, err := ethtool.Driver(name)
	if err != nil {
		return "unknown"
	}
	return driver
}
