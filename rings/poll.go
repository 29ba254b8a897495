package rings

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Poller waits for packets on a set of queues, and for a wake-up. It belongs to one worker.
type Poller struct {
	fds  []unix.PollFd // the wake-up first, then the queues
	wake int           // eventfd
}

// NewPoller makes a poller without queues.
func NewPoller() (*Poller, error) {
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		return nil, err
	}
	return &Poller{wake: fd, fds: []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}}, nil
}

// SetQueues replaces the queues that are waited for.
func (p *Poller) SetQueues(queues []*Queue) {
	p.fds = p.fds[:1]
	for _, q := range queues {
		p.fds = append(p.fds, unix.PollFd{Fd: int32(q.fd), Events: unix.POLLIN})
	}
}

// Wait sleeps until a queue has packets, somebody calls Wake, or the time is over.
//
// A queue whose netdev is gone is always "ready"; it is not waited for any more, or the worker would never sleep.
func (p *Poller) Wait(timeout time.Duration) {
	ts := unix.NsecToTimespec(int64(timeout)) // set every time: ppoll writes the remaining time back
	n, _, e := unix.Syscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&p.fds[0])), uintptr(len(p.fds)),
		uintptr(unsafe.Pointer(&ts)), 0, 0, 0)
	if e != 0 || n == 0 {
		return
	}
	if p.fds[0].Revents&unix.POLLIN != 0 {
		var count [8]byte
		_, _ = unix.Read(p.wake, count[:]) // resets the counter; EAGAIN only if somebody else did
	}
	for i := range p.fds[1:] {
		if f := &p.fds[i+1]; f.Revents&(unix.POLLERR|unix.POLLHUP|unix.POLLNVAL) != 0 {
			f.Fd = -1
		}
	}
}

// Wake ends a Wait, the present one or the next. Anyone may call it.
func (p *Poller) Wake() {
	one := [8]byte{1}
	_, _ = unix.Write(p.wake, one[:]) // EAGAIN: it is awake already
}

// Close releases the wake-up.
func (p *Poller) Close() error { return unix.Close(p.wake) }
