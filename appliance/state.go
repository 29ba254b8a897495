package appliance

import (
	"net"
	"slices"

	"golang.org/x/sys/unix"

	"weir/fib"
	"weir/policy"
	"weir/policy/packet"
	"weir/rings"
)

// State is what a running router shows of itself. All counters are since its start, summed over the workers.
type State struct {
	Generation uint64          `json:"generation"`
	Ports      []PortState     `json:"ports"`
	Workers    []WorkerState   `json:"workers"`
	Neighbors  []NeighborState `json:"neighbors"`
	Totals     Totals          `json:"totals"`
	Trouble    []string        `json:"trouble,omitempty"` // what went wrong and could not be undone: DEGRADED
}

// Totals account for every packet: at rest Received + Generated = Transmitted + Punted + Σ Drops + Waiting.
type Totals struct {
	Received    uint64            `json:"received"`
	Generated   uint64            `json:"generated"`
	Transmitted uint64            `json:"transmitted"`
	Punted      uint64            `json:"punted"`
	Waiting     int64             `json:"waiting"`
	Dropped     uint64            `json:"dropped"`
	Drops       map[string]uint64 `json:"drops"`            // by reason, those that are not 0
	ICMPLimited uint64            `json:"icmp_limited"`     // errors not sent because of the rate limit
	ICMPUnsent  uint64            `json:"icmp_not_allowed"` // errors not sent because none may be
}

// PortState is one netdev.
type PortState struct {
	Name    string            `json:"name"`
	State   string            `json:"state"`            // up, down, or absent: no netdev to open
	Reason  string            `json:"reason,omitempty"` // why it is not up, or not as configured
	Mode    string            `json:"mode"`
	XDP     string            `json:"xdp"`
	Driver  string            `json:"driver"`
	Queues  []QueueState      `json:"queues"`
	Steered map[string]uint64 `json:"steered"` // by the XDP program: what went to the rings and what to the kernel, by class
}

// QueueState is one NIC queue.
type QueueState struct {
	Queue       int               `json:"queue"`
	Worker      int               `json:"worker"`
	Received    uint64            `json:"received"`
	Transmitted uint64            `json:"transmitted"`
	Completed   uint64            `json:"completed"`
	Kicks       uint64            `json:"kicks"`
	Errno       map[string]uint64 `json:"errno,omitempty"` // of kicks
	RingFull    uint64            `json:"rx_ring_full"`    // packets that the kernel dropped because the worker was late
	NoFill      uint64            `json:"rx_no_fill"`      // packets that the kernel dropped for want of a chunk
}

// WorkerState is one worker.
type WorkerState struct {
	Worker int    `json:"worker"`
	CPU    int    `json:"cpu"`
	Epoch  uint64 `json:"epoch"` // publication that it runs
	Sleeps uint64 `json:"sleeps"`
}

// NeighborState is one neighbour.
type NeighborState struct {
	Address string `json:"address"`
	Port    string `json:"port"`
	MAC     string `json:"mac,omitempty"`
	State   string `json:"state"`
}

// past is what closed queues counted.
type past struct{ received, transmitted uint64 }

// retire keeps the counters of a queue that is about to be closed.
func (r *Router) retire(q *rings.Queue) {
	s := q.Stats()
	r.past.received += s.Received
	r.past.transmitted += s.Transmitted
}

// State looks at the running router.
func (r *Router) State() State {
	r.mu.Lock()
	defer r.mu.Unlock()
	st := State{Trouble: slices.Clone(r.trouble)}
	t := &st.Totals
	t.Received, t.Transmitted, t.Drops = r.past.received, r.past.transmitted, make(map[string]uint64)
	if s := r.running; s != nil {
		st.Generation = s.snap.Generation
		for _, d := range s.devices {
			p := r.portState(d)
			for _, q := range p.Queues {
				t.Received += q.Received
				t.Transmitted += q.Transmitted
			}
			st.Ports = append(st.Ports, p)
			for _, reason := range []string{d.reason, d.unserved} {
				if reason != "" {
					st.Trouble = append(st.Trouble, "port "+p.Name+": "+reason)
				}
			}
		}
		st.Neighbors = neighborStates(s.snap)
	}
	for _, w := range r.workers {
		c := &w.count
		st.Workers = append(st.Workers, WorkerState{Worker: w.id, CPU: w.cpu, Epoch: w.seen.Load(), Sleeps: c.sleeps.Load()})
		t.Generated += c.generated.Load()
		t.Punted += c.punted.Load()
		t.Waiting += c.waiting.Load()
		t.ICMPLimited += c.limited.Load()
		t.ICMPUnsent += c.unsent.Load()
		for reason := range c.drops {
			if n := c.drops[reason].Load(); n > 0 {
				t.Drops[packet.Reason(reason).String()] += n
				t.Dropped += n
			}
		}
	}
	return st
}

func (r *Router) portState(d *device) PortState {
	p := PortState{Name: d.port.Name, Mode: d.port.Mode().String(), XDP: d.port.XDP, Driver: d.port.Driver, Steered: make(map[string]uint64)}
	p.State, p.Reason = r.linkState(d)
	if d.absent {
		p.Mode = d.mode
		return p
	}
	for i, q := range d.queues {
		s := q.Stats()
		state := QueueState{Queue: q.Index, Worker: i % len(r.workers), Received: s.Received, Transmitted: s.Transmitted,
			Completed: s.Completed, Kicks: s.Kicks, Errno: s.Errno}
		if k, err := q.KernelStats(); err == nil { // it fails where the netdev is gone; then there are none
			state.RingFull, state.NoFill = k.Rx_ring_full, k.Rx_fill_ring_empty_descs
		}
		p.Queues = append(p.Queues, state)
	}
	if c, err := d.port.Steered(); err == nil {
		p.Steered = c
	}
	return p
}

// linkState is whether packets can pass a device, and why not, or not as they should.
func (r *Router) linkState(d *device) (state, reason string) {
	flags, known := r.flags[d.port.Ifindex]
	switch {
	case d.absent:
		return "absent", d.reason
	case !known:
		return "down", "the kernel has not told of it yet"
	case flags&unix.IFF_UP == 0:
		return "down", "set down (ip link set " + d.port.Name + " up)"
	case flags&unix.IFF_RUNNING == 0:
		return "down", "no carrier"
	case d.reason != "":
		return "up", d.reason
	}
	return "up", d.unserved
}

func neighborStates(snap *policy.Snapshot) (list []NeighborState) {
	words := [...]string{fib.Incomplete: "incomplete", fib.Resolved: "resolved", fib.Failed: "failed"}
	for i := range uint32(snap.Adjacencies.Len()) {
		a := snap.Adjacencies.At(i)
		if !a.Neighbor.Addr.IsValid() {
			continue
		}
		n := NeighborState{Address: a.Neighbor.Addr.String(), Port: snap.PortName(a.Neighbor.Port), State: words[a.State]}
		if a.Static {
			n.State = "static"
		}
		if a.State == fib.Resolved {
			n.MAC = hardwareAddr(a.DstMAC)
		}
		list = append(list, n)
	}
	return list
}

func hardwareAddr(mac [6]byte) string { return net.HardwareAddr(mac[:]).String() }

// Stuck lists the workers that have not moved since the call before. A worker that sleeps moves too, every sleepMax.
func (r *Router) Stuck() (stuck []int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, w := range r.workers {
		if beats := w.beats.Load(); beats != w.lastBeats {
			w.lastBeats = beats
			continue
		}
		stuck = append(stuck, w.id)
	}
	return stuck
}
