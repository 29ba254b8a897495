package traffic

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"weir/perf/trial"
)

// Receiver takes the packets of a plan that arrive on a port. It is for one run at a time.
type Receiver struct {
	plan    *Plan
	objects receiveObjects
	link    link.Link
	id      uint8
}

// NewReceiver attaches one to a port, in the driver where that can, else in the kernel's generic path.
func NewReceiver(port Port, plan *Plan) (*Receiver, error) {
	if err := port.fits(plan); err != nil {
		return nil, fmt.Errorf("load receiver: %w", err)
	}
	spec, err := loadReceive()
	if err != nil {
		return nil, fmt.Errorf("load receiver: %w", err)
	}
	spec.Maps["flows"].MaxEntries = uint32(len(plan.flows))
	spec.Maps["seen"].MaxEntries = uint32(len(plan.flows))
	spec.Maps["streams"].MaxEntries = uint32(len(plan.Streams))
	r := &Receiver{plan: plan}
	if err := spec.LoadAndAssign(&r.objects, nil); err != nil {
		return nil, fmt.Errorf("load receiver: %w", err)
	}
	err = fillMap(r.objects.Flows, plan.flows)
	if err == nil {
		err = port.do(func() (err error) {
			for _, flags := range []link.XDPAttachFlags{link.XDPDriverMode, link.XDPGenericMode} {
				if r.link, err = link.AttachXDP(link.XDPOptions{Program: r.objects.Receive, Interface: port.Index, Flags: flags}); err == nil {
					return nil
				}
			}
			return err
		})
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("attach receiver to %s: %w", port.Name, err), r.objects.Close())
	}
	return r, nil
}

// Close detaches the receiver.
func (r *Receiver) Close() error { return errors.Join(r.link.Close(), r.objects.Close()) }

// counted is what the receiver's maps hold at a moment.
type counted struct {
	streams   []receiveCounts
	latencies []uint64
	bins      []uint64
	strangers uint64
}

func (r *Receiver) read() (c counted, err error) {
	for i := range r.plan.Streams {
		var perCPU []receiveCounts
		if err := r.objects.Streams.Lookup(uint32(i), &perCPU); err != nil {
			return c, fmt.Errorf("read receiver: %w", err)
		}
		var sum receiveCounts
		for _, n := range perCPU {
			sum.Frames += n.Frames
			sum.Bytes += n.Bytes
			sum.Again += n.Again
			sum.Reordered += n.Reordered
			sum.Corrupt += n.Corrupt
			sum.Old += n.Old
		}
		c.streams = append(c.streams, sum)
	}
	for _, part := range []struct {
		m  *ebpf.Map
		to *[]uint64
	}{{r.objects.Latencies, &c.latencies}, {r.objects.Bins, &c.bins}} {
		if *part.to, err = readPerCPU(part.m); err != nil {
			return c, fmt.Errorf("read receiver: %w", err)
		}
	}
	strangers, err := readPerCPU(r.objects.Strangers)
	if err != nil {
		return c, fmt.Errorf("read receiver: %w", err)
	}
	c.strangers = strangers[0]
	return c, nil
}

// readPerCPU reads an array of numbers, summed over CPUs.
func readPerCPU(m *ebpf.Map) ([]uint64, error) {
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return nil, err
	}
	n := int(m.MaxEntries())
	keys, values := make([]uint32, n), make([]uint64, n*cpus)
	var cursor ebpf.MapBatchCursor
	got, err := m.BatchLookup(&cursor, keys, values, nil)
	if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return nil, err
	}
	if got != n {
		return nil, fmt.Errorf("read %d of %d numbers", got, n)
	}
	sums := make([]uint64, n)
	for i := range n {
		for _, v := range values[i*cpus : (i+1)*cpus] {
			sums[keys[i]] += v
		}
	}
	return sums, nil
}

// received sums frames of all streams.
func (r *Receiver) received() (sum uint64, err error) {
	for i := range r.plan.Streams {
		var perCPU []receiveCounts
		if err := r.objects.Streams.Lookup(uint32(i), &perCPU); err != nil {
			return 0, fmt.Errorf("read receiver: %w", err)
		}
		for _, n := range perCPU {
			sum += n.Frames - n.Again
		}
	}
	return sum, nil
}

// Measure sends a run and takes what comes back, until drain after the last packet, or until all have come if whole is not wanted.
// When ctx ends, what was measured until then is returned with its error.
func (r *Receiver) Measure(ctx context.Context, s Sender, run Run, drain time.Duration, whole bool) (result Result, err error) {
	r.id++
	run.id, run.binShift = r.id, run.binWidth()
	if run.Start == 0 {
		run.Start = Ahead()
	}
	if err := run.check(); err != nil {
		return result, err
	}
	if err := errors.Join(
		r.objects.Run.Set(&receiveRun{Start: uint64(run.Start), BinShift: uint32(run.binShift), Id: uint32(run.id), Flows: uint32(len(r.plan.flows))}),
		r.objects.Silence.Set(&receiveSilence{}),
	); err != nil {
		return result, fmt.Errorf("set receiver: %w", err)
	}
	before, err := r.read()
	if err != nil {
		return result, err
	}
	base, err := r.received()
	if err != nil {
		return result, err
	}
	result.Sent, err = s.Send(ctx, &run)
	if err2 := r.drain(ctx, base+result.Packets, drain, whole); err == nil {
		err = err2
	}
	after, err2 := r.read()
	if err = errors.Join(err, err2); err2 != nil {
		return result, err
	}
	result.BinWidth = time.Duration(1) << run.binShift
	return result, errors.Join(err, r.fill(&result, &before, &after))
}

// drain waits for what is on its way.
func (r *Receiver) drain(ctx context.Context, want uint64, drain time.Duration, whole bool) error {
	tick := time.NewTicker(min(2*time.Millisecond, drain+1))
	defer tick.Stop()
	for end := time.Now().Add(drain); time.Now().Before(end); {
		if n, err := r.received(); err != nil || n >= want && !whole {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// fill computes a result from what was counted before and after.
func (r *Receiver) fill(result *Result, before, after *counted) error {
	for i := range after.streams {
		a, b := &after.streams[i], &before.streams[i]
		s := StreamResult{
			Name: r.plan.Streams[i].Name, Received: a.Frames - b.Frames - (a.Again - b.Again), Again: a.Again - b.Again, Reordered: a.Reordered - b.Reordered,
			Bytes: a.Bytes - b.Bytes,
		}
		result.Streams = append(result.Streams, s)
		result.Received += s.Received
		result.Again += s.Again
		result.Reordered += s.Reordered
		result.Corrupt += a.Corrupt - b.Corrupt
		result.Old += a.Old - b.Old
	}
	result.Strangers = after.strangers - before.strangers
	result.Latency = trial.NewLatency()
	for i := range after.latencies {
		if n := after.latencies[i] - before.latencies[i]; n > 0 {
			result.Latency.Record(bucketTime(i), int64(n))
		}
	}
	for i := range result.received {
		result.received[i] = after.bins[i] - before.bins[i]
	}
	result.LastLost = result.lastLost()
	var silence receiveSilence
	if err := r.objects.Silence.Get(&silence); err != nil {
		return fmt.Errorf("read receiver: %w", err)
	}
	result.Silence = trial.Silence{From: time.Duration(silence.From), To: time.Duration(silence.To)}
	return nil
}

const latencyMinor = 7 // LATENCY_MINOR of receive.c

// bucketTime is the middle of the times that bucket i counts.
func bucketTime(i int) time.Duration {
	if i < 1<<latencyMinor {
		return time.Duration(i)
	}
	n := i>>latencyMinor - 1
	low := time.Duration(i-n<<latencyMinor) << n
	return low + (time.Duration(1)<<n)/2
}
