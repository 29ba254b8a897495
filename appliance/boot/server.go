package boot

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Socket is where PID 1 takes requests: one line of JSON, and for an upgrade the file behind it in chunks (chunks.go). The answer is one
// line of JSON. What is to be done afterwards is done when the client closes the connection.
const Socket = "/run/weir/boot.sock"

// What can be asked.
const (
	AskPlatform = "platform"
	AskReboot   = "reboot"
	AskPowerOff = "power-off"
	AskUpgrade  = "upgrade"
	AskRollback = "rollback"
)

type request struct {
	Do string `json:"do"`
}

type answer struct {
	Error    string    `json:"error,omitempty"`
	Text     string    `json:"text,omitempty"`
	Platform *Platform `json:"platform,omitempty"`
}

const (
	requestPatience = 10 * time.Second
	uploadPatience  = 30 * time.Second // without a byte
)

// listenRequests makes the socket. Only root may connect.
func listenRequests(path string) (*net.UnixListener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("listen for requests: %w", err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listen for requests: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("listen for requests: %w", err), l.Close())
	}
	return l, nil
}

// requests is what a server can be asked for.
type requests struct {
	answer func(ctx context.Context, do string, in io.Reader) (answer, error)
	done   func(do string) // called after the answer to a request that succeeded was taken
}

// serve answers until the listener is closed.
func (s *requests) serve(ctx context.Context, l *net.UnixListener) error {
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	for {
		c, err := l.AcceptUnix()
		if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("accept requests: %w", err)
		}
		go s.one(ctx, c)
	}
}

// one answers the request of a connection.
func (s *requests) one(ctx context.Context, c *net.UnixConn) {
	defer c.Close()
	var r request
	a, err := s.read(ctx, c, &r)
	if err != nil {
		a = answer{Error: err.Error()}
	}
	text, err := json.Marshal(a)
	if err != nil {
		return
	}
	c.SetWriteDeadline(time.Now().Add(requestPatience))
	if _, err := c.Write(append(text, '\n')); err != nil || a.Error != "" {
		return
	}
	// Who asked for it has to tell somebody else, and closes the connection when he has.
	c.SetReadDeadline(time.Now().Add(requestPatience))
	_, _ = io.Copy(io.Discard, c)
	s.done(r.Do)
}

func (s *requests) read(ctx context.Context, c *net.UnixConn, r *request) (answer, error) {
	if err := mustBeRoot(c); err != nil {
		return answer{}, err
	}
	in := bufio.NewReaderSize(patient{c}, 64<<10)
	line, err := in.ReadSlice('\n')
	if err != nil {
		return answer{}, fmt.Errorf("read request: %w", err)
	}
	if err := json.Unmarshal(line, r); err != nil {
		return answer{}, fmt.Errorf("read request: %w", err)
	}
	return s.answer(ctx, r.Do, &chunkReader{in: in})
}

// patient waits for each piece for a while.
type patient struct{ c *net.UnixConn }

func (p patient) Read(b []byte) (int, error) {
	p.c.SetReadDeadline(time.Now().Add(uploadPatience))
	return p.c.Read(b)
}

// mustBeRoot refuses whoever is at the other end but root.
func mustBeRoot(c *net.UnixConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return fmt.Errorf("ask who asks: %w", err)
	}
	var credentials *unix.Ucred
	failed := raw.Control(func(fd uintptr) { credentials, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err = errors.Join(failed, err); err != nil {
		return fmt.Errorf("ask who asks: %w", err)
	}
	if credentials.Uid != 0 {
		return fmt.Errorf("uid %d may not ask PID 1: %w", credentials.Uid, unix.EPERM)
	}
	return nil
}
