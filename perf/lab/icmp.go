package lab

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// ICMP and ICMPv6 message types that the tools know.
const (
	ICMPEchoReply    = 0
	ICMPUnreachable  = 3
	ICMPRedirect     = 5
	ICMPEchoRequest  = 8
	ICMPTimeExceeded = 11
	ICMPParameter    = 12

	ICMPv6Unreachable  = 1
	ICMPv6TooBig       = 2
	ICMPv6TimeExceeded = 3
	ICMPv6Parameter    = 4
	ICMPv6EchoRequest  = 128
	ICMPv6EchoReply    = 129
	ICMPv6Redirect     = 137
)

// ICMP is a message as a host received it.
type ICMP struct {
	From, To   netip.Addr
	Type, Code uint8
	TTL        int    // or hop limit, on arrival
	TOS        int    // or traffic class, on arrival
	Rest       uint32 // bytes 4 to 7: identifier and sequence of an echo, MTU of "too big" (IPv4: its lower half)
	Body       []byte // behind these eight bytes
	Quoted     Quoted // of an error: the packet it is about
	Time       time.Time
}

// Quoted is the packet inside an ICMP error, as far as it was quoted.
type Quoted struct {
	Valid            bool
	From, To         netip.Addr
	Protocol         uint8
	Sport, Dport     uint16 // of TCP and UDP
	EchoID, EchoSeq  uint16 // of an echo request
	HeaderTTL, Bytes int    // its TTL, and how much of it was quoted
}

// IsError tells errors from informational messages.
func (m *ICMP) IsError() bool {
	if m.From.Is6() {
		return m.Type < 128
	}
	switch m.Type {
	case ICMPUnreachable, 4, ICMPRedirect, ICMPTimeExceeded, ICMPParameter:
		return true
	}
	return false
}

// ID and Seq are those of an echo request or reply.
func (m *ICMP) ID() uint16  { return uint16(m.Rest >> 16) }
func (m *ICMP) Seq() uint16 { return uint16(m.Rest) }

// MTU is that of "fragmentation needed" or "too big", else meaningless.
func (m *ICMP) MTU() int {
	if m.From.Is6() {
		return int(m.Rest)
	}
	return int(m.Rest & 0xffff)
}

// String is "3/13 from 192.0.2.1".
func (m *ICMP) String() string { return fmt.Sprintf("%d/%d from %s", m.Type, m.Code, m.From) }

// ICMPListener receives every ICMP (or ICMPv6) message that arrives at a host, requests included.
type ICMPListener struct {
	host   *Host
	ipv6   bool
	socket *socket
	buffer []byte
	oob    []byte
}

// ListenICMP opens a listener for ICMP, or ICMPv6. Messages are queued from now on.
func (h *Host) ListenICMP(ipv6 bool) (*ICMPListener, error) {
	return h.listenICMP(ipv6, IPOptions{})
}

func (h *Host) listenICMP(ipv6 bool, o IPOptions) (*ICMPListener, error) {
	protocol := unix.IPPROTO_ICMP
	if ipv6 {
		protocol = unix.IPPROTO_ICMPV6
	}
	s, err := h.openSocket(domainOf(ipv6), unix.SOCK_RAW, protocol, func(fd int) error {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 4<<20); err != nil {
			return fmt.Errorf("set receive buffer: %w", err)
		}
		if ipv6 { // what an IPv4 raw socket sees in the header comes beside the message here
			for _, name := range []int{unix.IPV6_RECVPKTINFO, unix.IPV6_RECVHOPLIMIT, unix.IPV6_RECVTCLASS} {
				if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, name, 1); err != nil {
					return fmt.Errorf("ask for packet information: %w", err)
				}
			}
		}
		if err := o.apply(fd, ipv6); err != nil {
			return err
		}
		if o.Source.IsValid() {
			if err := unix.Bind(fd, sockaddr(netip.AddrPortFrom(o.Source, 0))); err != nil {
				return fmt.Errorf("bind to %s: %w", o.Source, err)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("listen for ICMP in %s: %w", h.name, err)
	}
	return &ICMPListener{host: h, ipv6: ipv6, socket: s, buffer: make([]byte, 1<<16), oob: make([]byte, 256)}, nil
}

// Next returns the next message, waiting for it.
func (l *ICMPListener) Next(ctx context.Context) (ICMP, error) {
	for {
		var n, oobn int
		var from unix.Sockaddr
		err := l.socket.read(ctx, func(fd int) (err error) {
			n, oobn, _, from, err = unix.Recvmsg(fd, l.buffer, l.oob, 0)
			return err
		})
		if err != nil {
			return ICMP{}, fmt.Errorf("receive ICMP in %s: %w", l.host.name, err)
		}
		m := ICMP{From: addrPort(from).Addr(), Time: time.Now()}
		body := append([]byte(nil), l.buffer[:n]...)
		if l.ipv6 {
			m.readControl(l.oob[:oobn])
		} else if body = m.readHeader(body); body == nil {
			continue
		}
		if m.parse(body) {
			return m, nil
		}
	}
}

// Close ends the listening.
func (l *ICMPListener) Close() error { return l.socket.close() }

// readHeader takes what it wants from the IPv4 header and returns what is behind it.
func (m *ICMP) readHeader(packet []byte) []byte {
	if len(packet) < 20 || len(packet) < int(packet[0]&15)*4 {
		return nil
	}
	m.TOS, m.TTL = int(packet[1]), int(packet[8])
	m.To = netip.AddrFrom4([4]byte(packet[16:20]))
	return packet[int(packet[0]&15)*4:]
}

func (m *ICMP) readControl(oob []byte) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return
	}
	for _, c := range messages {
		if c.Header.Level != unix.IPPROTO_IPV6 {
			continue
		}
		switch {
		case c.Header.Type == unix.IPV6_PKTINFO && len(c.Data) >= 16:
			m.To = netip.AddrFrom16([16]byte(c.Data[:16]))
		case c.Header.Type == unix.IPV6_HOPLIMIT && len(c.Data) >= 4:
			m.TTL = int(binary.NativeEndian.Uint32(c.Data))
		case c.Header.Type == unix.IPV6_TCLASS && len(c.Data) >= 4:
			m.TOS = int(binary.NativeEndian.Uint32(c.Data))
		}
	}
}

func (m *ICMP) parse(b []byte) bool {
	if len(b) < 8 {
		return false
	}
	m.Type, m.Code = b[0], b[1]
	m.Rest = binary.BigEndian.Uint32(b[4:])
	m.Body = b[8:]
	if m.IsError() {
		m.Quoted = parseQuoted(m.Body)
	}
	return true
}

func parseQuoted(b []byte) Quoted {
	q := Quoted{Bytes: len(b)}
	var rest []byte
	switch {
	case len(b) >= 20 && b[0]>>4 == 4:
		q.From, q.To = netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20]))
		q.Protocol, q.HeaderTTL = b[9], int(b[8])
		if n := int(b[0]&15) * 4; n <= len(b) {
			rest = b[n:]
		}
	case len(b) >= 40 && b[0]>>4 == 6:
		q.From, q.To = netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40]))
		q.Protocol, q.HeaderTTL = b[6], int(b[7])
		rest = b[40:]
	default:
		return q
	}
	q.Valid = true
	if len(rest) < 8 {
		return q
	}
	switch q.Protocol {
	case unix.IPPROTO_TCP, unix.IPPROTO_UDP:
		q.Sport, q.Dport = binary.BigEndian.Uint16(rest), binary.BigEndian.Uint16(rest[2:])
	case unix.IPPROTO_ICMP, unix.IPPROTO_ICMPV6:
		q.EchoID, q.EchoSeq = binary.BigEndian.Uint16(rest[4:]), binary.BigEndian.Uint16(rest[6:])
	}
	return q
}
