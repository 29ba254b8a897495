package appliance

import (
	"errors"
	"fmt"
	"net"
	"runtime"
	"slices"
	"strings"

	"go.uber.org/zap"

	"weir/policy"
	"weir/rings"
)

// device is a netdev that weir drives, with its queues.
type device struct {
	port     *rings.Port    // of an absent netdev it has the name alone
	mode     string         // as configured
	queues   []*rings.Queue // by NIC queue
	drops    []dropCounters // of what came in by it, by worker
	started  bool
	absent   bool   // the netdev is not there, or cannot be opened: packets to it are dropped, it has no queues
	reason   string // what keeps it from being as configured, and what to do; "": nothing
	unserved string // the same of its queues
	again    bool   // opened anew by a refit: its link stays as it is
}

// openDevices finds or opens the netdev of every port of the snapshot.
func (r *Router) openDevices(s *setup) error {
	var errs []error
	for _, p := range s.snap.Ports {
		if p.VLAN != 0 {
			continue
		}
		d, err := r.openDevice(p)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		s.devices = append(s.devices, d)
		if r.running == nil || !slices.Contains(r.running.devices, d) {
			s.opened = append(s.opened, d)
		}
	}
	return errors.Join(errs...)
}

func (r *Router) openDevice(p policy.Port) (*device, error) {
	if r.running != nil {
		for _, d := range r.running.devices {
			if d.port.Name != p.Name || d.absent {
				continue
			}
			if d.mode != p.Mode {
				return nil, fmt.Errorf("port %s: its mode cannot change from %s to %s while it runs: take it out, commit, and put it in again, or restart weir",
					p.Name, d.mode, p.Mode)
			}
			return d, nil
		}
	}
	mode, err := rings.ParseMode(p.Mode)
	if err != nil {
		return nil, fmt.Errorf("port %s: %w", p.Name, err)
	}
	port, err := r.steer.OpenPort(p.Name, mode)
	if err != nil {
		return nil, err
	}
	if len(port.Offloads()) > 0 {
		off := setting{Kind: settingOffload, Port: p.Name, Ifindex: port.Ifindex, Value: strings.Join(port.Offloads(), " ")}
		if err := r.settings.add(off, func() error { return nil }); err != nil {
			return nil, errors.Join(err, port.Close())
		}
	}
	return &device{port: port, mode: p.Mode}, nil
}

// absentDevice stands for one whose netdev is gone.
func absentDevice(name, mode string) *device {
	return &device{port: &rings.Port{Name: name, MAC: make(net.HardwareAddr, 6)}, mode: mode, absent: true, reason: noSuchInterface}
}

const noSuchInterface = "no such interface; it is opened when there is one"

func fewestQueues(devices []*device) (n int, name string) {
	for _, d := range devices {
		if !d.absent && (name == "" || d.port.Queues < n) {
			n, name = d.port.Queues, d.port.Name
		}
	}
	return n, name
}

// openQueues opens the queues of the devices that s opened. NIC queue i is worker i mod n's: every worker has one of
// every port, and where a port has more queues than there are workers, several.
func (r *Router) openQueues(s *setup) error {
	for _, d := range s.opened {
		d.queues = make([]*rings.Queue, 0, d.port.Queues)
		for i := range d.port.Queues {
			q, err := r.openQueue(s, d, i, r.workers[i%len(r.workers)])
			if err != nil && s.refit && i >= len(r.workers) { // every worker has one
				r.explain(d, &d.unserved, fmt.Sprintf("%d of its %d queues are served, the kernel has the rest: %v", i, d.port.Queues, err))
				break
			}
			if err != nil {
				return err
			}
			d.queues = append(d.queues, q)
		}
		r.log.Info("port open", zap.String("port", d.port.Name), zap.Stringer("mode", d.port.Mode()),
			zap.String("why", d.port.Reason), zap.String("xdp", d.port.XDP), zap.String("driver", d.port.Driver),
			zap.Int("queues", d.port.Queues), zap.String("frames", d.queues[0].UMEM().Opener))
	}
	return nil
}

// openQueue opens a queue over the worker's memory of the port's kind, which the first one makes.
func (r *Router) openQueue(s *setup, d *device, index int, w *Worker) (q *rings.Queue, err error) {
	kind := umemCopy
	if d.port.WantsZeroCopy() {
		kind = umemZeroCopy
	}
	if u := w.umems[kind]; u != nil {
		if u.Queues() == w.queuesMax[kind] {
			return nil, fmt.Errorf("open queue %d of %s: worker %d has frames for %d queues; restart weir to have more",
				index, d.port.Name, w.id, w.queuesMax[kind])
		}
		q, err = d.port.OpenQueue(index, u)
	} else {
		q, err = r.openUMEM(s, d, index, w, kind)
	}
	if err != nil && d.port.FallBack(err) {
		r.log.Warn("no zero-copy", zap.String("port", d.port.Name), zap.Error(err))
		return r.openQueue(s, d, index, w)
	}
	return q, err
}

// Kinds of UMEM: the queues of one are all zero-copy, or none is.
const (
	umemCopy = iota
	umemZeroCopy
	umemKinds
)

// openUMEM makes a worker's memory. It does so from a thread on the worker's CPU, so that the memory is that NUMA node's.
func (r *Router) openUMEM(s *setup, d *device, index int, w *Worker, kind int) (q *rings.Queue, err error) {
	size, err := frameSize(s.snap)
	if err != nil {
		return nil, err
	}
	queues := 0
	for _, other := range s.devices {
		queues += (other.port.Queues + len(r.workers) - 1) / len(r.workers)
	}
	queues = 2*queues + 2 // room for ports that later commits bring
	o := rings.UMEMOptions{
		// Every ring full, and every seat of the waiting rooms and holds taken, and in the worker's hands a batch, and what every egress gathers.
		Frames:    queues*2*r.options.RingSize + (roomsMax+holdsMax)*seatsMax + rings.BatchSize + queues*2*rings.BatchSize,
		FrameSize: size, RingSize: r.options.RingSize, HugePages: r.options.HugePages,
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // not unlocked: the pinned thread ends here
		pin(w.cpu)
		var u *rings.UMEM
		if u, q, err = d.port.OpenUMEM(index, o); err == nil {
			w.umems[kind], w.queuesMax[kind] = u, queues
		}
	}()
	<-done
	return q, err
}

// frameSize is the size of the chunks that carry the largest packets of all ports.
func frameSize(snap *policy.Snapshot) (size int, err error) {
	for _, p := range snap.Ports {
		fits, err := rings.FrameSizeFor(int(p.MTU))
		if err != nil {
			return 0, fmt.Errorf("port %s: %w; give it a smaller mtu", p.Name, err)
		}
		size = max(size, fits)
	}
	return size, nil
}

// lanes lays out every worker's queues.
func (r *Router) lanes(s *setup, gone []retired) []lane {
	lanes := make([]lane, len(r.workers))
	for i := range lanes {
		l := &lanes[i]
		l.out = make([]*rings.Queue, len(s.devices))
		for dev, d := range s.devices {
			if d.drops == nil {
				d.drops = make([]dropCounters, len(r.workers))
			}
			for nic, q := range d.queues {
				if nic%len(r.workers) != i {
					continue
				}
				l.in = append(l.in, ingress{queue: q, device: uint16(dev), drops: &d.drops[i]})
				if l.out[dev] == nil {
					l.out[dev] = q
				}
			}
		}
		for _, g := range gone {
			if slices.Contains(r.workers[i].umems[:], g.umem) {
				l.retired = append(l.retired, g)
			}
		}
	}
	return lanes
}

// start lets packets into the queues of devices that do not have them yet. The workers have refilled them.
func (r *Router) start(s *setup) (err error) {
	for _, d := range s.devices {
		if d.started {
			continue
		}
		d.started = true
		for _, q := range d.queues {
			err = errors.Join(err, d.port.Start(q))
		}
	}
	return err
}

// stop lets no more packets in: the kernel gets them.
func (d *device) stop() (err error) {
	if !d.started {
		return nil
	}
	d.started = false
	for _, q := range d.queues {
		err = errors.Join(err, d.port.Stop(q))
	}
	return err
}

// closeDevice closes a device that no worker uses.
func (r *Router) closeDevice(d *device) error {
	if d.absent {
		return nil
	}
	err := d.stop()
	for _, q := range d.queues {
		r.retire(q)
		err = errors.Join(err, d.port.CloseQueue(q))
	}
	d.queues = nil
	err = errors.Join(err, d.port.Close())
	err = errors.Join(err, r.settings.forget(func(t setting) bool {
		return t.Kind == settingOffload && t.Ifindex == d.port.Ifindex
	}))
	r.log.Info("port closed", zap.String("port", d.port.Name))
	return err
}
