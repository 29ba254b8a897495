package rings

import "syscall"

// Detached is a queue without a socket, and the memory that it shares, to measure what a worker does between Receive and
// Transmit: of its methods only UMEM may be called. Closing the UMEM gives the memory back.
func Detached(o UMEMOptions) (*UMEM, *Queue, error) {
	if err := o.check(); err != nil {
		return nil, nil, err
	}
	mem, pages, err := mapMemory(o.Frames*o.FrameSize, o.HugePages)
	if err != nil {
		return nil, nil, err
	}
	u := newUMEM(mem[:o.Frames*o.FrameSize], &o, func() error { return syscall.Munmap(mem) }, "detached, "+pages)
	return u, &Queue{umem: u, fd: -1}, nil
}
