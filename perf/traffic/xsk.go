package traffic

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"runtime"
	"sync/atomic"
	"time"
	"unsafe"

	"weir/rings"
)

// XSK is the sender over AF_XDP, on weir's own rings: one thread for each of the port's queues that it uses. Every flow keeps to one
// queue, so that the sender keeps its packets in order.
type XSK struct {
	plan    *Plan
	port    Port
	steer   *rings.Switch
	netdev  *rings.Port
	threads []*xskThread
}

// XSKOptions are what it runs on.
type XSKOptions struct {
	Queues int        // 1 unless said; at most those of the port
	Mode   rings.Mode // of the sockets
}

const (
	xskRing   = 2048
	xskFrames = 2 * xskRing
)

// xskThread sends through one queue.
type xskThread struct {
	plan    *Plan
	queue   *rings.Queue
	umem    *rings.UMEM
	slots   []sendSlot
	numbers []uint32 // of all flows, of which the thread has its own
	stop    *atomic.Bool
	next    int // slot
}

// NewXSK opens one.
func NewXSK(port Port, plan *Plan, o XSKOptions) (x *XSK, err error) {
	if err := port.fits(plan); err != nil {
		return nil, fmt.Errorf("open sender: %w", err)
	}
	if plan.sizeMax > 4096 {
		return nil, fmt.Errorf("open sender: frames of %d bytes: AF_XDP takes at most 4096", plan.sizeMax)
	}
	o.Queues = max(o.Queues, 1)
	x = &XSK{plan: plan, port: port}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("open sender: %w", err), x.Close())
			x = nil
		}
	}()
	if x.steer, err = rings.NewSwitch(); err != nil {
		return x, err
	}
	numbers := make([]uint32, len(plan.flows))
	err = port.do(func() (err error) {
		if x.netdev, err = x.steer.OpenPort(port.Name, o.Mode); err != nil {
			return err
		}
		if o.Queues > x.netdev.Queues {
			return fmt.Errorf("%d queues: port %s has %d", o.Queues, port.Name, x.netdev.Queues)
		}
		for i := range o.Queues {
			t := &xskThread{plan: plan, numbers: numbers}
			size := 2048
			if plan.sizeMax > size {
				size = 4096
			}
			if t.umem, t.queue, err = x.netdev.OpenUMEM(i, rings.UMEMOptions{Frames: xskFrames, FrameSize: size, RingSize: xskRing}); err != nil {
				return err
			}
			x.threads = append(x.threads, t)
		}
		return nil
	})
	if err != nil {
		return x, err
	}
	for _, slot := range plan.slots {
		t := x.threads[int(slot.Flow)%len(x.threads)]
		t.slots = append(t.slots, slot)
	}
	return x, nil
}

// Mode is what the sockets are bound in.
func (x *XSK) Mode() rings.Mode { return x.netdev.Mode() }

// Close gives everything back.
func (x *XSK) Close() (err error) {
	for _, t := range x.threads {
		err = errors.Join(err, x.netdev.CloseQueue(t.queue), t.umem.Close())
	}
	if x.netdev != nil {
		err = errors.Join(err, x.port.do(x.netdev.Close))
	}
	if x.steer != nil {
		err = errors.Join(err, x.steer.Close())
	}
	return err
}

// Send is part of Sender.
func (x *XSK) Send(ctx context.Context, r *Run) (sent Sent, err error) {
	if err := r.check(); err != nil {
		return sent, err
	}
	var stop atomic.Bool
	defer context.AfterFunc(ctx, func() { stop.Store(true) })()
	type part struct {
		sent Sent
		err  error
	}
	parts := make(chan part, len(x.threads))
	left := r.limit()
	for i, t := range x.threads {
		t.stop = &stop
		limit := left
		if i < len(x.threads)-1 {
			limit = r.limit() * uint64(len(t.slots)) / uint64(len(x.plan.slots))
		}
		left -= limit
		go func() {
			var p part
			p.err = x.port.do(func() error {
				runtime.LockOSThread()
				defer runtime.UnlockOSThread()
				p.sent = t.send(r, limit)
				return nil
			})
			parts <- p
		}()
	}
	for range x.threads {
		p := <-parts
		err = errors.Join(err, p.err)
		sent.add(&p.sent)
	}
	if err = errors.Join(err, ctx.Err()); err != nil {
		return sent, fmt.Errorf("send: %w", err)
	}
	return sent, nil
}

func (s *Sent) add(o *Sent) {
	s.Packets += o.Packets
	s.Bytes += o.Bytes
	s.Time = max(s.Time, o.Time)
	s.Skipped = max(s.Skipped, o.Skipped)
	for i := range s.Late {
		s.Late[i] += o.Late[i]
	}
	for i := range s.bins {
		s.bins[i] += o.bins[i]
	}
}

// send is the thread's part of a run.
func (t *xskThread) send(r *Run, limit uint64) (sent Sent) {
	if len(t.slots) == 0 {
		return sent
	}
	// The thread's share of the rate is that of its slots.
	share := float64(len(t.plan.slots)) / float64(len(t.slots))
	var p pacer
	end := time.Duration(0)
	for i, one := range r.Phases {
		end += one.Duration
		p.phases = append(p.phases, pacerPhase{
			end: uint64(r.end(i, end)), interval: uint64(float64(one.interval()) * share), catchUp: uint64(float64(r.behind(i)) * share),
		})
	}
	var frames [rings.BatchSize]rings.Frame
	since := func() uint64 { return uint64(max(0, clock.now()-r.Start)) }
	for clock.now() < r.Start && !t.stop.Load() {
	}
	for over := false; !over && sent.Packets < limit && !t.stop.Load(); {
		t.queue.Complete()
		n := 0
		for n < len(frames) && sent.Packets < limit {
			now := since()
			var wait bool
			if wait, over = p.next(now << clockShift); over {
				break
			}
			if wait {
				if n > 0 || t.stop.Load() {
					break // those that are made are on their way first
				}
				continue
			}
			addr, ok := t.umem.Alloc()
			if !ok {
				break // the kernel has not sent them yet
			}
			if late, paced := p.took(now << clockShift); paced {
				sent.Late[bits.Len64(late>>clockShift|1)-1]++
			}
			slot := t.slots[t.next]
			if t.next++; t.next == len(t.slots) {
				t.next = 0
			}
			frames[n] = rings.Frame{Addr: addr, Len: slot.Size}
			t.plan.write(t.umem.Bytes(frames[n]), slot, r.id, t.numbers[slot.Flow], r.Start+int64(now))
			t.numbers[slot.Flow]++
			n++
			sent.Packets++
			sent.Bytes += uint64(slot.Size)
			sent.Time = time.Duration(now)
			sent.bins[min(now>>stampShift<<stampShift>>r.binShift, binsMax-1)]++
		}
		for rest := frames[:n]; len(rest) > 0; {
			rest = rest[t.queue.Transmit(rest):]
			t.queue.Kick()
			if len(rest) > 0 {
				t.queue.Complete()
			}
		}
		if n == 0 {
			t.queue.Kick() // what an earlier kick left in the ring
		}
	}
	sent.Skipped = p.skipped
	for deadline := time.Now().Add(time.Second); t.umem.Available() < xskFrames && time.Now().Before(deadline); {
		t.queue.Kick()
		if t.queue.Complete() == 0 {
			runtime.Gosched()
		}
	}
	return sent
}

const stampShift = 4 // STAMP_SHIFT of traffic.h

// write makes a frame: the flow's header, lengths, checksums and stamp, as send.c does.
func (p *Plan) write(frame []byte, slot sendSlot, run uint8, number uint32, at int64) {
	f := &p.flows[slot.Flow]
	header := unsafe.Slice((*byte)(unsafe.Pointer(&f.Header[0])), len(f.Header)*8)
	n := copy(frame, header[:f.Length])
	clear(frame[n:])
	l4 := uint16(int(slot.Size) - int(f.L4))
	if f.Ipv6 != 0 {
		binary.BigEndian.PutUint16(frame[f.L3+4:], l4)
	} else {
		length := uint16(int(slot.Size) - int(f.L3))
		binary.BigEndian.PutUint16(frame[f.L3+2:], length)
		binary.LittleEndian.PutUint16(frame[f.L3+10:], ^fold(uint32(f.IpSum)+uint32(bits.ReverseBytes16(length))))
	}
	if f.Proto == udp {
		binary.BigEndian.PutUint16(frame[f.L4+4:], l4)
	}
	stamp := frame[f.Length : f.Length+stampLen]
	binary.BigEndian.PutUint32(stamp, uint32(run)<<24|slot.Flow)
	binary.BigEndian.PutUint32(stamp[4:], number)
	binary.BigEndian.PutUint32(stamp[8:], uint32(at>>stampShift))
	sum := ^fold(f.L4Sum + uint32(f.Lengths)*uint32(bits.ReverseBytes16(l4)) + wordSum(stamp))
	where := f.L4 + 2
	switch f.Proto {
	case tcp:
		where = f.L4 + 16
	case udp:
		where = f.L4 + 6
		if sum == 0 {
			sum = 0xffff // 0 is no checksum
		}
	}
	binary.LittleEndian.PutUint16(frame[where:], sum)
}
