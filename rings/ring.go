package rings

import (
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// producer is a ring that we write and the kernel reads: fill, tx.
//
// Both indices run freely modulo 2^32. The kernel writes *cons; we alone write *prod, and keep our own copy in next, so
// that it is never read back. seen is the last *cons we looked at: while it says there is room there is, because
// the kernel only ever makes more.
type producer[T uint64 | unix.XDPDesc] struct {
	prod, cons, flags *uint32
	desc              []T // length is the ring's size, a power of two
	next, seen        uint32
}

// room returns how many entries may be written, looking at the shared index only when the cached one
// promises fewer than want.
func (r *producer[T]) room(want uint32) uint32 {
	size := uint32(len(r.desc))
	if free := size - (r.next - r.seen); free >= want {
		return free
	}
	r.seen = atomic.LoadUint32(r.cons) // acquire: the kernel is done with what it consumed
	return size - (r.next - r.seen)
}

// put writes entry i after the published ones; i must be below what room returned.
func (r *producer[T]) put(i uint32, v T) {
	r.desc[(r.next+i)&uint32(len(r.desc)-1)] = v
}

// publish hands n written entries to the kernel.
func (r *producer[T]) publish(n uint32) {
	r.next += n
	atomic.StoreUint32(r.prod, r.next) // release: the entries are written before the index
}

// drained reports whether the kernel has taken everything that was published.
func (r *producer[T]) drained() bool {
	if r.seen != r.next {
		r.seen = atomic.LoadUint32(r.cons)
	}
	return r.seen == r.next
}

// needWakeup reports whether the kernel asks for a system call before it looks at the ring
// (XDP_RING_NEED_WAKEUP).
func (r *producer[T]) needWakeup() bool {
	return atomic.LoadUint32(r.flags)&unix.XDP_RING_NEED_WAKEUP != 0
}

// consumer is a ring that the kernel writes and we read: rx, completion. Its fields mirror the producer's: the kernel
// writes *prod, we alone write *cons.
type consumer[T uint64 | unix.XDPDesc] struct {
	prod, cons *uint32
	desc       []T
	next, seen uint32
}

// available returns how many entries can be read, at most max.
func (r *consumer[T]) available(max uint32) uint32 {
	n := r.seen - r.next
	if n < max {
		r.seen = atomic.LoadUint32(r.prod) // acquire: the entries were written before the index
		n = r.seen - r.next
	}
	return min(n, max)
}

// get reads entry i of those that available counted.
func (r *consumer[T]) get(i uint32) T {
	return r.desc[(r.next+i)&uint32(len(r.desc)-1)]
}

// release gives n read entries back to the kernel.
func (r *consumer[T]) release(n uint32) {
	r.next += n
	atomic.StoreUint32(r.cons, r.next) // release: we have read them
}

// mapping is the memory of one ring, as mmap gave it.
type mapping []byte

func (m mapping) word(offset uint64) *uint32 {
	return (*uint32)(unsafe.Pointer(&m[offset]))
}

// ring is where one ring of a socket is.
type ring struct {
	page  int64 // which one (XDP_PGOFF_*)
	off   unix.XDPRingOffset
	entry uintptr // bytes
}

// length is that of its mapping.
func (r ring) length(size int) int { return int(r.off.Desc) + size*int(r.entry) }

// ringsOf are the rings of a socket: fill, completion, receive, transmit.
func ringsOf(o *unix.XDPMmapOffsets) [4]ring {
	const addr, desc = unsafe.Sizeof(uint64(0)), unsafe.Sizeof(unix.XDPDesc{})
	return [4]ring{
		{unix.XDP_UMEM_PGOFF_FILL_RING, o.Fr, addr}, {unix.XDP_UMEM_PGOFF_COMPLETION_RING, o.Cr, addr},
		{unix.XDP_PGOFF_RX_RING, o.Rx, desc}, {unix.XDP_PGOFF_TX_RING, o.Tx, desc},
	}
}

// mapRing maps one ring of a socket that is not bound yet. By package syscall, as the library does: so one way to unmap is enough.
func mapRing(fd int, page int64, length int) (mapping, error) {
	return syscall.Mmap(fd, page, length, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED|syscall.MAP_POPULATE)
}

func newProducer[T uint64 | unix.XDPDesc](m mapping, o unix.XDPRingOffset, size int) producer[T] {
	r := producer[T]{prod: m.word(o.Producer), cons: m.word(o.Consumer), flags: m.word(o.Flags)}
	r.desc = unsafe.Slice((*T)(unsafe.Pointer(&m[o.Desc])), size)
	r.next, r.seen = atomic.LoadUint32(r.prod), atomic.LoadUint32(r.cons)
	return r
}

func newConsumer[T uint64 | unix.XDPDesc](m mapping, o unix.XDPRingOffset, size int) consumer[T] {
	r := consumer[T]{prod: m.word(o.Producer), cons: m.word(o.Consumer)}
	r.desc = unsafe.Slice((*T)(unsafe.Pointer(&m[o.Desc])), size)
	r.next, r.seen = atomic.LoadUint32(r.cons), atomic.LoadUint32(r.prod)
	return r
}
