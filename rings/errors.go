package rings

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// Sentinel errors, for errors.Is.
var (
	ErrQueueBusy  = errors.New("queue is in use by another AF_XDP socket")
	ErrNoAFXDP    = errors.New("the kernel has no AF_XDP (CONFIG_XDP_SOCKETS, Linux 5.10 or newer)")
	ErrPermission = errors.New("not permitted: run as root, or with CAP_NET_ADMIN, CAP_NET_RAW and CAP_BPF")
	ErrMemlock    = errors.New("locked memory is limited: raise it with ulimit -l, LimitMEMLOCK=infinity or CAP_IPC_LOCK")
	ErrZeroCopy   = errors.New("the driver does not offer zero-copy here")
	ErrClosed     = errors.New("queue is closed")
)

// bindError says what an errno of bind(2) means for AF_XDP. asavie/xdp wraps none, so its text is looked at.
func bindError(err error) error {
	is := func(e unix.Errno) bool { return errors.Is(err, e) || strings.HasSuffix(err.Error(), ": "+e.Error()) }
	switch {
	case is(unix.EBUSY):
		return fmt.Errorf("bind: %w", ErrQueueBusy)
	case is(unix.EAFNOSUPPORT):
		return ErrNoAFXDP
	case is(unix.EPERM):
		return fmt.Errorf("bind: %w", ErrPermission)
	case is(unix.ENOBUFS), is(unix.ENOMEM):
		return fmt.Errorf("bind: %w", ErrMemlock)
	case is(unix.EOPNOTSUPP):
		return fmt.Errorf("bind: %w", ErrZeroCopy)
	}
	return fmt.Errorf("bind: %w", err)
}

func socketHint(err error) error {
	switch {
	case errors.Is(err, unix.EAFNOSUPPORT):
		return ErrNoAFXDP
	case errors.Is(err, unix.EPERM):
		return ErrPermission
	}
	return err
}

// memlock explains the errno of a kernel that would lock more memory than it is allowed to.
func memlock(err error) error {
	if errors.Is(err, unix.ENOBUFS) || errors.Is(err, unix.ENOMEM) {
		return ErrMemlock
	}
	return err
}
