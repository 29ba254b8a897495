package traffic

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Live is the sender that has the kernel run a BPF program over frames that it recycles. It uses one core, the one that its
// port's Do runs on.
type Live struct {
	port    Port
	plan    *Plan
	objects sendObjects
}

// frames that the kernel runs the program over before it passes them on.
const liveBatchMax = 64

// repeatMax is how often the kernel repeats a program at most.
const repeatMax = math.MaxUint32

// NewLive makes one for a port.
func NewLive(port Port, plan *Plan) (*Live, error) {
	if err := port.fits(plan); err != nil {
		return nil, fmt.Errorf("load sender: %w", err)
	}
	spec, err := loadSend()
	if err != nil {
		return nil, fmt.Errorf("load sender: %w", err)
	}
	spec.Maps["flows"].MaxEntries = uint32(len(plan.flows))
	spec.Maps["numbers"].MaxEntries = uint32(len(plan.flows))
	spec.Maps["slots"].MaxEntries = uint32(len(plan.slots))
	l := &Live{port: port, plan: plan}
	if err := spec.LoadAndAssign(&l.objects, nil); err != nil {
		return nil, fmt.Errorf("load sender: %w", err)
	}
	if err := errors.Join(fillMap(l.objects.Flows, plan.flows), fillMap(l.objects.Slots, plan.slots)); err != nil {
		return nil, errors.Join(fmt.Errorf("load sender: %w", err), l.Close())
	}
	return l, nil
}

// fillMap fills an array.
func fillMap[T any](m *ebpf.Map, values []T) error {
	const chunk = 1 << 14
	keys := make([]uint32, 0, chunk)
	for at := 0; at < len(values); at += chunk {
		part := values[at:min(at+chunk, len(values))]
		keys = keys[:0]
		for i := range part {
			keys = append(keys, uint32(at+i))
		}
		if _, err := m.BatchUpdate(keys, part, nil); err != nil {
			return err
		}
	}
	return nil
}

// Send is part of Sender.
func (l *Live) Send(ctx context.Context, r *Run) (sent Sent, err error) {
	if err := r.check(); err != nil {
		return sent, err
	}
	set := sendSettings{
		Ifindex: uint32(l.port.Index), Slots: uint32(len(l.plan.slots) - 1), SizeMax: uint32(l.plan.sizeMax), Phases: uint32(len(r.Phases)),
		Burst: burstMax, LateMax: uint64(lateMax) << clockShift, Limit: r.limit(),
	}
	end, fastest := time.Duration(0), 0.0
	for i, p := range r.Phases {
		end += p.Duration
		set.Phase[i].End, set.Phase[i].Interval, set.Phase[i].CatchUp = uint64(r.end(i, end)), p.interval(), r.behind(i)
		if fastest = max(fastest, p.Rate); p.Rate == 0 {
			fastest = unpacedMax
		}
	}
	// A batch is on its way when its last frame is due. So that the first waits 10 µs for that at most:
	batch := uint32(min(max(fastest*10e-6, 1), liveBatchMax))
	before := make([]uint64, binsMax)
	if err := errors.Join(l.objects.Run.Set(&sendRun{Start: uint64(r.Start), BinShift: uint32(r.binShift), Id: uint32(r.id), Flows: uint32(len(l.plan.flows))}),
		l.objects.Settings.Set(&set), l.objects.State.Set(&sendState{}), readArray(l.objects.Bins, before)); err != nil {
		return sent, fmt.Errorf("set sender: %w", err)
	}
	limit := set.Limit
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		set.Limit = 0
		_ = l.objects.Settings.Set(&set) // it is mapped memory
	})
	defer func() {
		if !stop() {
			<-stopped // else it might end the next run
		}
	}()
	frame := make([]byte, l.plan.sizeMax)
	var state sendState
	err = l.port.do(func() error {
		// A signal ends a run early; the library then starts it again, and the state of the program makes it the rest. What is
		// repeated beyond the end costs some 50 ns each.
		for before := uint64(0); ; before = state.Sent {
			if _, err := l.objects.Send.Run(&ebpf.RunOptions{
				Data: frame, Repeat: uint32(min(limit+1, repeatMax)), Flags: unix.BPF_F_TEST_XDP_LIVE_FRAMES, BatchSize: batch,
			}); err != nil {
				return err
			}
			// It is over, unless there were more packets than repetitions.
			if err := l.objects.State.Get(&state); err != nil || state.Sent-before < repeatMax {
				return err
			}
		}
	})
	after := make([]uint64, binsMax)
	err = errors.Join(err, readArray(l.objects.Bins, after), ctx.Err())
	sent = Sent{Packets: state.Sent, Bytes: state.Bytes, Time: time.Duration(state.Last), Skipped: time.Duration(state.Skipped), Late: state.Late}
	for i := range sent.bins {
		sent.bins[i] = after[i] - before[i]
	}
	if err != nil {
		return sent, fmt.Errorf("send: %w", err)
	}
	return sent, nil
}

// readArray reads an array of numbers.
func readArray(m *ebpf.Map, values []uint64) error {
	keys := make([]uint32, len(values))
	var cursor ebpf.MapBatchCursor
	n, err := m.BatchLookup(&cursor, keys, values, nil)
	if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return err
	}
	if n != len(values) {
		return fmt.Errorf("read %d of %d numbers", n, len(values))
	}
	return nil
}

// Close frees what the sender has in the kernel.
func (l *Live) Close() error { return l.objects.Close() }
