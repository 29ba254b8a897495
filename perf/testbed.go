package perf

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"weir/perf/lab"
)

// testbed is generator – router – counter, with one peer at a time in the router's place.
type testbed struct {
	lab     *lab.Lab
	source  *lab.Host
	router  *lab.Host
	sink    *lab.Host
	mac     map[string]net.HardwareAddr // of the ports, and of what is behind them, by port: "em0", "behind em0"
	cpu     int                         // the router's
	softirq int                         // thread that runs softirqs on cpu when there are too many to do at once
	restore []func() error

	receiveYields bool // as PeersOptions has it

	generator *generator // nil in a Bench
	counter   *counter   // nil in a Bench

	// try sends a few packets at a slow rate, and says how many came.
	try func(context.Context) (sent, received uint64, err error)
}

// Names and addresses of the testbed (RFC 5737). The stream goes to 10.0.0.0/8.
const (
	sourceDevice, sinkDevice = "eth0", "eth0"
	portIn, portOut          = "em0", "em1"
	sourcePrefix             = "192.0.2.10/24"
	portInPrefix             = "192.0.2.1/24"
	sinkPrefix               = "198.51.100.10/24"
	portOutPrefix            = "198.51.100.1/24"
	flowPrefix               = "10.0.0.0/8"
	sourcePrefix6            = "2001:db8:1::10/64"
	portInPrefix6            = "2001:db8:1::1/64"
	sinkPrefix6              = "2001:db8:2::10/64"
	portOutPrefix6           = "2001:db8:2::1/64"
	flowPrefix6              = "fd10::/16"
)

var (
	sourceAddress = netip.MustParsePrefix(sourcePrefix).Addr()
	sinkAddress   = netip.MustParsePrefix(sinkPrefix).Addr()
	source6       = netip.MustParsePrefix(sourcePrefix6).Addr()
	sink6         = netip.MustParsePrefix(sinkPrefix6).Addr()
	firstFlow     = netip.MustParsePrefix(flowPrefix).Addr()
	ports         = []string{portIn, portOut}
)

// newTestbed builds it with what peers are measured by. The caller closes it.
func newTestbed(o *PeersOptions) (t *testbed, err error) {
	if t, err = newBed(o); err != nil {
		return nil, err
	}
	if err := t.measure(o); err != nil {
		return nil, errors.Join(fmt.Errorf("build testbed: %w", err), t.close())
	}
	return t, nil
}

// measure adds the generator and the counter.
func (t *testbed) measure(o *PeersOptions) (err error) {
	s := stream{
		device: sourceDevice, src: t.mac["behind "+portIn], dst: t.mac[portIn], from: sourceAddress, to: firstFlow,
		addresses: o.Addresses, listed: o.Load.destinations(false), ports: o.Ports, port: streamPort, sizes: o.Sizes, cpu: o.GeneratorCPU,
	}
	if t.generator, err = newGenerator(t.source, s); err != nil {
		return err
	}
	if t.counter, err = newCounter(t.sink, sinkDevice, s); err != nil {
		return err
	}
	t.try = t.tryGenerator
	return nil
}

// newBed builds it without.
func newBed(o *PeersOptions) (t *testbed, err error) {
	l, err := lab.New()
	if err != nil {
		return nil, err
	}
	t = &testbed{lab: l, cpu: o.RouterCPU, receiveYields: o.ReceiveYields, mac: make(map[string]net.HardwareAddr)}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("build testbed: %w", err), t.close())
		}
	}()
	if err := t.connect(); err != nil {
		return nil, err
	}
	if err := errors.Join(t.addressKernel(), t.loadKernel(&o.Load)); err != nil {
		return nil, err
	}
	if t.softirq, err = kernelThread(fmt.Sprintf("ksoftirqd/%d", t.cpu)); err != nil {
		return nil, err
	}
	raised, err := raiseGroup(os.Getpid())
	if err != nil {
		return nil, err
	}
	t.restore = append(t.restore, raised)
	return t, nil
}

func (t *testbed) connect() (err error) {
	if t.source, err = t.lab.Host("source"); err != nil {
		return err
	}
	if t.router, err = t.lab.Host("router"); err != nil {
		return err
	}
	if t.sink, err = t.lab.Host("sink"); err != nil {
		return err
	}
	for port, end := range map[string]struct {
		host           *lab.Host
		device         string
		theirs, ours   string
		theirs6, ours6 string
	}{
		portIn:  {t.source, sourceDevice, sourcePrefix, portInPrefix, sourcePrefix6, portInPrefix6},
		portOut: {t.sink, sinkDevice, sinkPrefix, portOutPrefix, sinkPrefix6, portOutPrefix6},
	} {
		if _, err := t.lab.Link(end.host, end.device, t.router, port, lab.LinkOptions{
			AddressesA: []string{end.theirs, end.theirs6}, AddressesB: []string{end.ours, end.ours6},
		}); err != nil {
			return err
		}
		if t.mac[port], err = t.router.MAC(port); err != nil {
			return err
		}
		if t.mac["behind "+port], err = end.host.MAC(end.device); err != nil {
			return err
		}
	}
	return nil
}

// addressKernel gives the router's kernel what it needs to forward, but for leave to do so.
func (t *testbed) addressKernel() error {
	return errors.Join(
		t.addNeighbors(),
		t.router.AddRoute(lab.Route{To: flowPrefix, Via: sinkAddress.String()}),
		t.router.AddRoute(lab.Route{To: flowPrefix6, Via: sink6.String()}),
		t.router.SetSysctl("net/ipv4/ip_early_demux", "0"),
		t.forwardInKernel(false),
	)
}

// addNeighbors gives the router's kernel those of its ports. An XDP program gets no answer for one that has yet to be
// resolved.
func (t *testbed) addNeighbors() error {
	return errors.Join(
		t.router.AddNeighbor(portIn, sourceAddress, t.mac["behind "+portIn]),
		t.router.AddNeighbor(portOut, sinkAddress, t.mac["behind "+portOut]),
		t.router.AddNeighbor(portIn, source6, t.mac["behind "+portIn]),
		t.router.AddNeighbor(portOut, sink6, t.mac["behind "+portOut]),
	)
}

// loadKernel gives the router's kernel the rules and routes of a load. They are the XDP program's too.
func (t *testbed) loadKernel(load *Load) error {
	const elsewhere = 100
	if load.Rules > 0 {
		if err := t.router.AddRoute(lab.Route{To: "default", Type: "blackhole", Table: elsewhere}); err != nil {
			return err
		}
	}
	for i := range load.Rules {
		if err := t.router.AddRule(lab.Rule{Priority: 1 + i, From: loadSource(i), Table: elsewhere}); err != nil {
			return err
		}
	}
	return t.router.AddRoutes(load.Routes, sinkAddress)
}

// forwardInKernel says whether the router's kernel forwards. While another peer runs it must not: what that leaves to
// the kernel would count as its own.
func (t *testbed) forwardInKernel(on bool) error {
	value := "0"
	if on {
		value = "1"
	}
	return errors.Join(t.router.SetSysctl("net/ipv4/ip_forward", value), t.router.SetSysctl("net/ipv6/conf/all/forwarding", value))
}

// threadNAPI moves the receive path of the router's ports into threads, binds these to the router's CPU and, unless they
// are to yield to the worker, makes them urgent. Attaching or detaching an XDP program may make new threads, so it is called anew for every peer.
func (t *testbed) threadNAPI() (tids []int, err error) {
	for _, port := range ports {
		if err := t.router.SetSysfs("class/net/"+port+"/threaded", "1"); err != nil {
			return nil, err
		}
		index, err := t.router.Index(port)
		if err != nil {
			return nil, err
		}
		var found []int
		if err := t.router.Do(func() (err error) {
			found, err = napiThreads(index)
			return err
		}); err != nil {
			return nil, fmt.Errorf("thread receive path of %s: %w", port, err)
		}
		for _, tid := range found {
			err := pinThread(tid, t.cpu)
			if err == nil && !t.receiveYields {
				err = makeUrgent(tid)
			}
			if err != nil {
				return nil, fmt.Errorf("thread receive path of %s: %w", port, err)
			}
		}
		tids = append(tids, found...)
	}
	return tids, nil
}

// check wants a few packets that are sent at a slow rate back.
func (t *testbed) check(ctx context.Context) error {
	sent, received, err := t.try(ctx)
	if err == nil && (received == 0 || received > sent) {
		err = fmt.Errorf("%d of %d packets arrived", received, sent)
	}
	if err != nil {
		return fmt.Errorf("check forwarding: %w", err)
	}
	return nil
}

func (t *testbed) tryGenerator(ctx context.Context) (sent, received uint64, err error) {
	before, err := t.counter.read()
	if err != nil {
		return 0, 0, err
	}
	offered, err := t.generator.run(ctx, checkRate, checkWindow)
	if err != nil {
		return 0, 0, err
	}
	after, err := t.counter.settle(ctx, before, offered.packets)
	return offered.packets, after.Frames - before.Frames, err
}

// close takes everything down.
func (t *testbed) close() error {
	var errs []error
	for i := len(t.restore) - 1; i >= 0; i-- {
		errs = append(errs, t.restore[i]())
	}
	if t.generator != nil {
		errs = append(errs, t.generator.close())
	}
	if t.counter != nil {
		errs = append(errs, t.counter.close())
	}
	return errors.Join(append(errs, t.lab.Close())...)
}
