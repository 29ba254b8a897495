package boot

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// notification is what a process says of itself, as to systemd (sd_notify(3)).
type notification struct {
	pid            int
	ready, watched bool
}

// notifications is the socket that it is said to.
type notifications struct {
	connection *net.UnixConn
	path       string
}

// notificationMax is more than anybody says at once.
const notificationMax = 4096

func listenNotifications(path string) (*notifications, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("listen for notifications: %w", err)
	}
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return nil, fmt.Errorf("listen for notifications: %w", err)
	}
	raw, err := c.SyscallConn()
	if err == nil {
		var failed error
		err = raw.Control(func(fd uintptr) { failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PASSCRED, 1) })
		err = errors.Join(err, failed, os.Chmod(path, 0o600))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("listen for notifications: %w", err), c.Close())
	}
	return &notifications{c, path}, nil
}

// serve gives each notification to take, until the socket is closed.
func (n *notifications) serve(take func(notification)) error {
	text, control := make([]byte, notificationMax), make([]byte, unix.CmsgSpace(unix.SizeofUcred))
	for {
		length, controlLength, _, _, err := n.connection.ReadMsgUnix(text, control)
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read notification: %w", err)
		}
		if pid := senderOf(control[:controlLength]); pid != 0 {
			take(parseNotification(pid, string(text[:length])))
		}
	}
}

func (n *notifications) close() error { return n.connection.Close() }

// senderOf is the process that the kernel says a message is from; 0: it does not say.
func senderOf(control []byte) int {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return 0
	}
	for i := range messages {
		if credentials, err := unix.ParseUnixCredentials(&messages[i]); err == nil {
			return int(credentials.Pid)
		}
	}
	return 0
}

func parseNotification(pid int, text string) notification {
	n := notification{pid: pid}
	for line := range strings.Lines(text) {
		switch strings.TrimSuffix(line, "\n") {
		case "READY=1":
			n.ready = true
		case "WATCHDOG=1":
			n.watched = true
		}
	}
	return n
}
