package steer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"
)

// Options say what a program is loaded with.
type Options struct {
	Own       *Own // the router's own addresses, shared by the programs of all its ports
	MaxQueues int  // sockets can be registered for queues 0 to MaxQueues-1
}

// Program is the XDP program of one netdev, with its sockets, its MAC address and its counters. Use Load to make one.
// The methods may be called concurrently; after Close they return ErrClosed.
type Program struct {
	mu        sync.Mutex
	objects   bpfObjects
	maxQueues int
	closed    bool

	// link keeps the program attached. It must stay reachable: when the last reference is gone, the garbage collector
	// closes it, XDP detaches without a word, and the kernel routes.
	link link.Link
}

// Load loads the program into the kernel. It sees no frame before Attach.
func Load(opts Options) (*Program, error) {
	if opts.Own == nil {
		panic("steer: Load without the router's own addresses")
	}
	if opts.MaxQueues < 1 {
		panic("steer: Load without room for a queue")
	}
	if err := rlimit.RemoveMemlock(); err != nil {
		return nil, fmt.Errorf("raise RLIMIT_MEMLOCK, which kernels before 5.11 need: %w", explain(err))
	}
	spec, err := loadBpf()
	if err != nil {
		return nil, fmt.Errorf("read BPF object: %w", err)
	}
	spec.Maps[bpfMapXsks].MaxEntries = uint32(opts.MaxQueues)
	spec.Maps[bpfMapOwn].MaxEntries = opts.Own.entries.MaxEntries()

	p := &Program{maxQueues: opts.MaxQueues}
	shared := &ebpf.CollectionOptions{MapReplacements: map[string]*ebpf.Map{
		bpfMapOwn:       opts.Own.entries,
		bpfMapOwnFilter: opts.Own.filter,
	}}
	if err := spec.LoadAndAssign(&p.objects, shared); err != nil {
		return nil, fmt.Errorf("load XDP program: %w", explain(err))
	}
	return p, nil
}

// Register gives the frames of a queue to the AF_XDP socket fd, which must be bound to that queue of the program's
// interface; frames for any other socket are dropped by the kernel. A socket that the queue already has is replaced in
// one step. Closing a socket unregisters it.
func (p *Program) Register(queue, fd int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.check(queue); err != nil {
		return fmt.Errorf("register socket of queue %d: %w", queue, err)
	}
	err := p.objects.Xsks.Put(uint32(queue), uint32(fd))
	if errors.Is(err, unix.EBADF) || errors.Is(err, unix.ENOTSOCK) || errors.Is(err, unix.EOPNOTSUPP) {
		err = fmt.Errorf("fd %d: %w (%w)", fd, ErrNotSocket, err)
	}
	if err != nil {
		return fmt.Errorf("register socket of queue %d: %w", queue, explain(err))
	}
	return nil
}

// Unregister leaves the frames of a queue to the kernel. A queue without a socket is no error.
func (p *Program) Unregister(queue int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.check(queue); err != nil {
		return fmt.Errorf("unregister socket of queue %d: %w", queue, err)
	}
	if err := p.objects.Xsks.Delete(uint32(queue)); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("unregister socket of queue %d: %w", queue, explain(err))
	}
	return nil
}

func (p *Program) check(queue int) error {
	switch {
	case p.closed:
		return ErrClosed
	case queue < 0 || queue >= p.maxQueues:
		return fmt.Errorf("%w (%d)", ErrQueue, p.maxQueues)
	}
	return nil
}

// SetMAC tells the program that the port's MAC address has changed. Attach has read the first one. Until the program
// knows, frames to the new address go to the kernel.
func (p *Program) SetMAC(mac net.HardwareAddr) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return ErrClosed
	}
	return p.setMAC(mac)
}

func (p *Program) setMAC(mac net.HardwareAddr) error {
	if len(mac) != 6 {
		return fmt.Errorf("set MAC address %q: %w", mac, ErrNotEthernet)
	}
	var word [8]byte
	copy(word[:], mac)
	// A program that runs at this moment sees the old address, the new one, or, if the copy is torn, neither: then the
	// frame is the kernel's.
	if err := p.objects.Mac.Set(binary.LittleEndian.Uint64(word[:])); err != nil {
		return fmt.Errorf("set MAC address %v: %w", mac, explain(err))
	}
	return nil
}

// Counters reads what the program has counted since Load, summed over all CPUs. The classes are read one CPU after the
// other while frames arrive: sums of classes may be a few frames apart.
func (p *Program) Counters() (Counters, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var sum Counters
	if p.closed {
		return sum, ErrClosed
	}
	var perCPU []Counters
	if err := p.objects.Counters.Lookup(uint32(0), &perCPU); err != nil {
		return sum, fmt.Errorf("read counters: %w", explain(err))
	}
	for _, cpu := range perCPU {
		for class, n := range cpu {
			sum[class] += n
		}
	}
	return sum, nil
}

// Close detaches the program, so that the kernel gets all frames from here on, and unloads it. A second Close does
// nothing. The Own that it was loaded with stays.
func (p *Program) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil
	}
	p.closed = true
	var detach error
	if p.link != nil {
		detach = p.link.Close()
		p.link = nil
	}
	if err := errors.Join(detach, p.objects.Close()); err != nil {
		return fmt.Errorf("unload XDP program: %w", err)
	}
	return nil
}
