package appliance

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// routeSocket talks rtnetlink(7) about rules and routes, many requests to a system call. vishvananda/netlink does one to a
// call, and lacks attributes of rules (DSCP, masks of ports, flow labels). It belongs to one goroutine, and to the
// network namespace that it was opened in.
type routeSocket struct {
	fd       int
	sequence uint32
	out      []byte
	in       []byte
}

// Sizes of a routeSocket. The receive buffer of the kernel has to hold a refusal of every request of a system call.
const (
	requestBytes  = 64 << 10 // of the requests in one system call
	requestsMost  = 1024     // requests in one system call
	receiveBuffer = 8 << 20
	answerBytes   = 256 << 10 // more than the kernel puts into one message of a dump
)

func openRouteSocket() (*routeSocket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 4*requestBytes),
		unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_EXT_ACK, 1),
		unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1),
		unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_GET_STRICT_CHK, 1), // dumps of one protocol or table
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 30}))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("set up netlink: %w", err), unix.Close(fd))
	}
	return &routeSocket{fd: fd, in: make([]byte, answerBytes)}, nil
}

func (s *routeSocket) close() error { return unix.Close(s.fd) }

// message is requests for the kernel in the making: each a header, the header of its family, attributes.
type message []byte

// begin starts a request. The header that follows it is that of a route or a rule, which are of one size.
func (m message) begin(kind, flags uint16, header [unix.SizeofRtMsg]byte) message {
	m = binary.NativeEndian.AppendUint32(m, 0) // end fills it in
	m = binary.NativeEndian.AppendUint16(m, kind)
	m = binary.NativeEndian.AppendUint16(m, flags|unix.NLM_F_REQUEST)
	m = append(m, make([]byte, 8)...) // sequence number and port
	return append(m, header[:]...)
}

// end completes the request that began at start.
func (m message) end(start int, sequence uint32) {
	binary.NativeEndian.PutUint32(m[start:], uint32(len(m)-start))
	binary.NativeEndian.PutUint32(m[start+8:], sequence)
}

func (m message) bytes(kind uint16, value []byte) message {
	m = binary.NativeEndian.AppendUint16(m, uint16(unix.SizeofRtAttr+len(value)))
	m = binary.NativeEndian.AppendUint16(m, kind)
	m = append(m, value...)
	for len(m)%unix.NLMSG_ALIGNTO != 0 {
		m = append(m, 0)
	}
	return m
}

// nest makes what add appends one attribute.
func (m message) nest(kind uint16, add func(message) message) message {
	start := len(m)
	m = add(append(m, 0, 0, 0, 0))
	binary.NativeEndian.PutUint16(m[start:], uint16(len(m)-start))
	binary.NativeEndian.PutUint16(m[start+2:], kind)
	return m
}

func (m message) addr(kind uint16, a netip.Addr) message { return m.bytes(kind, a.AsSlice()) }
func (m message) u8(kind uint16, v uint8) message        { return m.bytes(kind, []byte{v}) }
func (m message) u16(kind uint16, v uint16) message {
	return m.bytes(kind, binary.NativeEndian.AppendUint16(nil, v))
}
func (m message) u32(kind uint16, v uint32) message {
	return m.bytes(kind, binary.NativeEndian.AppendUint32(nil, v))
}
func (m message) be32(kind uint16, v uint32) message {
	return m.bytes(kind, binary.BigEndian.AppendUint32(nil, v))
}

// refusal is the kernel's no to one of several requests.
type refusal struct {
	index int
	errno unix.Errno
	why   string // in the kernel's words, if it has any
}

func (r *refusal) Error() string {
	if r.why != "" {
		return fmt.Sprintf("%v (%s)", r.errno, r.why)
	}
	return r.errno.Error()
}

// do makes n requests in order, of which request appends the one of an index, and returns those that the kernel refused.
func (s *routeSocket) do(n int, request func(m message, index int) message) (refused []refusal, err error) {
	for done := 0; done < n; {
		s.out = s.out[:0]
		first, last := s.sequence+1, 0
		base := done
		for done < n && done-base < requestsMost && len(s.out) < requestBytes {
			last = len(s.out)
			m := request(s.out, done)
			s.sequence++
			m.end(last, s.sequence)
			s.out, done = m, done+1
		}
		// The kernel works off what it is sent in order and tells of every refusal; the last one it acknowledges.
		flags := binary.NativeEndian.Uint16(s.out[last+6:])
		binary.NativeEndian.PutUint16(s.out[last+6:], flags|unix.NLM_F_ACK)
		if err := s.send(); err != nil {
			return refused, err
		}
		for over := false; !over; {
			err := s.receive(func(kind, flags uint16, sequence uint32, body []byte) error {
				if kind != unix.NLMSG_ERROR || sequence-first >= uint32(done-base) {
					return nil
				}
				over = over || sequence == s.sequence
				if r := parseRefusal(flags, body); r.errno != 0 {
					r.index = base + int(sequence-first)
					refused = append(refused, r)
				}
				return nil
			})
			if err != nil {
				return refused, err
			}
		}
	}
	return refused, nil
}

func parseRefusal(flags uint16, body []byte) refusal {
	const head = 4 + unix.NLMSG_HDRLEN // the error and the header of the request
	if len(body) < head {
		return refusal{errno: unix.EBADMSG}
	}
	r := refusal{errno: unix.Errno(-int32(binary.NativeEndian.Uint32(body)))}
	if flags&unix.NLM_F_ACK_TLVS != 0 {
		for kind, value := range attributes(body[head:]) {
			if kind == unix.NLMSGERR_ATTR_MSG {
				r.why = unix.ByteSliceToString(value)
			}
		}
	}
	return r
}

// errInterrupted is that of a dump during which what it shows has changed.
var errInterrupted = errors.New("dump interrupted")

// dump asks for all routes or rules and visits each one's body. A dump that a change has interrupted begins again, after
// reset.
func (s *routeSocket) dump(kind uint16, header [unix.SizeofRtMsg]byte, more func(message) message, reset func(), visit func(body []byte) error) error {
	const attempts = 10
	for range attempts {
		reset()
		err := s.dumpOnce(kind, header, more, visit)
		if !errors.Is(err, errInterrupted) {
			return err
		}
	}
	return errInterrupted
}

func (s *routeSocket) dumpOnce(kind uint16, header [unix.SizeofRtMsg]byte, more func(message) message, visit func(body []byte) error) error {
	m := more(message(s.out[:0]).begin(kind, unix.NLM_F_DUMP, header))
	s.sequence++
	m.end(0, s.sequence)
	s.out = m
	if err := s.send(); err != nil {
		return err
	}
	interrupted := false
	for over := false; !over; {
		err := s.receive(func(kind, flags uint16, sequence uint32, body []byte) error {
			if sequence != s.sequence {
				return nil
			}
			interrupted = interrupted || flags&unix.NLM_F_DUMP_INTR != 0
			switch kind {
			case unix.NLMSG_DONE, unix.NLMSG_ERROR:
				over = true
				if len(body) >= 4 {
					if errno := unix.Errno(-int32(binary.NativeEndian.Uint32(body))); errno != 0 {
						return fmt.Errorf("dump: %w", errno)
					}
				}
				return nil
			}
			if len(body) < unix.SizeofRtMsg {
				return unix.EBADMSG
			}
			return visit(body)
		})
		if err != nil {
			return err
		}
	}
	if interrupted {
		return errInterrupted
	}
	return nil
}

func (s *routeSocket) send() error {
	if err := unix.Sendto(s.fd, s.out, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("send to netlink: %w", err)
	}
	return nil
}

// receive visits the messages of one datagram.
func (s *routeSocket) receive(visit func(kind, flags uint16, sequence uint32, body []byte) error) error {
	n, _, err := unix.Recvfrom(s.fd, s.in, 0)
	if errors.Is(err, unix.EINTR) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("receive from netlink: %w", err)
	}
	for b := s.in[:n]; len(b) >= unix.NLMSG_HDRLEN; {
		length := int(binary.NativeEndian.Uint32(b))
		if length < unix.NLMSG_HDRLEN || length > len(b) {
			return fmt.Errorf("receive from netlink: %w", unix.EBADMSG)
		}
		kind, flags, sequence := binary.NativeEndian.Uint16(b[4:]), binary.NativeEndian.Uint16(b[6:]), binary.NativeEndian.Uint32(b[8:])
		if err := visit(kind, flags, sequence, b[unix.NLMSG_HDRLEN:length]); err != nil {
			return err
		}
		b = b[min(len(b), (length+3)&^3):]
	}
	return nil
}

// attributes yields the attributes of a message.
func attributes(b []byte) func(yield func(kind uint16, value []byte) bool) {
	return func(yield func(uint16, []byte) bool) {
		for len(b) >= unix.SizeofRtAttr {
			length := int(binary.NativeEndian.Uint16(b))
			if length < unix.SizeofRtAttr || length > len(b) || !yield(binary.NativeEndian.Uint16(b[2:])&^unix.NLA_F_NESTED, b[unix.SizeofRtAttr:length]) {
				return
			}
			b = b[min(len(b), (length+3)&^3):]
		}
	}
}

// number reads an attribute that is a number of the machine's byte order.
func number(b []byte) uint32 {
	switch len(b) {
	case 1:
		return uint32(b[0])
	case 2:
		return uint32(binary.NativeEndian.Uint16(b))
	case 4:
		return binary.NativeEndian.Uint32(b)
	}
	return 0
}
