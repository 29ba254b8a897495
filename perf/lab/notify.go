package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Notify receives what services report in the manner of sd_notify(3).
type Notify struct {
	dir    string
	socket *socket
	forget func()
}

// ListenNotify opens a notification socket. It is a file, so that processes in any namespace reach it.
func (l *Lab) ListenNotify() (*Notify, error) {
	dir, err := os.MkdirTemp("", "weir-notify-")
	if err != nil {
		return nil, fmt.Errorf("listen for notifications: %w", err)
	}
	n := &Notify{dir: dir}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		if err = unix.Bind(fd, &unix.SockaddrUnix{Name: n.path()}); err != nil {
			_ = unix.Close(fd)
		}
	}
	if err == nil {
		n.socket, err = l.adopt(fd, "notify")
	}
	if err == nil {
		n.forget, err = l.onClose(n.Close)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("listen for notifications: %w", err), os.RemoveAll(dir))
	}
	return n, nil
}

func (n *Notify) path() string { return filepath.Join(n.dir, "notify") }

// Env is the environment variable that makes a service report here.
func (n *Notify) Env() string { return "NOTIFY_SOCKET=" + n.path() }

// Wait returns when a service has reported the line, for example "READY=1". Other lines are dropped.
func (n *Notify) Wait(ctx context.Context, line string) error {
	buffer := make([]byte, 4096)
	for {
		var got int
		err := n.socket.read(ctx, func(fd int) (err error) {
			got, _, err = unix.Recvfrom(fd, buffer, 0)
			return err
		})
		if err != nil {
			return fmt.Errorf("wait for notification %s: %w", line, err)
		}
		for l := range strings.Lines(string(buffer[:got])) {
			if strings.TrimSpace(l) == line {
				return nil
			}
		}
	}
}

// Close closes the socket and removes its file.
func (n *Notify) Close() error {
	if n.forget != nil {
		n.forget()
	}
	return errors.Join(n.socket.close(), os.RemoveAll(n.dir))
}
