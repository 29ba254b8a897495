package rings

import (
	"errors"
	"fmt"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Queue is one NIC queue of one port: an AF_XDP socket with its rings. One goroutine at a time, the worker that owns its
// UMEM, may use it; only Stats and KernelStats may be called by anyone at any time.
type Queue struct {
	fill producer[uint64]
	tx   producer[unix.XDPDesc]
	rx   consumer[unix.XDPDesc]
	comp consumer[uint64]

	umem    *UMEM
	fd      int // -1 when closed
	ifindex int
	ID      uint8  // identifier within the UMEM, 1..254
	Index   int    // queue number of the netdev
	Name    string // name of the netdev

	pending int // transmitted, not completed
	maps    [4]mapping
	stats   queueCounters
}

// queueCounters are written by the worker alone, once a batch, and read by anyone.
type queueCounters struct {
	received, transmitted, completed, kicks atomic.Uint64
	receivedBytes, transmittedBytes         atomic.Uint64
	errno                                   [len(answers)]atomic.Uint64
}

// answers are the errnos of sendto that are the kernel's answers, not bugs: counted, and the worker goes on. The last
// stands for all others.
var answers = [...]unix.Errno{unix.EAGAIN, unix.EBUSY, unix.ENOBUFS, unix.ENETDOWN, unix.ENXIO, unix.EINTR, 0}

// QueueStats counts what a queue did since it was opened.
type QueueStats struct {
	Received, Transmitted           uint64 // frames handed to the worker; frames handed to the kernel
	ReceivedBytes, TransmittedBytes uint64 // of those frames, from the Ethernet header on, without FCS
	Completed                       uint64 // frames that the kernel has sent, or given up
	Kicks                           uint64 // system calls
	Errno                           map[string]uint64
}

// Stats returns the counters.
func (q *Queue) Stats() QueueStats {
	c := &q.stats
	s := QueueStats{Received: c.received.Load(), Transmitted: c.transmitted.Load(), Completed: c.completed.Load(),
		ReceivedBytes: c.receivedBytes.Load(), TransmittedBytes: c.transmittedBytes.Load(), Kicks: c.kicks.Load(), Errno: make(map[string]uint64)}
	for i, e := range answers {
		if n := c.errno[i].Load(); n > 0 {
			name := unix.ErrnoName(e)
			if e == 0 {
				name = "other"
			}
			s.Errno[name] = n
		}
	}
	return s
}

// KernelStats returns the kernel's own counters of the socket (getsockopt XDP_STATISTICS).
func (q *Queue) KernelStats() (s unix.XDPStatistics, err error) {
	q.umem.mu.Lock() // keeps close from giving the descriptor away
	defer q.umem.mu.Unlock()
	if q.fd < 0 {
		return s, fmt.Errorf("read statistics of queue %d of %s: %w", q.Index, q.Name, ErrClosed)
	}
	size := uint32(unsafe.Sizeof(s))
	_, _, e := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(q.fd), unix.SOL_XDP, unix.XDP_STATISTICS,
		uintptr(unsafe.Pointer(&s)), uintptr(unsafe.Pointer(&size)), 0)
	if e != 0 {
		return s, fmt.Errorf("read statistics of queue %d of %s: %w", q.Index, q.Name, e)
	}
	return s, nil
}

// attachQueue makes a bound socket a queue of u. On failure the socket is closed.
func (u *UMEM) attachQueue(s *opened, ifindex, index int, name string) (*Queue, error) {
	q := &Queue{umem: u, fd: s.fd, maps: s.maps, ifindex: ifindex, Index: index, Name: name}
	if err := q.useRings(u.ringSize); err != nil {
		return nil, errors.Join(err, s.close())
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	id, ok := u.identifier()
	if !ok {
		return nil, errors.Join(fmt.Errorf("a worker has at most %d queues", queuesMax), s.close())
	}
	q.ID, u.queues[id] = id, q
	if u.first < 0 {
		u.first = q.fd
	}
	return q, nil
}

// identifier finds one that no queue has. The caller holds the lock.
func (u *UMEM) identifier() (id uint8, ok bool) {
	for id := uint8(1); id <= queuesMax; id++ {
		if u.queues[id] == nil && !u.closing[id] {
			return id, true
		}
	}
	return 0, false
}

// useRings begins with the rings as they are.
func (q *Queue) useRings(size int) error {
	o, err := mmapOffsets(q.fd)
	if err != nil {
		return err
	}
	q.fill = newProducer[uint64](q.maps[0], o.Fr, size)
	q.comp = newConsumer[uint64](q.maps[1], o.Cr, size)
	q.rx = newConsumer[unix.XDPDesc](q.maps[2], o.Rx, size)
	q.tx = newProducer[unix.XDPDesc](q.maps[3], o.Tx, size)
	return nil
}

// close unmaps the rings and closes the socket. The worker must have let go of the queue, and gets its chunks back with
// Reclaim afterwards. After a close in which an error is returned the queue is gone all the same; a second
// close does nothing.
func (q *Queue) close() error {
	u := q.umem
	u.mu.Lock()
	defer u.mu.Unlock()
	if q.fd < 0 {
		return nil
	}
	err := (&opened{q.fd, q.maps}).close()
	q.maps = [4]mapping{}
	q.fill, q.tx, q.rx, q.comp = producer[uint64]{}, producer[unix.XDPDesc]{}, consumer[unix.XDPDesc]{}, consumer[uint64]{}
	u.queues[q.ID], u.closing[q.ID] = nil, true
	if u.first == q.fd {
		u.first = -1
		for _, other := range u.queues {
			if other != nil {
				u.first = other.fd
				break
			}
		}
	}
	q.fd = -1
	return err
}

// UMEM is the memory that the queue's frames lie in.
func (q *Queue) UMEM() *UMEM { return q.umem }

// The loops below keep what they need of the UMEM in variables of their own: a store to place could change any field, as
// far as the compiler knows, and it would load them again for every frame. And it need not care for shifts of 64 or
// more where a mask rules them out. Together that is a quarter of their time.

// Receive takes the packets that have arrived, at most BatchSize, into b and returns their number.
func (q *Queue) Receive(b *Batch) int {
	n := q.rx.available(BatchSize)
	b.N = int(n)
	if n == 0 {
		return 0
	}
	place, shift, bytes := q.umem.place, q.umem.shift&63, uint64(0)
	for i := range n {
		d := q.rx.get(i)
		b.Frames[i&(BatchSize-1)] = Frame{Addr: d.Addr, Len: d.Len}
		place[d.Addr>>shift] = placeWorker
		bytes += uint64(d.Len)
	}
	q.rx.release(n)
	q.stats.received.Add(uint64(n))
	q.stats.receivedBytes.Add(bytes)
	return int(n)
}

// Refill gives free chunks to the kernel to receive into, as many as the ring has room for. It does nothing until a
// batch fits, or half a small ring, so that the shared index is written once a batch.
func (q *Queue) Refill() {
	least := min(BatchSize, uint32(len(q.fill.desc))/2)
	room := q.fill.room(least)
	if room < least {
		return
	}
	u := q.umem
	n := min(room, uint32(len(u.free)))
	if n == 0 {
		return
	}
	place, shift, id := u.place, u.shift&63, q.ID
	rest := len(u.free) - int(n)
	taken := u.free[rest:]
	for i := range taken {
		addr := taken[len(taken)-1-i] // from the top
		q.fill.put(uint32(i), addr)
		place[addr>>shift] = id
	}
	u.free = u.free[:rest]
	q.fill.publish(n)
	if q.fill.needWakeup() {
		q.wakeReceiver()
	}
}

// wakeReceiver tells a zero-copy driver that ran out of chunks that there are some. It would not look by itself, and
// a worker that other queues keep busy never sleeps in a poll, which would tell it too. In copy mode nobody asks for this.
func (q *Queue) wakeReceiver() {
	q.stats.kicks.Add(1)
	_, _, e := syscall.RawSyscall6(unix.SYS_RECVFROM, uintptr(q.fd), 0, 0, unix.MSG_DONTWAIT, 0, 0)
	if e != 0 {
		q.count(e)
	}
}

// Transmit hands frames of this queue's UMEM to the kernel and returns how many the ring had room for. The
// rest stays in the worker's hands. Kick makes the kernel look.
func (q *Queue) Transmit(frames []Frame) int {
	want := uint32(len(frames))
	n := min(q.tx.room(want), want)
	if n == 0 {
		return 0
	}
	place, shift, id, bytes := q.umem.place, q.umem.shift&63, q.ID, uint64(0)
	for i, f := range frames[:n] {
		q.tx.put(uint32(i), unix.XDPDesc{Addr: f.Addr, Len: f.Len})
		place[f.Addr>>shift] = id
		bytes += uint64(f.Len)
	}
	q.tx.publish(n)
	q.pending += int(n)
	q.stats.transmitted.Add(uint64(n))
	q.stats.transmittedBytes.Add(bytes)
	return int(n)
}

// kicksMax bounds the system calls of one Kick. With the transmit budget raised one is enough; an older kernel takes 32
// descriptors a call, and two calls for a batch.
const kicksMax = 4

// Kick makes the kernel transmit what is in the ring, if anything is and the kernel asks to be told. Whatever it
// answers is counted; frames that it did not take stay in the ring for the next Kick.
func (q *Queue) Kick() {
	if q.pending == 0 || q.tx.drained() || !q.tx.needWakeup() {
		return
	}
	for range kicksMax {
		q.stats.kicks.Add(1)
		// A raw system call: MSG_DONTWAIT never sleeps, and telling the scheduler costs more than it gains.
		_, _, e := syscall.RawSyscall6(unix.SYS_SENDTO, uintptr(q.fd), 0, 0, unix.MSG_DONTWAIT, 0, 0)
		if e == 0 {
			return
		}
		q.count(e)
		if e != unix.EAGAIN {
			return
		}
	}
}

func (q *Queue) count(e unix.Errno) {
	i := 0
	for i < len(answers)-1 && answers[i] != e {
		i++
	}
	q.stats.errno[i].Add(1)
}

// Complete takes back the chunks of packets that the kernel is done with, and returns their number. It bounds
// its work to four batches a call.
func (q *Queue) Complete() int {
	if q.pending == 0 {
		return 0
	}
	n := q.comp.available(4 * BatchSize)
	if n == 0 {
		return 0
	}
	u := q.umem
	place, shift, free := u.place, u.shift&63, u.free
	for i := range n {
		chunk := q.comp.get(i) >> shift // completions keep the offset within the chunk
		place[chunk] = placeFree
		free = append(free, chunk<<shift)
	}
	u.free = free
	q.comp.release(n)
	q.pending -= int(n)
	q.stats.completed.Add(uint64(n))
	return int(n)
}

// Pending is the number of packets that the kernel has not completed.
func (q *Queue) Pending() int { return q.pending }
