package ssh

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// listener is one address that clients connect to.
type listener struct {
	at netip.AddrPort
	*net.TCPListener
}

// listen opens an address. It need not be the router's yet, since a commit may bring both. What we listen on already, as any
// address or as this one, is no obstacle: the same commit may end that.
func listen(at netip.AddrPort, ours []*listener) (*listener, error) {
	shared := slices.DeleteFunc(slices.Clone(ours), func(l *listener) bool {
		return l.at.Port() != at.Port() || l.at.Addr().Is4() != at.Addr().Is4()
	})
	l, err := open(at, false)
	if errors.Is(err, unix.EADDRINUSE) && len(shared) > 0 {
		// The kernel lets two sockets listen where both say that they share; afterwards nobody else may.
		share(shared, 1)
		defer share(shared, 0)
		if l, err = open(at, true); err == nil {
			defer share([]*listener{l}, 0)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("serve SSH (system.ssh.listen): %w", err)
	}
	return l, nil
}

func open(at netip.AddrPort, sharing bool) (*listener, error) {
	network := "tcp6"
	if at.Addr().Is4() {
		network = "tcp4"
	}
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		failed := c.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_FREEBIND, 1) // holds for IPv6 too
			if err == nil && sharing {
				err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
			}
		})
		return errors.Join(failed, err)
	}}
	l, err := config.Listen(context.Background(), network, at.String())
	if err != nil {
		return nil, err
	}
	return &listener{at, l.(*net.TCPListener)}, nil
}

func share(listeners []*listener, on int) {
	for _, l := range listeners {
		raw, err := l.SyscallConn()
		if err != nil {
			continue // closed
		}
		_ = raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, on) })
	}
}
