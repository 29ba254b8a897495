package appliance

import (
	"fmt"
	"sync/atomic"

	"weir/fib"
	"weir/policy"
	"weir/policy/packet"
	"weir/rings"
)

// Stages runs a worker's packet loop without devices, as far as one of its stages, to measure what each takes. Frames are
// copied into the worker's chunks, in the place of the kernel, and stay where Transmit would take them. It is for one goroutine.
type Stages struct {
	w      *Worker
	stages *policy.Stages
	umem   *rings.UMEM
	chunks []uint64 // that frames come in on, in turns
	next   int
}

// Stages of the loop around those of the decision.
const (
	StageDeliver = iota // a frame lies in its chunk: not the router's work
	stageParse
	stageIngress
	stageDecide  // the first of policy's
	stageRewrite = stageDecide + int(policy.StageEnd)
	stageSend    = stageRewrite + 1
	stagesEnd    = stageSend + 1
)

// stagesChunks are as many as the rings of a port hold, so that headers are in the cache as they are there.
const stagesChunks = 4096

// NewStages makes a worker for a snapshot that has been promoted. Each of its devices has one queue.
func NewStages(s *policy.Snapshot) (*Stages, error) {
	umem, queue, err := rings.Detached(rings.UMEMOptions{Frames: stagesChunks, FrameSize: 2048, RingSize: stagesChunks / 2})
	if err != nil {
		return nil, fmt.Errorf("make a worker without devices: %w", err)
	}
	changed := make([]fib.Adjacency, s.Adjacencies.Len())
	for i := range changed {
		changed[i] = *s.Adjacencies.At(uint32(i))
		s.Ports[changed[i].Neighbor.Port].Wire(&changed[i])
	}
	s = s.WithAdjacencies(s.Adjacencies.With(changed...))
	m := &Stages{umem: umem, stages: policy.NewStages(s), w: &Worker{
		gen: &generation{snap: s}, tally: s.NewTally(), used: make([]atomic.Uint32, adjacenciesMax),
		lane: &lane{in: []ingress{{queue: queue, drops: new(dropCounters)}}},
	}}
	for i := range s.Ports {
		for len(m.w.egress) <= int(s.Ports[i].Device) {
			m.w.egress = append(m.w.egress, egress{queue: queue, device: uint16(len(m.w.egress))})
		}
	}
	for range stagesChunks {
		addr, _ := umem.Alloc()
		m.chunks = append(m.chunks, addr)
	}
	return m, nil
}

// Names of the stages, StageDeliver first.
func (m *Stages) Names() []string {
	names := []string{"deliver", "parse", "ingress"}
	for t := range policy.StageEnd {
		names = append(names, t.String())
	}
	return append(names, "rewrite", "send")
}

// Run takes frames, of a length that fits a chunk, from device 0 as far as a stage, a batch at a time, and returns how many
// have come to where they would be transmitted: none but at the last stage. It allocates nothing.
func (m *Stages) Run(last int, frames [][]byte) (sent int) {
	for len(frames) > 0 {
		n := min(len(frames), rings.BatchSize)
		m.deliver(frames[:n])
		if last == stageSend {
			m.w.route(&m.w.lane.in[0], n)
		} else {
			m.run(last)
		}
		for i := range m.w.egress {
			sent += m.w.egress[i].n
			m.w.egress[i].n = 0
		}
		frames = frames[n:]
	}
	return sent
}

// Check fails unless the router forwards every one of the frames at once: what else becomes of a packet takes another time.
func (m *Stages) Check(frames [][]byte) error {
	for len(frames) > 0 {
		n := min(len(frames), rings.BatchSize)
		m.deliver(frames[:n])
		m.run(stageRewrite)
		for reason := range packet.End {
			if m.w.count.drops[reason].Load() > 0 {
				return fmt.Errorf("a packet is dropped: %s", reason)
			}
		}
		for i := range n {
			v := &m.w.verdicts[i]
			if v.Action != policy.Forward || v.Adjacency == policy.Unresolved || m.w.gen.snap.Adjacencies.At(v.Adjacency).State != fib.Resolved {
				return fmt.Errorf("a packet is not forwarded: %+v", *v)
			}
		}
		frames = frames[n:]
	}
	return nil
}

// Close gives the memory back.
func (m *Stages) Close() error { return m.umem.Close() }

func (m *Stages) deliver(frames [][]byte) {
	const headroom = 256 // as the kernel has it
	for i, data := range frames {
		f := rings.Frame{Addr: m.chunks[m.next] + headroom, Len: uint32(len(data))}
		m.next = (m.next + 1) % len(m.chunks)
		copy(m.umem.Bytes(f), data)
		m.w.batch.Frames[i] = f
	}
	m.w.batch.N = len(frames)
}

// run goes as far as a stage that is not the last: what Worker.route does, in parts.
func (m *Stages) run(last int) {
	w := m.w
	switch last {
	case StageDeliver:
		return
	case stageParse:
		for i, f := range w.batch.Frames[:w.batch.N] {
			packet.Parse(m.umem.Bytes(f), &w.keys[i])
		}
		return
	}
	n := w.parse(&w.lane.in[0])
	if last == stageIngress {
		return
	}
	m.stages.DecideUpTo(policy.Stage(min(last, stageRewrite-1)-stageDecide), w.keys[:n], w.verdicts[:n], w.tally)
	if last < stageRewrite {
		return
	}
	for i := range w.keys[:n] {
		f, k, v := w.frames[i], &w.keys[i], &w.verdicts[i]
		if v.Action != policy.Forward {
			continue
		}
		if v.SetDSCP {
			packet.SetDSCP(m.umem.Bytes(f), k, v.TOS>>2)
		}
		packet.DecrementTTL(m.umem.Bytes(f), k)
	}
}
