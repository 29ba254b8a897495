package rings

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"github.com/asavie/xdp"
	"golang.org/x/sys/unix"
)

// opening serialises whatever opens sockets: asavie/xdp takes its bind flags from a package variable, and its ring mappings
// are told from ours by looking at the process's mappings before and after.
var opening sync.Mutex

// releaseTime is how long a queue may still be busy after its last socket was closed: the kernel lets go of it in a work
// item that waits for the RTNL lock (xp_release_deferred in net/xdp/xsk_buff_pool.c).
const releaseTime = time.Second

// whileBusy repeats what opens a queue, until the queue is really another's.
func whileBusy(open func() error) error {
	for deadline := time.Now().Add(releaseTime); ; time.Sleep(releaseTime / 100) {
		if err := open(); !errors.Is(err, ErrQueueBusy) || time.Now().After(deadline) {
			return err
		}
	}
}

// opened is a socket whose rings are mapped. They are before it is bound: kernels such as Debian 12's 6.1 refuse it
// afterwards (EBUSY).
type opened struct {
	fd   int
	maps [4]mapping // in the order of ringsOf
}

func (s *opened) close() error { return errors.Join(s.unmap(), unix.Close(s.fd)) }

func (s *opened) unmap() (err error) {
	for i, m := range s.maps {
		if m != nil {
			err = errors.Join(err, syscall.Munmap(m))
			s.maps[i] = nil
		}
	}
	return err
}

// openUMEM makes a UMEM and its first socket, bound to queue of the netdev.
func openUMEM(ifindex, queue int, o *UMEMOptions) (u *UMEM, s *opened, err error) {
	if err := o.check(); err != nil {
		return nil, nil, err
	}
	opening.Lock()
	defer opening.Unlock()
	if o.Opener == OpenLibrary || o.Opener == OpenAuto && !o.ZeroCopy && !o.HugePages {
		return openWithLibrary(ifindex, queue, o)
	}
	return openOurselves(ifindex, queue, o)
}

// openWithLibrary lets asavie/xdp open, register, map and bind. All we take from it is the socket, its rings and the memory.
func openWithLibrary(ifindex, queue int, o *UMEMOptions) (*UMEM, *opened, error) {
	before, err := socketMappings()
	if err != nil {
		return nil, nil, err
	}
	xdp.DefaultSocketFlags = unix.XDP_COPY | unix.XDP_USE_NEED_WAKEUP
	socket, err := xdp.NewSocket(ifindex, queue, &xdp.SocketOptions{
		NumFrames: o.Frames, FrameSize: o.FrameSize,
		FillRingNumDescs: o.RingSize, CompletionRingNumDescs: o.RingSize,
		RxRingNumDescs: o.RingSize, TxRingNumDescs: o.RingSize,
	})
	if err != nil {
		// The library does not unmap its rings when it fails; as long as one is mapped, the socket lives on after its close and keeps
		// the queue busy.
		return nil, nil, errors.Join(bindError(err), unmapSince(before))
	}
	s := &opened{fd: socket.FD()}
	unix.CloseOnExec(s.fd)
	err = s.adopt(before, o.RingSize)
	if err == nil {
		err = tuneSocket(s.fd, o.RingSize)
	}
	if err != nil {
		return nil, nil, errors.Join(err, socket.Close(), unmapSince(before)) // the library unmaps none of its rings
	}
	mem := socket.GetFrame(xdp.Desc{Addr: 0, Len: uint32(o.Frames * o.FrameSize)})
	return newUMEM(mem, o, func() error { return syscall.Munmap(mem) }, "asavie/xdp"), s, nil
}

// adopt takes the library's mappings of the socket's rings, which it tells nobody of.
func (s *opened) adopt(before map[socketMapping]bool, size int) error {
	offsets, err := mmapOffsets(s.fd)
	if err != nil {
		return err
	}
	now, err := socketMappings()
	if err != nil {
		return err
	}
	for i, r := range ringsOf(&offsets) {
		for m := range now {
			if !before[m] && m.page == r.page {
				// Package syscall knows a mapping by where it begins and its exact length.
				s.maps[i] = unsafe.Slice(*(**byte)(unsafe.Pointer(&m.start)), r.length(size))
			}
		}
		if s.maps[i] == nil {
			return fmt.Errorf("ring %d of asavie/xdp is not mapped", i)
		}
	}
	return nil
}

// openOurselves does what the library does, and what it cannot: huge pages and zero-copy.
func openOurselves(ifindex, queue int, o *UMEMOptions) (*UMEM, *opened, error) {
	mem, pages, err := mapMemory(o.Frames*o.FrameSize, o.HugePages)
	if err != nil {
		return nil, nil, err
	}
	u := newUMEM(mem[:o.Frames*o.FrameSize], o, func() error { return syscall.Munmap(mem) }, "own, "+pages)
	s, err := u.register(ifindex, queue)
	if err != nil {
		return nil, nil, errors.Join(err, u.unmap())
	}
	return u, s, nil
}

// register opens a socket, registers the memory with it and binds it.
func (u *UMEM) register(ifindex, queue int) (*opened, error) {
	s, err := newSocket(u.ringSize, func(fd int) error {
		reg := unix.XDPUmemReg{Addr: uint64(uintptr(unsafe.Pointer(&u.mem[0]))), Len: uint64(len(u.mem)), Size: uint32(u.FrameSize())}
		if err := setsockopt(fd, unix.XDP_UMEM_REG, unsafe.Pointer(&reg), unsafe.Sizeof(reg)); err != nil {
			return fmt.Errorf("register UMEM of %d bytes: %w", len(u.mem), memlock(err))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	flags := uint16(unix.XDP_COPY | unix.XDP_USE_NEED_WAKEUP)
	if u.zeroCopy {
		flags = unix.XDP_ZEROCOPY | unix.XDP_USE_NEED_WAKEUP
	}
	err = unix.Bind(s.fd, &unix.SockaddrXDP{Flags: flags, Ifindex: uint32(ifindex), QueueID: uint32(queue)})
	if err != nil {
		return nil, errors.Join(bindError(err), s.close())
	}
	return s, nil
}

// share opens a socket on another queue or netdev over the memory of one that is bound. The kernel takes no other flag with
// XDP_SHARED_UMEM: copy mode and need-wakeup are inherited. Rings of its own it needs because the device differs.
func (u *UMEM) share(ifindex, queue int) (*opened, error) {
	opening.Lock()
	defer opening.Unlock()
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.first < 0 {
		return u.register(ifindex, queue) // every earlier socket is closed: the memory is registered anew
	}
	for _, q := range u.queues {
		if q != nil && q.ifindex == ifindex && q.Index == queue {
			return nil, ErrQueueBusy // the kernel would share that queue's fill ring, and calls ours an invalid argument
		}
	}
	s, err := newSocket(u.ringSize, func(int) error { return nil })
	if err != nil {
		return nil, err
	}
	err = unix.Bind(s.fd, &unix.SockaddrXDP{
		Flags: unix.XDP_SHARED_UMEM, Ifindex: uint32(ifindex), QueueID: uint32(queue), SharedUmemFD: uint32(u.first),
	})
	if err != nil {
		return nil, errors.Join(bindError(err), s.close())
	}
	return s, nil
}

// newSocket makes a socket, which gets its UMEM by register if it is to have one of its own, and maps its rings.
func newSocket(ringSize int, register func(fd int) error) (*opened, error) {
	fd, err := unix.Socket(unix.AF_XDP, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open AF_XDP socket: %w", socketHint(err))
	}
	s := &opened{fd: fd}
	if err = register(fd); err == nil {
		err = s.prepare(ringSize)
	}
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// prepare gives a socket its rings.
func (s *opened) prepare(ringSize int) error {
	for _, option := range []int{unix.XDP_UMEM_FILL_RING, unix.XDP_UMEM_COMPLETION_RING, unix.XDP_RX_RING, unix.XDP_TX_RING} {
		if err := unix.SetsockoptInt(s.fd, unix.SOL_XDP, option, ringSize); err != nil {
			return fmt.Errorf("set ring size %d (option %d): %w", ringSize, option, err)
		}
	}
	if err := tuneSocket(s.fd, ringSize); err != nil {
		return err
	}
	offsets, err := mmapOffsets(s.fd)
	if err != nil {
		return err
	}
	for i, r := range ringsOf(&offsets) {
		if s.maps[i], err = mapRing(s.fd, r.page, r.length(ringSize)); err != nil {
			return fmt.Errorf("map ring %d: %w", i, err)
		}
	}
	return nil
}

// sendBuffer is room for every packet that can be on its way out of one socket: in copy mode each is an skb that counts
// against SO_SNDBUF with its truesize, and the default of 208 KiB ends a batch after about 90.
const sendBuffer = 16 << 20

func tuneSocket(fd, ringSize int) error {
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, sendBuffer); err != nil {
		return fmt.Errorf("set send buffer: %w (CAP_NET_ADMIN is needed)", err)
	}
	// How many descriptors one sendto takes in copy mode: 32 unless told (net/xdp/xsk.c TX_BATCH_SIZE), 16 % fewer
	// packets a second. Kernels before 6.18 do not know the option; then a batch takes several kicks.
	err := unix.SetsockoptInt(fd, unix.SOL_XDP, unix.XDP_MAX_TX_SKB_BUDGET, ringSize)
	if err != nil && !errors.Is(err, unix.ENOPROTOOPT) {
		return fmt.Errorf("set transmit budget: %w", err)
	}
	return nil
}

func setsockopt(fd, option int, p unsafe.Pointer, size uintptr) error {
	_, _, e := unix.Syscall6(unix.SYS_SETSOCKOPT, uintptr(fd), unix.SOL_XDP, uintptr(option), uintptr(p), size, 0)
	if e != 0 {
		return e
	}
	return nil
}

func mmapOffsets(fd int) (o unix.XDPMmapOffsets, err error) {
	size := uint32(unsafe.Sizeof(o))
	_, _, e := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_XDP, unix.XDP_MMAP_OFFSETS,
		uintptr(unsafe.Pointer(&o)), uintptr(unsafe.Pointer(&size)), 0)
	if e != 0 {
		return o, fmt.Errorf("get ring offsets: %w", e)
	}
	return o, nil
}

// socketMapping is one line of /proc/self/maps that maps a socket.
type socketMapping struct {
	start, end uintptr
	page       int64 // which ring it is (XDP_PGOFF_*)
}

// socketMappings lists this process's mappings of sockets, which are AF_XDP rings.
func socketMappings() (map[socketMapping]bool, error) {
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return nil, fmt.Errorf("list mappings: %w", err)
	}
	found := make(map[socketMapping]bool)
	for line := range bytes.Lines(maps) {
		if !bytes.Contains(line, []byte("socket:[")) {
			continue
		}
		fields := strings.Fields(string(line)) // first-last, permissions, offset, …
		first, last, _ := strings.Cut(fields[0], "-")
		start, err1 := strconv.ParseUint(first, 16, 64)
		end, err2 := strconv.ParseUint(last, 16, 64)
		page, err3 := strconv.ParseInt(fields[2], 16, 64)
		if err := errors.Join(err1, err2, err3); err != nil {
			return nil, fmt.Errorf("list mappings: %w", err)
		}
		found[socketMapping{uintptr(start), uintptr(end), page}] = true
	}
	return found, nil
}

// unmapSince unmaps the sockets' mappings that were not there before.
func unmapSince(before map[socketMapping]bool) error {
	now, err := socketMappings()
	if err != nil {
		return err
	}
	for m := range now {
		if before[m] {
			continue
		}
		if _, _, e := unix.Syscall(unix.SYS_MUNMAP, m.start, m.end-m.start, 0); e != 0 {
			err = errors.Join(err, fmt.Errorf("unmap ring of asavie/xdp: %w", e))
		}
	}
	return err
}
