package perf

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weir/perf/traffic"
	"weir/perf/trial"
)

// PortsOptions say what Ports are.
type PortsOptions struct {
	Send, Receive string           // names of the ports, in the network namespace of the process
	Gateway       string           // what frames go to: a MAC address, or an IP address, which the kernel resolves
	Wire          bool             // no device: frames go to the port that receives, by a cable between the two
	Engine        Engine           // "": Live
	Streams       []traffic.Stream // that the device forwards from the one port to the other
	CPU           int              // that packets are made on
	Force         bool             // take ports that the machine's own traffic needs
}

// Ports are two ports of this machine with a device under test between them, which is somebody else's. Procedures see a tester.
//
// The receiver hands frames that are not the test's to the kernel, so that the port goes on answering ARP and ND. Nothing about the
// ports is changed but for the XDP programs, which go when the test is over.
type Ports struct {
	instruments
	wire    bool
	restore func() error
}

// resolveTimeout is how long a neighbour may take to answer.
const resolveTimeout = 3 * time.Second

// NewPorts looks at the ports, resolves the gateway, and sees that packets come back. The caller closes them.
func NewPorts(ctx context.Context, o PortsOptions) (p *Ports, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("use ports: %w", err)
		}
	}()
	if o.Engine == "" {
		o.Engine = Live
	}
	if err := checkEngine(o.Engine); err != nil {
		return nil, err
	}
	switch {
	case o.Send == "" || o.Receive == "":
		return nil, errors.New("one to send from and one to receive at are needed")
	case o.Send == o.Receive:
		return nil, fmt.Errorf("%s is to send and to receive: they must be two", o.Send)
	case len(o.Streams) == 0:
		return nil, errors.New("no streams: which packets does the device forward?")
	case o.Wire && o.Gateway != "":
		return nil, errors.New("a wire has no gateway: frames go to the port that receives")
	case !o.Wire && o.Gateway == "":
		return nil, errors.New("no gateway: which MAC address of the device, or whose IP address, do frames go to?")
	}
	p = &Ports{instruments: instruments{engine: o.Engine, streams: o.Streams}, wire: o.Wire}
	if p.out, err = ownPort(o.Send, o.CPU, o.Force); err != nil {
		return nil, err
	}
	if p.in, err = ownPort(o.Receive, o.CPU, o.Force); err != nil {
		return nil, err
	}
	p.link = traffic.Link{Source: p.out.MAC, Destination: p.in.MAC}
	if !o.Wire {
		if p.link.Destination, err = gateway(ctx, &p.out, o.Gateway); err != nil {
			return nil, err
		}
	}
	if p.restore, err = raiseGroup(os.Getpid()); err != nil {
		return nil, err
	}
	if err := p.check(ctx); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// ownPort is a port of the process's namespace. It must be up, and not the one that the machine is reached by.
func ownPort(name string, cpu int, force bool) (p traffic.Port, err error) {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return p, fmt.Errorf("port %s: %w", name, err)
	}
	a := link.Attrs()
	switch {
	case a.Flags&net.FlagUp == 0:
		return p, fmt.Errorf("port %s is down", name)
	case a.OperState == netlink.OperDown || a.OperState == netlink.OperLowerLayerDown:
		return p, fmt.Errorf("port %s has no carrier", name)
	case len(a.HardwareAddr) != 6:
		return p, fmt.Errorf("port %s is no Ethernet", name)
	}
	carries, err := carriesDefault(a.Index)
	if err != nil {
		return p, fmt.Errorf("port %s: %w", name, err)
	}
	if carries && !force {
		return p, fmt.Errorf("port %s carries a default route: a test would cut this machine off, unless it is forced", name)
	}
	return traffic.Port{Name: name, Index: a.Index, MAC: a.HardwareAddr, MTU: a.MTU, Do: func(f func() error) error { return urgently(cpu, f) }}, nil
}

// carriesDefault says whether a default route of any table leaves by a device.
func carriesDefault(index int) (bool, error) {
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		// All tables, which is what an unspecified one stands for.
		routes, err := netlink.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
		if err != nil {
			return false, fmt.Errorf("list routes: %w", err)
		}
		for _, r := range routes {
			if r.Dst != nil {
				if ones, _ := r.Dst.Mask.Size(); ones > 0 {
					continue
				}
			}
			if r.LinkIndex == index {
				return true, nil
			}
			for _, hop := range r.MultiPath {
				if hop.LinkIndex == index {
					return true, nil
				}
			}
		}
	}
	return false, nil
}

// urgently runs f on a thread of its own, on a CPU and before others.
func urgently(cpu int, f func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		restore, err := pinUrgent(cpu)
		if err == nil {
			err = f()
			restore()
		}
		result <- err
	}()
	return <-result
}

// gateway is the MAC address that frames go to: the one given, or that of the neighbour with the address given, which the kernel is made
// to resolve.
func gateway(ctx context.Context, p *traffic.Port, text string) (net.HardwareAddr, error) {
	if mac, err := net.ParseMAC(text); err == nil && len(mac) == 6 {
		return mac, nil
	}
	address, err := netip.ParseAddr(text)
	if err != nil || address.Zone() != "" {
		return nil, fmt.Errorf("gateway %q: must be a MAC address or an IP address", text)
	}
	if err := netlink.NeighSet(&netlink.Neigh{LinkIndex: p.Index, IP: address.AsSlice(), Flags: netlink.NTF_USE}); err != nil {
		return nil, fmt.Errorf("resolve %s at %s: %w", address, p.Name, err)
	}
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		neighbors, err := netlink.NeighList(p.Index, netlink.FAMILY_ALL)
		if err != nil {
			return nil, fmt.Errorf("resolve %s at %s: %w", address, p.Name, err)
		}
		for _, n := range neighbors {
			const known = netlink.NUD_REACHABLE | netlink.NUD_STALE | netlink.NUD_DELAY | netlink.NUD_PROBE | netlink.NUD_PERMANENT | netlink.NUD_NOARP
			if has, _ := netip.AddrFromSlice(n.IP); has.Unmap() == address.Unmap() && n.State&known != 0 && len(n.HardwareAddr) == 6 {
				return n.HardwareAddr, nil
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, fmt.Errorf("resolve %s at %s: nobody answers; does the port have an address in its network? A MAC address does without", address, p.Name)
		}
	}
}

// check sends a few packets at a slow rate.
func (p *Ports) check(ctx context.Context) error {
	outcome, err := p.Trial(ctx, trial.Trial{Rate: checkRate, Duration: checkWindow, Sizes: p.smallest(), Drain: drainMin})
	if err != nil {
		return err
	}
	if outcome.Received == 0 {
		return fmt.Errorf("none of %d packets that were sent from %s to %s arrived at %s: does the device forward %s, and does it know what is behind %s?",
			outcome.Sent, p.out.Name, p.link.Destination, p.in.Name, p.streams[0].String(), p.in.Name)
	}
	return nil
}

// Calibrate is part of trial.Tester. With a device between the ports the ceiling is what the port says that it sent, and nothing is known
// of the latency without a device: a cable between the ports (PortsOptions.Wire) tells both.
func (p *Ports) Calibrate(ctx context.Context, sizes trial.Sizes) (trial.Calibration, error) {
	return p.calibrate(sizes, func() (c trial.Calibration, err error) {
		i, err := p.get(sizes)
		if err != nil {
			return c, err
		}
		if p.wire {
			c, err = i.calibrateWire(ctx, sizes)
		} else {
			c.Ceiling, err = i.ceiling(ctx, sizes, p.transmitted())
		}
		if err != nil {
			return c, err
		}
		ports, err := p.Ports()
		if err != nil {
			return c, err
		}
		c.LinkSpeed = ports[0].Speed
		if in := ports[1].Speed; in > 0 {
			c.LinkSpeed = min(c.LinkSpeed, in)
		}
		return c, nil
	})
}

// transmitted is what the port's own counter says of each trial; of a port that does not count what XDP sends, the sender's word.
func (p *Ports) transmitted() func(trial.Outcome) (uint64, error) {
	read := func() (uint64, error) {
		link, err := netlink.LinkByIndex(p.out.Index)
		if err != nil {
			return 0, fmt.Errorf("read counters of %s: %w", p.out.Name, err)
		}
		return link.Attrs().Statistics.TxPackets, nil
	}
	before, err := read()
	return func(o trial.Outcome) (uint64, error) {
		now, err2 := read()
		n := now - before
		before = now
		if n == 0 {
			n = o.Sent
		}
		return n, errors.Join(err, err2)
	}
}

// Close gives them back.
func (p *Ports) Close() error { return errors.Join(p.dismiss(), p.restore()) }
