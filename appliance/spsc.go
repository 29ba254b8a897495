package appliance

import "sync/atomic"

// spsc is a bounded queue from one goroutine to one other, without locks. A worker writes into it, the control plane
// reads. A full queue refuses.
type spsc[T any] struct {
	slots []T // length is a power of two
	head  atomic.Uint32
	_     [60]byte // head and tail are written by different cores
	tail  atomic.Uint32
	bell  chan struct{} // rung when something was put; holds one ring
}

func newSPSC[T any](size int) *spsc[T] {
	return &spsc[T]{slots: make([]T, size), bell: make(chan struct{}, 1)}
}

// slot returns the next free slot to write into, or nil if the queue is full. commit hands it over.
func (q *spsc[T]) slot() *T {
	tail := q.tail.Load()
	if tail-q.head.Load() == uint32(len(q.slots)) { // acquire: the reader is done with the slot
		return nil
	}
	return &q.slots[tail&uint32(len(q.slots)-1)]
}

// commit hands over the slot that was written, and rings the bell.
func (q *spsc[T]) commit() {
	q.tail.Add(1) // release: the slot is written before the index
	select {
	case q.bell <- struct{}{}:
	default: // it has been rung already; the runtime sees that without its lock
	}
}

// drain calls f for everything in the queue, in order.
func (q *spsc[T]) drain(f func(*T)) {
	for head := q.head.Load(); head != q.tail.Load(); head++ {
		f(&q.slots[head&uint32(len(q.slots)-1)])
		q.head.Store(head + 1)
	}
}

// front is what drain would begin with, or nil; pop takes it out.
func (q *spsc[T]) front() *T {
	head := q.head.Load()
	if head == q.tail.Load() { // acquire: the slot is written
		return nil
	}
	return &q.slots[head&uint32(len(q.slots)-1)]
}

func (q *spsc[T]) pop() { q.head.Add(1) } // release: the slot is read before it is given back
