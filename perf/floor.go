package perf

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"weir/rings"
)

// FloorOptions describe an I/O floor.
type FloorOptions struct {
	// Ports are connected in pairs: what comes in on the first leaves through the second, and the other way round; so
	// do the third and the fourth.
	Ports    []FloorPort
	CPU      int           // that it runs on
	IdleSpin time.Duration // how long it may spin for the next packet before it sleeps
	RingSize int           // entries of each AF_XDP ring; 0: 2048
}

// FloorPort is a port of the floor, and where its packets go.
type FloorPort struct {
	Name    string
	NextHop net.HardwareAddr // written into what leaves through the port
}

// ParseFloorPort reads "em0=02:00:00:00:00:01".
func ParseFloorPort(text string) (FloorPort, error) {
	name, mac, ok := strings.Cut(text, "=")
	if !ok || name == "" {
		return FloorPort{}, fmt.Errorf("port %q: must be NAME=MAC", text)
	}
	hw, err := net.ParseMAC(mac)
	if err != nil || len(hw) != 6 {
		return FloorPort{}, fmt.Errorf("port %q: %q is not a MAC address", text, mac)
	}
	return FloorPort{Name: name, NextHop: hw}, nil
}

// String is what ParseFloorPort reads.
func (p FloorPort) String() string { return p.Name + "=" + p.NextHop.String() }

// RunFloor runs the I/O floor until ctx ends: the least that a forwarder over package rings can do. It receives a batch,
// writes MAC addresses, and transmits. It does not parse, look up, or count.
//
// It is what weir is measured by, so everything else is as weir has it: the XDP program, the sizes of rings and memory,
// the batch, the order of calls on the rings, one kick per batch, and when to spin and when to sleep. It reports READY=1
// to the service manager (sd_notify(3)) when packets flow.
func RunFloor(ctx context.Context, o FloorOptions) (err error) {
	if len(o.Ports) == 0 || len(o.Ports)%2 != 0 {
		return fmt.Errorf("run floor: %d ports: must be pairs", len(o.Ports))
	}
	if o.RingSize == 0 {
		o.RingSize = 2048
	}
	f := &floor{options: o, idler: rings.Idler{Spin: o.IdleSpin}}
	if f.poller, err = rings.NewPoller(); err != nil {
		return fmt.Errorf("run floor: %w", err)
	}
	finished := make(chan error, 1)
	ready := make(chan struct{})
	go func() { finished <- f.run(ready) }()
	defer func() { err = errors.Join(err, f.close()) }()
	select {
	case err = <-finished:
		return err
	case <-ready:
	}
	if err := notifyReady(); err != nil {
		f.stop()
		return errors.Join(err, <-finished)
	}
	select {
	case err = <-finished:
	case <-ctx.Done():
		f.stop()
		err = <-finished
	}
	return err
}

// notifyReady tells the service manager, if there is one.
func notifyReady() error {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return nil
	}
	c, err := net.Dial("unixgram", path)
	if err != nil {
		return fmt.Errorf("notify service manager: %w", err)
	}
	defer c.Close()
	_, err = c.Write([]byte("READY=1"))
	return err
}

// floor is the forwarder. Its thread owns everything but stopped and the poller's Wake.
type floor struct {
	options FloorOptions
	stopped atomic.Bool
	poller  *rings.Poller
	idler   rings.Idler

	steer *rings.Switch
	umem  *rings.UMEM
	ports []*rings.Port
	pairs []floorQueue // by port
	batch rings.Batch
}

// floorQueue is a port's queue, and what is done with its packets.
type floorQueue struct {
	in, out *rings.Queue
	macs    [12]byte // destination and source of what leaves through out
}

func (f *floor) stop() {
	f.stopped.Store(true)
	f.poller.Wake()
}

func (f *floor) run(ready chan<- struct{}) error {
	runtime.LockOSThread() // never unlocked: the thread ends with the goroutine, and its affinity with it
	if err := pinThread(0, f.options.CPU); err != nil {
		return fmt.Errorf("run floor: %w", err)
	}
	if err := f.open(); err != nil {
		return fmt.Errorf("run floor: %w", err)
	}
	close(ready)
	for !f.stopped.Load() {
		n := 0
		for i := range f.pairs {
			n += f.forward(&f.pairs[i])
		}
		if n == 0 {
			f.idle()
		} else {
			f.idler.Busy()
		}
	}
	return nil
}

// forward is the packet path.
func (f *floor) forward(q *floorQueue) int {
	q.in.Complete()
	q.in.Refill()
	n := q.in.Receive(&f.batch)
	if n == 0 {
		q.in.Kick() // what an earlier kick left in the ring
		return 0
	}
	frames := f.batch.Frames[:n]
	for _, frame := range frames {
		copy(f.umem.Bytes(frame), q.macs[:])
	}
	sent := q.out.Transmit(frames)
	q.out.Kick()
	for _, frame := range frames[sent:] {
		f.umem.Free(frame.Addr)
	}
	q.out.Complete()
	return n
}

// sleepMax is as weir has it.
const sleepMax = 100 * time.Millisecond

func (f *floor) idle() {
	now := monotonic()
	if !f.idler.ShouldSleep(now) {
		return
	}
	f.poller.Wait(sleepMax)
	f.idler.Slept(time.Duration(monotonic() - now))
}

// open opens the first queue of every port over one memory, and lets packets in. After an error, close still has to be
// called.
func (f *floor) open() (err error) {
	if f.steer, err = rings.NewSwitch(); err != nil {
		return err
	}
	if err := f.steer.SetOwn([]netip.Addr{}); err != nil {
		return err
	}
	size, err := rings.FrameSizeFor(1500)
	if err != nil {
		return err
	}
	// As weir dimensions its memory for one worker: every ring full for twice as many queues and two more, the waiting
	// rooms' 64 × 16 seats, and two batches.
	queues := 2*len(f.options.Ports) + 2
	o := rings.UMEMOptions{
		Frames:    queues*2*f.options.RingSize + 64*16 + 2*rings.BatchSize,
		FrameSize: size, RingSize: f.options.RingSize,
	}
	waitFor := make([]*rings.Queue, 0, len(f.options.Ports))
	for _, p := range f.options.Ports {
		port, err := f.steer.OpenPort(p.Name, rings.Auto)
		if err != nil {
			return err
		}
		f.ports = append(f.ports, port)
		var q *rings.Queue
		if f.umem == nil {
			f.umem, q, err = port.OpenUMEM(0, o)
		} else {
			q, err = port.OpenQueue(0, f.umem)
		}
		if err != nil {
			return err
		}
		f.pairs = append(f.pairs, floorQueue{in: q})
		waitFor = append(waitFor, q)
	}
	for i := range f.pairs {
		other := i ^ 1
		f.pairs[i].out = f.pairs[other].in
		copy(f.pairs[i].macs[:6], f.options.Ports[other].NextHop)
		copy(f.pairs[i].macs[6:], f.ports[other].MAC)
		f.pairs[i].in.Refill()
	}
	f.poller.SetQueues(waitFor)
	for i, port := range f.ports {
		if err := port.Start(f.pairs[i].in); err != nil {
			return err
		}
	}
	return nil
}

// close undoes open. The thread has ended.
func (f *floor) close() (err error) {
	for i, port := range f.ports {
		if i < len(f.pairs) {
			err = errors.Join(err, port.Stop(f.pairs[i].in), port.CloseQueue(f.pairs[i].in))
		}
		err = errors.Join(err, port.Close())
	}
	if f.umem != nil {
		err = errors.Join(err, f.umem.Close())
	}
	if f.steer != nil {
		err = errors.Join(err, f.steer.Close())
	}
	return errors.Join(err, f.poller.Close())
}

// monotonic is the time since the program began, ns.
func monotonic() int64 { return int64(time.Since(begun)) }

var begun = time.Now()
