package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// IPOptions set header fields of what a traffic tool sends. Zero values are the kernel's defaults.
type IPOptions struct {
	Source       netip.Addr
	Device       string // send through this device only
	TOS          int    // IPv4 TOS or IPv6 traffic class, with the ECN bits
	TTL          int    // or hop limit
	DontFragment bool   // and disregard what is known of the path's MTU
	DiscoverMTU  bool   // of the path, as IPv4 hosts do where nobody tells them otherwise; else packets may be fragmented
}

// apply sets the options on a socket of the address family.
func (o IPOptions) apply(fd int, ipv6 bool) error {
	type option struct{ level, name, value int }
	var set []option
	if ipv6 {
		if o.TOS != 0 {
			set = append(set, option{unix.IPPROTO_IPV6, unix.IPV6_TCLASS, o.TOS})
		}
		if o.TTL != 0 {
			set = append(set, option{unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, o.TTL})
		}
		if o.DontFragment {
			set = append(set, option{unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE},
				option{unix.IPPROTO_IPV6, unix.IPV6_DONTFRAG, 1})
		}
	} else {
		if o.TOS != 0 {
			set = append(set, option{unix.IPPROTO_IP, unix.IP_TOS, o.TOS})
		}
		if o.TTL != 0 {
			set = append(set, option{unix.IPPROTO_IP, unix.IP_TTL, o.TTL})
		}
		discover := unix.IP_PMTUDISC_DONT
		switch {
		case o.DontFragment:
			discover = unix.IP_PMTUDISC_PROBE
		case o.DiscoverMTU:
			discover = unix.IP_PMTUDISC_WANT
		}
		set = append(set, option{unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, discover})
	}
	for _, s := range set {
		if err := unix.SetsockoptInt(fd, s.level, s.name, s.value); err != nil {
			return fmt.Errorf("set socket option %d/%d to %d: %w", s.level, s.name, s.value, err)
		}
	}
	if o.Device != "" {
		if err := unix.BindToDevice(fd, o.Device); err != nil {
			return fmt.Errorf("bind to device %s: %w", o.Device, err)
		}
	}
	return nil
}

// socket is a non-blocking socket of a host, with waiting done by Go's poller. One goroutine may read and one may
// write at the same time. The laboratory closes it if nobody else does.
type socket struct {
	file   *os.File
	raw    syscall.RawConn
	forget func()
}

// openSocket opens a socket inside the host and lets prepare bind it and set its options.
func (h *Host) openSocket(domain, kind, protocol int, prepare func(fd int) error) (*socket, error) {
	fd := -1
	err := h.Do(func() (err error) {
		fd, err = unix.Socket(domain, kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, protocol)
		if err != nil {
			return fmt.Errorf("open socket: %w", err)
		}
		if err := prepare(fd); err != nil {
			_ = unix.Close(fd)
			return err
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return h.lab.adopt(fd, "socket")
}

// adopt makes a socket of a non-blocking descriptor, and owns it from then on.
func (l *Lab) adopt(fd int, name string) (*socket, error) {
	s := &socket{file: os.NewFile(uintptr(fd), name)}
	raw, err := s.file.SyscallConn()
	if err != nil {
		return nil, errors.Join(err, s.file.Close())
	}
	s.raw = raw
	forget, err := l.onClose(s.shut)
	if err != nil {
		return nil, err
	}
	s.forget = forget
	return s, nil
}

// close closes the socket. Closing twice is no error.
func (s *socket) close() error {
	s.forget()
	return s.shut()
}

func (s *socket) shut() error {
	if err := s.file.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}

// read calls f when the socket is readable, until f's error is not EAGAIN, and returns that.
func (s *socket) read(ctx context.Context, f func(fd int) error) error {
	return until(ctx, s.file.SetReadDeadline, s.raw.Read, f)
}

// write does the same when the socket is writable.
func (s *socket) write(ctx context.Context, f func(fd int) error) error {
	return until(ctx, s.file.SetWriteDeadline, s.raw.Write, f)
}

func until(ctx context.Context, setDeadline func(time.Time) error, poll func(func(uintptr) bool) error, f func(fd int) error) error {
	expired := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(expired)
		_ = setDeadline(time.Unix(1, 0)) // long past: whoever waits returns
	})
	var result error
	err := poll(func(fd uintptr) bool {
		for {
			result = f(int(fd))
			if !errors.Is(result, unix.EINTR) {
				return !errors.Is(result, unix.EAGAIN)
			}
		}
	})
	if !stop() {
		<-expired
		_ = setDeadline(time.Time{})
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return context.Cause(ctx)
	case err != nil:
		return err
	}
	return result
}

// sockaddr is an address as x/sys wants it.
func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Addr: a.Addr().As4(), Port: int(a.Port())}
	}
	return &unix.SockaddrInet6{Addr: a.Addr().As16(), Port: int(a.Port())}
}

// addrPort is the reverse of sockaddr.
func addrPort(sa unix.Sockaddr) netip.AddrPort {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), uint16(sa.Port))
	}
	return netip.AddrPort{}
}

func domainOf(ipv6 bool) int {
	if ipv6 {
		return unix.AF_INET6
	}
	return unix.AF_INET
}

// isClosed reports whether an operation failed because its descriptor is closed.
func isClosed(err error) bool { return errors.Is(err, os.ErrClosed) }
