package appliance

import (
	"net"
	"slices"
	"time"

	"github.com/vishvananda/netlink"

	"weir/fib"
	"weir/policy/packet"
	"weir/rings"
)

// State is what a running router shows of itself. All counters are since its start, summed over the workers.
type State struct {
	Generation uint64          `json:"generation"`
	Epoch      uint64          `json:"publication"` // counts what workers were given to run: commits, changes of neighbours, questions
	Uptime     time.Duration   `json:"uptime_ns"`
	Ports      []PortState     `json:"ports"`
	Workers    []WorkerState   `json:"workers"`
	Neighbors  []NeighborState `json:"neighbors"`
	Totals     Totals          `json:"totals"`
	Trouble    []string        `json:"trouble,omitempty"` // what went wrong and could not be undone: DEGRADED
	Notices    []string        `json:"notices,omitempty"` // of the configuration: what is to be known, and is no trouble

	KernelRoutes  *KernelRoutesState  `json:"kernel_routes,omitempty"`
	RunTimeRoutes *RunTimeRoutesState `json:"run_time_routes,omitempty"`
}

// Totals account for every packet: at rest
//
//	Received + Generated + Fragments = Transmitted + Punted + Σ Drops + Waiting + Fragmented
type Totals struct {
	Traffic
	Generated   uint64            `json:"generated"`
	Fragments   uint64            `json:"fragments"` // made of the Fragmented
	Punted      uint64            `json:"punted"`
	Waiting     int64             `json:"waiting"` // for a neighbour, or for the first of their fragments
	Fragmented  uint64            `json:"fragmented"`
	Dropped     uint64            `json:"dropped"`
	Drops       map[string]uint64 `json:"drops"`            // by reason, those that are not 0
	ICMPLimited uint64            `json:"icmp_limited"`     // errors not sent because of the limit of their port
	ICMPSpared  uint64            `json:"icmp_spared"`      // errors not sent because of the limit of their sender
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
	MAC     string            `json:"mac"`
	MTU     int               `json:"mtu"` // of the netdev
	Queues  []QueueState      `json:"queues,omitempty"`
	Steered map[string]uint64 `json:"steered"` // by the XDP program: what went to the rings and what to the kernel, by class
	Drops   map[string]uint64 `json:"drops"`   // of what came in by it, by reason, those that are not 0
	Traffic                   // of its queues
}

// Traffic is what a port or queue has passed between the kernel and the worker. Bytes are those of the Ethernet frames, without FCS.
type Traffic struct {
	Received         uint64 `json:"received"`
	ReceivedBytes    uint64 `json:"received_bytes"`
	Transmitted      uint64 `json:"transmitted"`
	TransmittedBytes uint64 `json:"transmitted_bytes"`
}

func (t *Traffic) add(o Traffic) {
	t.Received += o.Received
	t.ReceivedBytes += o.ReceivedBytes
	t.Transmitted += o.Transmitted
	t.TransmittedBytes += o.TransmittedBytes
}

// QueueState is one NIC queue.
type QueueState struct {
	Queue  int `json:"queue"`
	Worker int `json:"worker"`
	Traffic
	Completed uint64            `json:"completed"`
	Kicks     uint64            `json:"kicks"`
	Errno     map[string]uint64 `json:"errno,omitempty"` // of kicks
	RingFull  uint64            `json:"rx_ring_full"`    // packets that the kernel dropped because the worker was late
	NoFill    uint64            `json:"rx_no_fill"`      // packets that the kernel dropped for want of a chunk
}

// WorkerState is one worker.
type WorkerState struct {
	Worker  int           `json:"worker"`
	CPU     int           `json:"cpu"`
	Epoch   uint64        `json:"epoch"`   // publication that it runs
	Packets uint64        `json:"packets"` // received
	Batches uint64        `json:"batches"` // that they came in
	Sleeps  uint64        `json:"sleeps"`
	Asleep  time.Duration `json:"asleep_ns"` // in those, of the Uptime; the rest it was busy, or spun
	Uptime  time.Duration `json:"uptime_ns"`
}

// NeighborState is one neighbour.
type NeighborState struct {
	Address string `json:"address"`
	Port    string `json:"port"`
	MAC     string `json:"mac,omitempty"`
	State   string `json:"state"` // static, or what weir makes of the kernel's: incomplete, resolved, failed

	Kernel string     `json:"kernel,omitempty"`    // state there, as ip-neighbour(8) has it
	Since  *time.Time `json:"since,omitempty"`     // when the kernel last told of a change
	Used   *time.Time `json:"last_used,omitempty"` // when a packet was last sent to it, to a second
}

// retire keeps the counters of a queue that is about to be closed.
func (r *Router) retire(q *rings.Queue) {
	r.past.add(traffic(q.Stats()))
	r.pastLost += kernelLost(q)
}

func traffic(s rings.QueueStats) Traffic {
	return Traffic{s.Received, s.ReceivedBytes, s.Transmitted, s.TransmittedBytes}
}

// State looks at the running router.
func (r *Router) State() State {
	r.mu.Lock()
	defer r.mu.Unlock()
	st := State{Epoch: r.epoch, Uptime: r.uptime(), Trouble: slices.Clone(r.trouble)}
	if r.kernel != nil { // a rig of tests has none
		var trouble []string
		st.KernelRoutes, trouble = r.kernel.look()
		st.Trouble = append(st.Trouble, trouble...)
	}
	t := &st.Totals
	t.Traffic, t.Drops = r.past, make(map[string]uint64)
	if s := r.running; s != nil {
		st.Generation, st.RunTimeRoutes = s.snap.Generation, s.runTimeRoutes()
		for _, d := range s.devices {
			p := r.portState(d)
			t.add(p.Traffic)
			st.Ports = append(st.Ports, p)
			for _, reason := range []string{d.reason, d.unserved} {
				if reason != "" {
					st.Trouble = append(st.Trouble, "port "+p.Name+": "+reason)
				}
			}
		}
		st.Neighbors = r.neighborStates(s)
	}
	for _, w := range r.workers {
		c := &w.count
		st.Workers = append(st.Workers, WorkerState{Worker: w.id, CPU: w.cpu, Epoch: w.seen.Load(), Packets: c.packets.Load(),
			Batches: c.batches.Load(), Sleeps: c.sleeps.Load(), Asleep: time.Duration(c.asleep.Load()), Uptime: st.Uptime})
		t.Generated += c.generated.Load()
		t.Punted += c.punted.Load()
		t.Fragments += c.fragments.Load()
		t.Fragmented += c.cut.Load()
		t.Waiting += c.waiting.Load()
		t.ICMPLimited += c.limited.Load()
		t.ICMPSpared += c.spared.Load()
		t.ICMPUnsent += c.unsent.Load()
		t.Dropped += c.drops.addTo(t.Drops)
	}
	return st
}

// addTo adds those that are not 0 to totals by reason, and returns their sum.
func (c *dropCounters) addTo(totals map[string]uint64) (sum uint64) {
	for reason := range c {
		if n := c[reason].Load(); n > 0 {
			totals[packet.Reason(reason).String()] += n
			sum += n
		}
	}
	return sum
}

// uptime is how long the workers run.
func (r *Router) uptime() time.Duration {
	if r.started == 0 {
		return 0
	}
	return time.Duration(monotonic() - r.started)
}

func (r *Router) portState(d *device) PortState {
	p := PortState{Name: d.port.Name, Mode: d.port.Mode().String(), XDP: d.port.XDP, Driver: d.port.Driver,
		MAC: d.port.MAC.String(), MTU: d.port.MTU, Steered: make(map[string]uint64), Drops: make(map[string]uint64)}
	p.State, p.Reason = r.linkState(d)
	for i := range d.drops {
		d.drops[i].addTo(p.Drops)
	}
	if d.absent {
		p.Mode = d.mode
		return p
	}
	if link, err := netlink.LinkByIndex(d.port.Ifindex); err == nil {
		p.MTU = link.Attrs().MTU
	}
	for i, q := range d.queues {
		s := q.Stats()
		state := QueueState{Queue: q.Index, Worker: i % len(r.workers), Traffic: traffic(s), Completed: s.Completed, Kicks: s.Kicks, Errno: s.Errno}
		if k, err := q.KernelStats(); err == nil { // it fails where the netdev is gone; then there are none
			state.RingFull, state.NoFill = k.Rx_ring_full, k.Rx_fill_ring_empty_descs
		}
		p.Queues = append(p.Queues, state)
		p.add(state.Traffic)
	}
	if c, err := d.port.Steered(); err == nil {
		p.Steered = c
	}
	return p
}

// linkState is whether packets can pass a device, and why not, or not as they should.
func (r *Router) linkState(d *device) (state, reason string) {
	l := r.links[d.port.Ifindex]
	switch {
	case d.absent:
		return "absent", d.reason
	case !l.set:
		return "down", "set down (ip link set " + d.port.Name + " up)"
	case !l.up:
		return "down", "no carrier"
	case d.reason != "":
		return "up", d.reason
	}
	return "up", d.unserved
}

// stateWords and stateStatic are what NeighborState.State may be.
var stateWords = [...]string{fib.Incomplete: "incomplete", fib.Resolved: "resolved", fib.Failed: "failed"}

const stateStatic = "static"

// kernelStates are the kernel's words for the states of a neighbour.
var kernelStates = map[int]string{
	netlink.NUD_INCOMPLETE: "incomplete", netlink.NUD_REACHABLE: "reachable", netlink.NUD_STALE: "stale", netlink.NUD_DELAY: "delay",
	netlink.NUD_PROBE: "probe", netlink.NUD_FAILED: "failed", netlink.NUD_NOARP: "noarp", netlink.NUD_PERMANENT: "permanent",
}

// neighborStates lists the neighbours that workers know. r.mu must be held.
func (r *Router) neighborStates(s *setup) (list []NeighborState) {
	for i := range uint32(s.snap.Adjacencies.Len()) {
		a := s.snap.Adjacencies.At(i)
		if !a.Neighbor.Addr.IsValid() {
			continue
		}
		n := NeighborState{Address: a.Neighbor.Addr.String(), Port: s.snap.PortName(a.Neighbor.Port), State: stateWords[a.State]}
		if a.Static {
			n.State = stateStatic
		}
		if a.State == fib.Resolved {
			n.MAC = hardwareAddr(a.DstMAC)
		}
		if e, ok := r.neighbors.entries[kernelNeighbor{a.Neighbor.Addr, s.ifindex[a.Neighbor.Port]}]; ok {
			n.Kernel, n.Since = kernelStates[e.state], wallTime(e.since)
		}
		last := uint32(0)
		for _, w := range r.workers {
			last = max(last, w.used[i%adjacenciesMax].Load())
		}
		if last > 0 {
			n.Used = wallTime(epochStart.Add(time.Duration(last) * time.Second))
		}
		list = append(list, n)
	}
	return list
}

// wallTime is a time without its monotonic part, as it is shown.
func wallTime(t time.Time) *time.Time {
	t = t.Round(0).UTC()
	return &t
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
