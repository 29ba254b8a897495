package lab

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// datagramBatch is how many datagrams one system call moves.
const datagramBatch = 64

// mmsghdr is struct mmsghdr of recvmmsg(2) and sendmmsg(2).
type mmsghdr struct {
	header unix.Msghdr
	length uint32
}

// datagrams are buffers for recvmmsg and sendmmsg. They must not be copied: the headers point into them.
type datagrams struct {
	headers [datagramBatch]mmsghdr
	vectors [datagramBatch]unix.Iovec
	names   [datagramBatch]unix.RawSockaddrInet6 // large enough for IPv4
	control [datagramBatch][64]byte
	data    [datagramBatch][]byte
}

func newDatagrams(size int) *datagrams {
	d := &datagrams{}
	memory := make([]byte, size*datagramBatch)
	for i := range d.data {
		d.data[i] = memory[i*size : (i+1)*size : (i+1)*size]
		d.vectors[i].Base = &d.data[i][0]
		d.vectors[i].SetLen(size)
		d.headers[i].header.Iov = &d.vectors[i]
		d.headers[i].header.SetIovlen(1)
	}
	return d
}

// receive fills as many buffers as there are datagrams waiting.
func (d *datagrams) receive(fd int) (int, error) {
	for i := range d.headers {
		h := &d.headers[i].header
		h.Name, h.Namelen = (*byte)(unsafe.Pointer(&d.names[i])), uint32(unsafe.Sizeof(d.names[i]))
		h.Control = &d.control[i][0]
		h.SetControllen(len(d.control[i]))
	}
	n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&d.headers[0])),
		datagramBatch, unix.MSG_DONTWAIT, 0, 0)
	runtime.KeepAlive(d)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// send sends the first n buffers on a connected socket and returns how many the kernel took.
func (d *datagrams) send(fd, first, n int) (int, error) {
	sent, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&d.headers[first])),
		uintptr(n), 0, 0, 0)
	runtime.KeepAlive(d)
	if errno != 0 {
		return 0, errno
	}
	return int(sent), nil
}
