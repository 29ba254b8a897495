package lab

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// udpReceiveBuffer holds about 0.1 s of small packets at 1 Mpps; the kernel doubles it.
const udpReceiveBuffer = 64 << 20

// udpSequenceMax bounds the memory of one flow: beyond it, datagrams count as foreign. 2³⁰ bits are 128 MB.
const udpSequenceMax = 1 << 30

// UDPReceiver receives streams of Host.SendUDP and keeps account of every datagram.
type UDPReceiver struct {
	host    *Host
	address netip.AddrPort
	socket  *socket
	cancel  context.CancelFunc
	done    chan struct{}

	mu      sync.Mutex
	report  UDPReport
	flows   map[uint32]*udpFlow
	changed chan struct{} // closed and replaced with every batch
}

// UDPReport is what a receiver has seen so far.
type UDPReport struct {
	Flows    map[uint32]FlowReport
	Received uint64 // all datagrams of streams, duplicates included
	Foreign  uint64 // datagrams that are not of a stream
	Overrun  uint64 // datagrams that the receiver itself lost, its socket buffer being full
	First    time.Time
	Last     time.Time
}

// FlowReport is what arrived of one flow.
type FlowReport struct {
	Received   uint64 // duplicates included
	Unique     uint64
	Duplicated uint64 // Received - Unique
	Reordered  uint64 // arrived after one with a higher sequence number, duplicates not counted
	Damaged    uint64 // content differs
	Gaps       uint64 // sequence numbers below Highest that did not arrive
	Highest    uint64 // sequence number; meaningless if Received is 0
	From       netip.AddrPort
	TTL, TOS   int // of the last datagram, on arrival
}

// Lost is how many of the datagrams sent did not arrive.
func (f FlowReport) Lost(sent uint64) uint64 { return sent - min(sent, f.Unique) }

// Lost is how many of the datagrams sent did not arrive, over all flows.
func (r UDPReport) Lost(sent UDPSent) uint64 {
	var lost uint64
	for flow, n := range sent.Flows {
		lost += r.Flows[flow].Lost(n)
	}
	return lost
}

// Exact reports whether everything that was sent arrived once, in order and intact, and nothing else did.
func (r UDPReport) Exact(sent UDPSent) bool {
	for _, f := range r.Flows {
		if f.Duplicated+f.Reordered+f.Damaged != 0 {
			return false
		}
	}
	return r.Lost(sent) == 0 && r.Received == sent.Packets && r.Foreign == 0
}

// Rate is packets per second between the first and the last one.
func (r UDPReport) Rate() float64 {
	if d := r.Last.Sub(r.First).Seconds(); d > 0 {
		return float64(r.Received-1) / d
	}
	return 0
}

// udpFlow is a FlowReport and the sequence numbers seen, one bit each.
type udpFlow struct {
	FlowReport
	seen []uint64
}

// ListenUDP starts a receiver on an address of the host. Port 0 is the kernel's choice.
func (h *Host) ListenUDP(address netip.AddrPort) (*UDPReceiver, error) {
	ipv6 := address.Addr().Is6()
	var bound netip.AddrPort
	s, err := h.openSocket(domainOf(ipv6), unix.SOCK_DGRAM, 0, func(fd int) error {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, udpReceiveBuffer); err != nil {
			return fmt.Errorf("set receive buffer: %w", err)
		}
		level, names := unix.IPPROTO_IP, []int{unix.IP_RECVTTL, unix.IP_RECVTOS}
		if ipv6 {
			level, names = unix.IPPROTO_IPV6, []int{unix.IPV6_RECVHOPLIMIT, unix.IPV6_RECVTCLASS}
		}
		for _, name := range names {
			if err := unix.SetsockoptInt(fd, level, name, 1); err != nil {
				return fmt.Errorf("ask for header fields: %w", err)
			}
		}
		if err := unix.Bind(fd, sockaddr(address)); err != nil {
			return fmt.Errorf("bind to %s: %w", address, err)
		}
		sa, err := unix.Getsockname(fd)
		bound = addrPort(sa)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listen for UDP in %s: %w", h.name, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &UDPReceiver{
		host: h, address: bound, socket: s, cancel: cancel, done: make(chan struct{}),
		flows: make(map[uint32]*udpFlow), changed: make(chan struct{}),
	}
	go r.run(ctx)
	return r, nil
}

// Address is where the receiver listens.
func (r *UDPReceiver) Address() netip.AddrPort { return r.address }

// Close ends the receiving. Report stays usable.
func (r *UDPReceiver) Close() error {
	r.cancel()
	<-r.done
	r.mu.Lock()
	r.report.Overrun = r.overrun()
	r.mu.Unlock()
	return r.socket.close()
}

// Report is what has arrived so far.
func (r *UDPReceiver) Report() UDPReport {
	r.mu.Lock()
	defer r.mu.Unlock()
	report := r.report
	report.Overrun = max(report.Overrun, r.overrun())
	report.Flows = make(map[uint32]FlowReport, len(r.flows))
	for id, f := range r.flows {
		flow := f.FlowReport
		flow.Duplicated = flow.Received - flow.Unique
		flow.Gaps = flow.Highest + 1 - flow.Unique
		report.Flows[id] = flow
	}
	return report
}

// overrun asks the kernel how many datagrams the socket dropped: SK_MEMINFO_DROPS of linux/sock_diag.h.
func (r *UDPReceiver) overrun() uint64 {
	const drops, words = 8, 9
	var info [words]uint32
	_ = r.socket.raw.Control(func(fd uintptr) {
		size := uint32(unsafe.Sizeof(info))
		_, _, _ = unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_MEMINFO,
			uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	})
	return uint64(info[drops])
}

// WaitCount returns when n datagrams have arrived, duplicates and foreign ones included.
func (r *UDPReceiver) WaitCount(ctx context.Context, n uint64) error {
	for {
		r.mu.Lock()
		have, changed := r.report.Received+r.report.Foreign, r.changed
		r.mu.Unlock()
		if have >= n {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("wait for %d datagrams in %s, have %d: %w", n, r.host.name, have, context.Cause(ctx))
		}
	}
}

// WaitQuiet returns when nothing has arrived for the given time: for streams that lose packets.
func (r *UDPReceiver) WaitQuiet(ctx context.Context, quiet time.Duration) error {
	for {
		r.mu.Lock()
		changed := r.changed
		r.mu.Unlock()
		timer := time.NewTimer(quiet)
		select {
		case <-changed:
			timer.Stop()
		case <-timer.C:
			return nil
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("wait for quiet in %s: %w", r.host.name, context.Cause(ctx))
		}
	}
}

func (r *UDPReceiver) run(ctx context.Context) {
	defer close(r.done)
	buffers := newDatagrams(9216)
	for {
		var n int
		err := r.socket.read(ctx, func(fd int) (err error) {
			n, err = buffers.receive(fd)
			return err
		})
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			if r.socket.file.SetReadDeadline(time.Time{}) != nil {
				return // closed by the laboratory
			}
			continue // an ICMP error, reported on the socket
		}
		r.account(buffers, n)
	}
}

func (r *UDPReceiver) account(buffers *datagrams, n int) {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range n {
		m := &buffers.headers[i]
		id, seq, intact, ok := parseDatagram(buffers.data[i][:m.length])
		if !ok || seq >= udpSequenceMax {
			r.report.Foreign++
			continue
		}
		if r.report.Received == 0 {
			r.report.First = now
		}
		r.report.Received++
		r.report.Last = now
		f := r.flows[id]
		if f == nil {
			f = &udpFlow{}
			r.flows[id] = f
		}
		f.add(seq, intact)
		f.readHeader(m, &buffers.names[i], buffers.control[i][:])
	}
	close(r.changed)
	r.changed = make(chan struct{})
}

func (f *udpFlow) add(seq uint64, intact bool) {
	for uint64(len(f.seen))*64 <= seq {
		f.seen = append(f.seen, make([]uint64, max(16, len(f.seen)))...)
	}
	word, bit := &f.seen[seq/64], uint64(1)<<(seq%64)
	f.Received++
	if !intact {
		f.Damaged++
	}
	if *word&bit != 0 {
		return // a duplicate
	}
	*word |= bit
	f.Unique++
	if f.Unique > 1 && seq < f.Highest {
		f.Reordered++
	}
	f.Highest = max(f.Highest, seq)
}

// readHeader takes source, TTL and TOS from what the kernel tells beside the datagram. It must not allocate.
func (f *udpFlow) readHeader(m *mmsghdr, name *unix.RawSockaddrInet6, control []byte) {
	port := bigEndian(name.Port)
	if name.Family == unix.AF_INET {
		v4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(name))
		f.From = netip.AddrPortFrom(netip.AddrFrom4(v4.Addr), port)
	} else {
		f.From = netip.AddrPortFrom(netip.AddrFrom16(name.Addr), port)
	}
	control = control[:m.header.Controllen]
	for len(control) >= unix.SizeofCmsghdr {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&control[0]))
		size := int(h.Len)
		if size < unix.CmsgLen(1) || size > len(control) {
			return
		}
		data := control[unix.CmsgLen(0):size]
		value := int(data[0]) // TOS is a byte in IPv4; the others are 32 bits
		if len(data) >= 4 {
			value = int(binary.NativeEndian.Uint32(data))
		}
		switch {
		case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_TTL,
			h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_HOPLIMIT:
			f.TTL = value
		case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_TOS,
			h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_TCLASS:
			f.TOS = value
		}
		control = control[min(len(control), unix.CmsgSpace(size-unix.CmsgLen(0))):]
	}
}
