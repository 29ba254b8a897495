package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// UDPOptions describe a stream of datagrams: one or several flows that take turns.
type UDPOptions struct {
	IPOptions
	To         netip.AddrPort
	SourcePort uint16        // of the first flow, the next has the next; 0: the kernel's choice
	Flow       uint32        // number of the first flow, as UDPReport has it
	Flows      int           // 0: 1
	Size       int           // bytes of UDP payload, at least 16; 0: 18, the smallest Ethernet frame
	Rate       float64       // packets per second, all flows together; 0: as fast as possible
	Count      uint64        // datagrams of all flows together; 0: no limit
	Duration   time.Duration // 0: no limit
}

// UDPSent is a stream as its sender saw it.
type UDPSent struct {
	Packets  uint64            // that the kernel took
	Flows    map[uint32]uint64 // per flow
	Refused  uint64            // sends that the kernel answered with an error, then repeated: an ICMP error came back
	Full     uint64            // sends that found no room, then repeated
	Duration time.Duration
}

// Rate is packets per second, as achieved.
func (s UDPSent) Rate() float64 {
	if s.Duration <= 0 {
		return 0
	}
	return float64(s.Packets) / s.Duration.Seconds()
}

// SendUDP sends a stream at a constant rate (Rate packets per second over all flows; 0: as fast as it goes) until
// Count, Duration or ctx ends it. Packet k leaves at k/Rate after the first or as soon as possible after that, so the
// average holds even where the machine is busy. It runs in one OS thread.
func (h *Host) SendUDP(ctx context.Context, o UDPOptions) (UDPSent, error) {
	fail := func(err error) (UDPSent, error) {
		return UDPSent{}, fmt.Errorf("send UDP from %s to %s: %w", h.name, o.To, err)
	}
	o.Flows = max(o.Flows, 1)
	if o.Size == 0 {
		o.Size = udpSizeMin
	}
	if o.Size < udpHeaderBytes || o.Size > 65507 {
		return fail(fmt.Errorf("%d bytes of payload", o.Size))
	}
	s := &udpSender{options: o, buffers: newDatagrams(o.Size), next: make([]uint64, o.Flows)}
	defer s.close()
	for i := range o.Flows {
		socket, err := h.openUDPSender(o, i)
		if err != nil {
			return fail(err)
		}
		s.sockets = append(s.sockets, socket)
	}
	var err error
	onSideThread(func() bool {
		// Sleep as exactly as the kernel can (the default slack is 50 µs). The thread keeps that, so it dies.
		_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
		err = s.run(ctx)
		return false
	})
	if err != nil {
		_, err = fail(err)
	}
	return s.sent, err
}

func (h *Host) openUDPSender(o UDPOptions, flow int) (*socket, error) {
	ipv6 := o.To.Addr().Is6()
	return h.openSocket(domainOf(ipv6), unix.SOCK_DGRAM, 0, func(fd int) error {
		if err := o.apply(fd, ipv6); err != nil {
			return err
		}
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 4<<20); err != nil {
			return fmt.Errorf("set send buffer: %w", err)
		}
		if o.Source.IsValid() || o.SourcePort != 0 {
			source, port := o.Source, o.SourcePort
			if !source.IsValid() {
				source = netip.IPv4Unspecified()
				if ipv6 {
					source = netip.IPv6Unspecified()
				}
			}
			if port != 0 {
				port += uint16(flow)
			}
			if err := unix.Bind(fd, sockaddr(netip.AddrPortFrom(source, port))); err != nil {
				return fmt.Errorf("bind to %s port %d: %w", source, port, err)
			}
		}
		if err := unix.Connect(fd, sockaddr(o.To)); err != nil {
			return fmt.Errorf("connect to %s: %w", o.To, err)
		}
		return nil
	})
}

// udpSender is one stream while it runs.
type udpSender struct {
	options UDPOptions
	sockets []*socket // by flow
	next    []uint64  // by flow: sequence number
	turn    int       // flow whose turn it is
	buffers *datagrams
	sent    UDPSent
}

func (s *udpSender) close() {
	for _, socket := range s.sockets {
		_ = socket.close()
	}
}

func (s *udpSender) run(ctx context.Context) error {
	start := time.Now()
	defer func() {
		s.sent.Duration = time.Since(start)
		if s.options.Rate > 0 && s.sent.Packets > 0 { // the last packet's slot counts too
			slots := time.Duration(float64(s.sent.Packets) / s.options.Rate * float64(time.Second))
			s.sent.Duration = max(s.sent.Duration, slots)
		}
		s.sent.Flows = make(map[uint32]uint64, len(s.next))
		for i, n := range s.next {
			s.sent.Flows[s.options.Flow+uint32(i)] = n
		}
	}()
	for ctx.Err() == nil {
		elapsed := time.Since(start)
		if s.options.Duration > 0 && elapsed >= s.options.Duration {
			return nil
		}
		due := uint64(datagramBatch)
		if s.options.Rate > 0 {
			begun := uint64(elapsed.Seconds()*s.options.Rate) + 1 // slots that have begun
			due = begun - min(begun, s.sent.Packets)
		}
		if s.options.Count > 0 {
			if s.sent.Packets >= s.options.Count {
				return nil
			}
			due = min(due, s.options.Count-s.sent.Packets)
		}
		if due == 0 {
			s.sleepUntil(start.Add(time.Duration(float64(s.sent.Packets) / s.options.Rate * float64(time.Second))))
			continue
		}
		if err := s.burst(int(min(due, datagramBatch))); err != nil {
			return err
		}
	}
	return nil // asked to end: what was sent is the answer
}

// sleepUntil sleeps in the thread: Go's timers would add a wake-up of another one. Long sleeps are cut, for ctx.
func (s *udpSender) sleepUntil(t time.Time) {
	if d := min(time.Until(t), 20*time.Millisecond); d > 0 {
		ts := unix.NsecToTimespec(int64(d))
		_ = unix.Nanosleep(&ts, nil)
	}
}

// burst sends n datagrams, flows taking turns: each flow's share leaves in one system call, if the kernel takes it.
func (s *udpSender) burst(n int) error {
	flows := len(s.sockets)
	for k := range min(flows, n) {
		share := (n - k + flows - 1) / flows
		if err := s.sendFlow((s.turn+k)%flows, share); err != nil {
			return err
		}
	}
	s.turn = (s.turn + n) % flows
	return nil
}

func (s *udpSender) sendFlow(flow, n int) error {
	for i := range n {
		putDatagram(s.buffers.data[i], s.options.Flow+uint32(flow), s.next[flow]+uint64(i))
	}
	for first := 0; first < n; {
		var sent int
		var err error
		controlErr := s.sockets[flow].raw.Control(func(fd uintptr) {
			sent, err = s.buffers.send(int(fd), first, n-first)
		})
		if controlErr != nil {
			return controlErr
		}
		first += sent
		s.next[flow] += uint64(sent)
		s.sent.Packets += uint64(sent)
		switch {
		case err == nil || errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.ENOBUFS):
			s.sent.Full++
			return nil // the pacing comes back to it
		case errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, unix.EHOSTUNREACH) || errors.Is(err, unix.ENETUNREACH) ||
			errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPROTO) || errors.Is(err, unix.ENOPROTOOPT):
			if s.sent.Refused++; s.sent.Refused > 1000 && s.sent.Packets == 0 {
				return err // no route at all: it is not what came back
			}
		default:
			return err
		}
	}
	return nil
}
