package oracle

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"weir/perf/lab"
)

// routeSocket talks rtnetlink(7) to the kernel of one namespace. It belongs to one goroutine.
type routeSocket struct {
	fd       int
	sequence uint32
	buffer   []byte
}

func openRouteSocket(t testing.TB, h *lab.Host) *routeSocket {
	t.Helper()
	s := &routeSocket{fd: -1, buffer: make([]byte, 1<<20)}
	check(t, h.Do(func() (err error) {
		s.fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
		return err
	}))
	t.Cleanup(func() { check(t, unix.Close(s.fd)) })
	check(t,
		unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20),
		unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 8<<20),
		unix.SetsockoptInt(s.fd, unix.SOL_NETLINK, unix.NETLINK_EXT_ACK, 1),
		unix.SetsockoptInt(s.fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1),
		unix.SetsockoptTimeval(s.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 60}))
	return s
}

// message is a request: header, family header, attributes.
type message []byte

// newMessage begins a request with the family header behind the netlink header, which do completes.
func newMessage(kind uint16, flags uint16, family []byte) message {
	m := make(message, unix.NLMSG_HDRLEN, 256)
	binary.NativeEndian.PutUint16(m[4:], kind)
	binary.NativeEndian.PutUint16(m[6:], flags|unix.NLM_F_REQUEST)
	return append(m, family...)
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

func (m message) addr(kind uint16, a netip.Addr) message { return m.bytes(kind, a.AsSlice()) }
func (m message) u8(kind uint16, v uint8) message        { return m.bytes(kind, []byte{v}) }
func (m message) u16(kind uint16, v uint16) message {
	return m.bytes(kind, binary.NativeEndian.AppendUint16(nil, v))
}
func (m message) u32(kind uint16, v uint32) message {
	return m.bytes(kind, binary.NativeEndian.AppendUint32(nil, v))
}
func (m message) be16(kind uint16, v uint16) message {
	return m.bytes(kind, binary.BigEndian.AppendUint16(nil, v))
}
func (m message) be32(kind uint16, v uint32) message {
	return m.bytes(kind, binary.BigEndian.AppendUint32(nil, v))
}
func (m message) text(kind uint16, v string) message { return m.bytes(kind, append([]byte(v), 0)) }

// reply is what the kernel answered to one request.
type reply struct {
	errno unix.Errno
	why   string // in the kernel's words
	data  []byte // family header and attributes of the last message
}

// do sends requests together and returns the answer to each: one message, or an acknowledgement.
func (s *routeSocket) do(requests []message) ([]reply, error) {
	const together = 64 // requests in one system call, whose answers fit into the receive buffer
	var replies []reply
	for len(requests) > 0 {
		n := min(together, len(requests))
		some, err := s.batch(requests[:n])
		if err != nil {
			return nil, err
		}
		replies, requests = append(replies, some...), requests[n:]
	}
	return replies, nil
}

func (s *routeSocket) batch(requests []message) ([]reply, error) {
	first := s.sequence + 1
	var out []byte
	for _, m := range requests {
		s.sequence++
		binary.NativeEndian.PutUint32(m[0:], uint32(len(m)))
		binary.NativeEndian.PutUint32(m[8:], s.sequence)
		out = append(out, m...)
	}
	if err := unix.Sendto(s.fd, out, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, fmt.Errorf("send to netlink: %w", err)
	}
	replies := make([]reply, len(requests))
	for open := len(requests); open > 0; {
		n, _, err := unix.Recvfrom(s.fd, s.buffer, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("receive from netlink: %w", err)
		}
		for b := s.buffer[:n]; len(b) >= unix.NLMSG_HDRLEN; {
			length := int(binary.NativeEndian.Uint32(b))
			kind, flags, index := binary.NativeEndian.Uint16(b[4:]), binary.NativeEndian.Uint16(b[6:]), binary.NativeEndian.Uint32(b[8:])-first
			body := b[unix.NLMSG_HDRLEN:length]
			b = b[min(len(b), (length+3)&^3):]
			if index >= uint32(len(replies)) {
				continue // left over from an earlier error
			}
			r := &replies[index]
			open--
			if kind != unix.NLMSG_ERROR {
				r.data = append([]byte(nil), body...)
				continue
			}
			r.errno = unix.Errno(-int32(binary.NativeEndian.Uint32(body)))
			if flags&unix.NLM_F_ACK_TLVS != 0 { // behind the error and the request's header
				r.why = string(attributes(body[4+unix.NLMSG_HDRLEN:])[unix.NLMSGERR_ATTR_MSG])
			}
		}
	}
	return replies, nil
}

// attributes of a message by type; of several of one type the last.
func attributes(b []byte) map[uint16][]byte {
	list := make(map[uint16][]byte, 8)
	for len(b) >= unix.SizeofRtAttr {
		length := int(binary.NativeEndian.Uint16(b))
		if length < unix.SizeofRtAttr || length > len(b) {
			break
		}
		list[binary.NativeEndian.Uint16(b[2:])&^unix.NLA_F_NESTED] = b[unix.SizeofRtAttr:length]
		b = b[min(len(b), (length+3)&^3):]
	}
	return list
}
