package rings

import (
	"errors"
	"fmt"
	"math/bits"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Where a chunk is. Every chunk is in exactly one place; Queue identifiers are the places of chunks that the kernel has.
const (
	placeFree   uint8 = 0   // on the free stack
	placeWorker uint8 = 255 // in the worker's hands: received, or taken from the stack
	queuesMax         = 254 // queue identifiers are 1..254
)

// UMEM is the memory that the frames of one worker live in. It is cut into chunks of one size; a chunk is in exactly
// one place at any time: the free stack, the worker's hands, or a queue (its fill or tx ring, or the kernel behind
// them). One goroutine at a time may use it.
type UMEM struct {
	mem      []byte
	shift    uint     // chunk size is 1<<shift bytes
	free     []uint64 // stack of addresses; the last freed is the first taken, so that it is still in the cache
	place    []uint8  // by chunk number
	zeroCopy bool     // all queues of a UMEM are zero-copy, or none is (kernel rule)
	ringSize int
	unmap    func() error // gives the memory back
	Opener   string       // how the memory was registered, for the log

	// The control plane's part: which queues there are. The worker never looks at it.
	mu      sync.Mutex
	first   int         // descriptor of a bound socket, which later ones share the memory with; -1: none
	queues  [256]*Queue // open queues by identifier
	closing [256]bool   // closed, chunks not yet reclaimed: the identifier may not be given again
}

// UMEMOptions are the dimensions of a UMEM.
type UMEMOptions struct {
	Frames    int  // number of chunks
	FrameSize int  // bytes of a chunk: 2048 or 4096
	RingSize  int  // entries of each ring: a power of two
	ZeroCopy  bool // bind for zero-copy
	HugePages bool // back by 2 MiB pages; falls back to 4 KiB ones if there are none
	Opener    Opener
}

// Opener says who opens the first socket of a UMEM.
type Opener uint8

// Openers. OpenAuto is asavie/xdp for copy mode with normal pages, and our own for what that cannot do.
const (
	OpenAuto Opener = iota
	OpenLibrary
	OpenOwn
)

func (o *UMEMOptions) check() error {
	var errs []error
	if o.FrameSize != 2048 && o.FrameSize != 4096 {
		errs = append(errs, fmt.Errorf("frame size %d: must be 2048 or 4096", o.FrameSize))
	}
	if o.RingSize < 64 || bits.OnesCount(uint(o.RingSize)) != 1 {
		errs = append(errs, fmt.Errorf("ring size %d: must be a power of two of at least 64", o.RingSize))
	}
	if o.Frames < 2*o.RingSize {
		errs = append(errs, fmt.Errorf("%d frames: must be at least twice the ring size", o.Frames))
	}
	if o.Opener == OpenLibrary && (o.ZeroCopy || o.HugePages) {
		errs = append(errs, errors.New("asavie/xdp opens neither zero-copy sockets nor hugepage memory"))
	}
	return errors.Join(errs...)
}

// MaxMTU is the largest IP packet that a chunk of the given size receives: the kernel keeps
// XDP_PACKET_HEADROOM (256 bytes) before the frame, and the link header with two VLAN tags takes 22.
func MaxMTU(frameSize int) int { return frameSize - unix.XDP_PACKET_HEADROOM - 22 }

// FrameSizeFor returns the chunk size that carries packets of the given MTU.
func FrameSizeFor(mtu int) (int, error) {
	for _, size := range []int{2048, 4096} {
		if mtu <= MaxMTU(size) {
			return size, nil
		}
	}
	return 0, fmt.Errorf("MTU %d: frames above %d bytes are not supported", mtu, MaxMTU(4096))
}

func newUMEM(mem []byte, o *UMEMOptions, unmap func() error, opener string) *UMEM {
	u := &UMEM{
		mem: mem, shift: uint(bits.TrailingZeros(uint(o.FrameSize))), zeroCopy: o.ZeroCopy, ringSize: o.RingSize,
		first: -1, unmap: unmap, Opener: opener,
	}
	u.free = make([]uint64, 0, o.Frames)
	u.place = make([]uint8, o.Frames)
	for i := o.Frames - 1; i >= 0; i-- {
		u.free = append(u.free, uint64(i)<<u.shift)
	}
	return u
}

// FrameSize is the size of a chunk in bytes.
func (u *UMEM) FrameSize() int { return 1 << u.shift }

// ZeroCopy reports whether its queues are bound for zero-copy.
func (u *UMEM) ZeroCopy() bool { return u.zeroCopy }

// Bytes is the packet of a frame.
func (u *UMEM) Bytes(f Frame) []byte {
	return u.mem[f.Addr : f.Addr+uint64(f.Len) : f.Addr+uint64(f.Len)]
}

// Chunk is the whole chunk that a frame lies in, and the offset of its first byte there.
func (u *UMEM) Chunk(f Frame) (chunk []byte, start int) {
	base := f.Addr &^ (1<<u.shift - 1)
	end := base + 1<<u.shift
	return u.mem[base:end:end], int(f.Addr - base)
}

// Alloc takes a chunk from the free stack and returns the address of its first byte.
func (u *UMEM) Alloc() (addr uint64, ok bool) {
	n := len(u.free)
	if n == 0 {
		return 0, false
	}
	addr = u.free[n-1]
	u.free = u.free[:n-1]
	u.place[addr>>u.shift] = placeWorker
	return addr, true
}

// Available is the number of chunks on the free stack.
func (u *UMEM) Available() int { return len(u.free) }

// Free gives the chunk that addr lies in back to the stack. It must be in the worker's hands.
func (u *UMEM) Free(addr uint64) {
	i := addr >> u.shift
	if u.place[i] != placeWorker {
		panic("rings: chunk freed that the worker does not hold")
	}
	u.place[i] = placeFree
	u.free = append(u.free, i<<u.shift)
}

// Census counts the chunks by place. The sum is always the number of chunks.
type Census struct {
	Free, Worker int
	Queue        [256]int // by queue identifier
}

// Census walks all chunks; it is for tests and for people, not for the packet path.
func (u *UMEM) Census() (c Census) {
	for _, p := range u.place {
		switch p {
		case placeFree:
			c.Free++
		case placeWorker:
			c.Worker++
		default:
			c.Queue[p]++
		}
	}
	return c
}

// Reclaim takes back every chunk that a closed queue had. The worker calls it once it no longer uses
// the queue and the control plane has closed it: then the kernel no longer writes to them. Doing it twice does nothing
// the second time.
func (u *UMEM) Reclaim(id uint8) {
	if id == placeFree || id == placeWorker {
		panic("rings: chunks reclaimed from what is not a queue")
	}
	for i, p := range u.place {
		if p == id {
			u.place[i] = placeFree
			u.free = append(u.free, uint64(i)<<u.shift)
		}
	}
}

// Queues is the number of its queues that are open, or closed but not yet recycled.
func (u *UMEM) Queues() (n int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for id := range u.queues {
		if u.queues[id] != nil || u.closing[id] {
			n++
		}
	}
	return n
}

// Recycle lets the identifier of a closed queue be used again. The control plane calls it once the worker has
// reclaimed the queue's chunks.
func (u *UMEM) Recycle(id uint8) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.closing[id] = false
}

// Close gives the memory back. All queues must have been closed.
func (u *UMEM) Close() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, q := range u.queues {
		if q != nil {
			return fmt.Errorf("close UMEM: queue %d of %s is open", q.Index, q.Name)
		}
	}
	u.free, u.place, u.mem = nil, nil, nil
	return u.unmap()
}

// mapMemory maps anonymous memory, populated by the calling thread, so that it lies on that thread's NUMA node.
func mapMemory(size int, huge bool) ([]byte, string, error) {
	const flags = unix.MAP_PRIVATE | unix.MAP_ANONYMOUS | unix.MAP_POPULATE
	if huge {
		const page = 2 << 20
		rounded := (size + page - 1) &^ (page - 1)
		m, err := syscall.Mmap(-1, 0, rounded, unix.PROT_READ|unix.PROT_WRITE, flags|unix.MAP_HUGETLB|unix.MAP_HUGE_2MB)
		if err == nil {
			return m, "2 MiB pages", nil
		}
	}
	m, err := syscall.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, flags)
	if err != nil {
		return nil, "", fmt.Errorf("map %d bytes of frames: %w", size, err)
	}
	if huge {
		return m, "4 KiB pages (no huge pages free: set vm.nr_hugepages)", nil
	}
	return m, "4 KiB pages", nil
}
