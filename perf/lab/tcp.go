package lab

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A transfer on the wire, big endian: the client sends a header of seed (8 bytes) and length (8 bytes), then that
// much random content. The server, which makes the same content from the seed, compares every byte, and answers with
// a status byte (0: equal), the offset of the first difference (8 bytes), and its host's name to the end of the stream.
const tcpHeaderBytes = 16

// tcpBlock is how much content is made, sent and compared at once.
const tcpBlock = 64 << 10

// ErrContent is wrapped where the bytes that arrived are not those that were sent.
var ErrContent = errors.New("content differs")

// TCPServer receives transfers from Host.SendTCP and checks every byte.
type TCPServer struct {
	host     *Host
	listener net.Listener
	forget   func()
	received chan TCPReceived
	handlers sync.WaitGroup

	mu     sync.Mutex
	open   map[net.Conn]struct{}
	closed bool
}

// TCPReceived is one transfer as its server saw it.
type TCPReceived struct {
	From, To netip.AddrPort
	Bytes    int64
	Err      error // ErrContent, or what ended the connection too early
}

// ListenTCP starts a server on an address of the host. Port 0 is the kernel's choice.
func (h *Host) ListenTCP(address netip.AddrPort) (*TCPServer, error) {
	s := &TCPServer{host: h, received: make(chan TCPReceived, 1024), open: make(map[net.Conn]struct{})}
	err := h.Do(func() (err error) {
		s.listener, err = net.Listen("tcp", address.String())
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listen in %s: %w", h.name, err)
	}
	s.handlers.Go(s.accept)
	if s.forget, err = h.lab.onClose(s.Close); err != nil {
		return nil, err
	}
	return s, nil
}

// Address is where the server listens.
func (s *TCPServer) Address() netip.AddrPort {
	return s.listener.Addr().(*net.TCPAddr).AddrPort()
}

// Received delivers finished transfers; of those that nobody takes, the first 1,024 are kept. It is closed by Close.
func (s *TCPServer) Received() <-chan TCPReceived { return s.received }

// Close ends the server and its connections.
func (s *TCPServer) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	err := s.listener.Close()
	for c := range s.open {
		_ = c.Close()
	}
	s.mu.Unlock()
	s.handlers.Wait()
	close(s.received)
	if s.forget != nil {
		s.forget()
	}
	return err
}

func (s *TCPServer) accept() {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return // closed
		}
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			_ = conn.Close()
			return
		}
		s.open[conn] = struct{}{}
		s.mu.Unlock()
		s.handlers.Go(func() { s.serve(conn) })
	}
}

func (s *TCPServer) serve(conn net.Conn) {
	defer func() {
		_ = conn.Close()
		s.mu.Lock()
		delete(s.open, conn)
		s.mu.Unlock()
	}()
	r := TCPReceived{
		From: conn.RemoteAddr().(*net.TCPAddr).AddrPort(),
		To:   conn.LocalAddr().(*net.TCPAddr).AddrPort(),
	}
	var difference int64
	r.Bytes, difference, r.Err = receiveContent(conn)
	answer := make([]byte, 9, 64)
	if r.Err != nil {
		answer[0] = 1
	}
	binary.BigEndian.PutUint64(answer[1:], uint64(difference))
	if _, err := conn.Write(append(answer, s.host.name...)); err != nil && r.Err == nil {
		r.Err = err
	}
	select {
	case s.received <- r:
	default: // nobody counts that many
	}
}

// receiveContent reads a header and the content, and compares. difference is the offset of the first wrong byte.
func receiveContent(r io.Reader) (received, difference int64, err error) {
	var header [tcpHeaderBytes]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return 0, 0, fmt.Errorf("read header: %w", err)
	}
	source := newContent(binary.BigEndian.Uint64(header[:]))
	length := int64(binary.BigEndian.Uint64(header[8:]))
	got, want := make([]byte, tcpBlock), make([]byte, tcpBlock)
	for received < length {
		n := min(tcpBlock, length-received)
		m, err := io.ReadFull(r, got[:n])
		source.fill(want[:n])
		if !bytes.Equal(got[:m], want[:m]) {
			at := 0
			for got[at] == want[at] {
				at++
			}
			return received + int64(m), received + int64(at), fmt.Errorf("%w at byte %d", ErrContent, received+int64(at))
		}
		received += int64(m)
		if err != nil {
			return received, received, fmt.Errorf("read content: %w", err)
		}
	}
	return received, 0, nil
}

// content is a stream of random bytes that its seed determines.
type content struct{ random *rand.ChaCha8 }

func newContent(seed uint64) content {
	var key [32]byte
	binary.BigEndian.PutUint64(key[:], seed)
	return content{rand.NewChaCha8(key)}
}

// fill writes the next bytes. All calls but the last must be for a multiple of eight bytes.
func (c content) fill(b []byte) { _, _ = c.random.Read(b) }

// TCPOptions describe a transfer.
type TCPOptions struct {
	IPOptions
	To         netip.AddrPort
	SourcePort uint16 // 0: the kernel's choice
	Bytes      int64
	Seed       uint64        // of the content; 0: random
	Timeout    time.Duration // of the whole transfer; 0: 30 s
}

// TCPResult is a transfer as its client saw it.
type TCPResult struct {
	From, To    netip.AddrPort
	Server      string // name of the host that received it, from its own answer
	Bytes       int64
	Duration    time.Duration // from the first byte sent to the server's answer, without the handshake
	Retransmits uint32        // segments
}

// BitsPerSecond is the throughput of the content.
func (r TCPResult) BitsPerSecond() float64 {
	if r.Duration <= 0 {
		return 0
	}
	return float64(r.Bytes) * 8 / r.Duration.Seconds()
}

// SendTCP sends random content to a TCPServer and waits for its answer: an error wraps ErrContent if a byte arrived
// wrong, and unix.ECONNREFUSED, unix.EHOSTUNREACH, unix.EACCES and so on as ICMP errors make the kernel report them.
func (h *Host) SendTCP(ctx context.Context, o TCPOptions) (TCPResult, error) {
	result, err := h.sendTCP(ctx, o)
	if err != nil {
		return result, fmt.Errorf("send %d bytes from %s to %s: %w", o.Bytes, h.name, o.To, err)
	}
	return result, nil
}

func (h *Host) sendTCP(ctx context.Context, o TCPOptions) (TCPResult, error) {
	if o.Timeout == 0 {
		o.Timeout = 30 * time.Second
	}
	if o.Seed == 0 {
		o.Seed = rand.Uint64()
	}
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	conn, err := h.dialTCP(ctx, o)
	if err != nil {
		return TCPResult{}, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()

	result := TCPResult{From: conn.LocalAddr().(*net.TCPAddr).AddrPort(), To: o.To}
	start := time.Now()
	header := binary.BigEndian.AppendUint64(nil, o.Seed)
	header = binary.BigEndian.AppendUint64(header, uint64(o.Bytes))
	if _, err := conn.Write(header); err != nil {
		return result, fmt.Errorf("write header: %w", err)
	}
	source, block := newContent(o.Seed), make([]byte, tcpBlock)
	for result.Bytes < o.Bytes {
		n := min(tcpBlock, o.Bytes-result.Bytes)
		source.fill(block[:n])
		if _, err = conn.Write(block[:n]); err != nil {
			break // the server's answer, if any, says more
		}
		result.Bytes += n
	}
	_ = conn.CloseWrite()
	answer, readErr := io.ReadAll(io.LimitReader(conn, 1024))
	result.Duration = time.Since(start)
	result.Retransmits = retransmits(conn)
	if len(answer) < 9 {
		return result, errors.Join(err, readErr, errors.New("no answer from the server"))
	}
	result.Server = string(answer[9:])
	if answer[0] != 0 {
		return result, fmt.Errorf("%w at byte %d, says %s", ErrContent, binary.BigEndian.Uint64(answer[1:]), result.Server)
	}
	return result, errors.Join(err, readErr)
}

func (h *Host) dialTCP(ctx context.Context, o TCPOptions) (*net.TCPConn, error) {
	ipv6 := o.To.Addr().Is6()
	dialer := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
		var err error
		controlErr := raw.Control(func(fd uintptr) {
			err = errors.Join(o.apply(int(fd), ipv6), unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1))
		})
		return errors.Join(controlErr, err)
	}}
	if o.Source.IsValid() || o.SourcePort != 0 {
		source := o.Source
		if !source.IsValid() {
			source = netip.IPv4Unspecified()
			if ipv6 {
				source = netip.IPv6Unspecified()
			}
		}
		dialer.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(source, o.SourcePort))
	}
	var conn net.Conn
	err := h.Do(func() (err error) {
		conn, err = dialer.DialContext(ctx, "tcp", o.To.String())
		return err
	})
	if err != nil {
		return nil, err
	}
	return conn.(*net.TCPConn), nil
}

func retransmits(conn *net.TCPConn) uint32 {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0
	}
	var n uint32
	_ = raw.Control(func(fd uintptr) {
		if info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			n = info.Total_retrans
		}
	})
	return n
}
