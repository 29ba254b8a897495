package mgmt

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// The control socket carries one command a connection:
//
//	request   the command's words on one line, with `| json` at its end where JSON is wanted (and the other filters of pipe.go)
//	          a line that begins with `< ` brings standard input along, in chunks as below: the one of length 0 ends it
//	answer    STATUS LENGTH on one line, then LENGTH bytes of output
//
// A command that answers bit by bit sends any number of chunks before that, each `+ LENGTH` on one line and LENGTH bytes, at
// most 64 KiB. A client that closes its side of the connection, or goes away, ends it.
//
// The socket's mode lets its owner alone connect.

const (
	requestMax      = 64 << 10 // bytes of a request line
	answerMax       = 1 << 30  // bytes of output that Call takes
	connectionsMax  = 32       // at a time; more wait in the listen queue
	requestDeadline = 10 * time.Second
	answerDeadline  = 30 * time.Second // for the client to take the output, not for the command to run
)

// Serve answers commands on a socket that Listen made until ctx ends, and then waits for the commands that run.
func Serve(ctx context.Context, listener net.Listener, commands []*Command) error {
	defer listener.Close() // waits for the one that AfterFunc may have begun
	stop := context.AfterFunc(ctx, func() { listener.Close() })
	defer stop()
	root := &Command{Commands: commands}
	free := make(chan struct{}, connectionsMax)
	var running sync.WaitGroup
	defer running.Wait()
	for {
		select {
		case free <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		connection, err := listener.Accept()
		switch {
		case err == nil:
			running.Go(func() {
				defer func() { <-free }()
				defer connection.Close()
				serve(ctx, connection, root)
			})
			continue
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) || errors.Is(err, unix.ECONNABORTED):
			// Out of descriptors for a while. The pause only keeps the loop from spinning.
			time.Sleep(10 * time.Millisecond)
		default:
			return errors.Join(fmt.Errorf("accept on %s: %w", listener.Addr(), err), listener.Close())
		}
		<-free
	}
}

// ownedListener removes its socket when it is closed, unless somebody has replaced it.
type ownedListener struct {
	net.Listener
	path string
	info os.FileInfo
	once sync.Once
}

func (l *ownedListener) Close() (err error) {
	l.once.Do(func() {
		if info, e := os.Lstat(l.path); e == nil && os.SameFile(info, l.info) {
			err = os.Remove(l.path)
		}
		err = errors.Join(err, l.Listener.Close())
	})
	return err
}

// Listen makes the control socket at path, mode 0600: from then on clients can connect, and Serve answers them. A socket
// that a dead process left is replaced; one that somebody listens on is an error.
//
// It makes the socket in a directory that only we may enter, gives it its mode there, and moves it to its path:
// nobody can connect before the mode is right, and the one that it replaces is never missing.
func Listen(path string) (net.Listener, error) {
	switch info, err := os.Lstat(path); {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("listen on control socket: %w", err)
	case info.Mode()&os.ModeSocket == 0:
		return nil, fmt.Errorf("listen on control socket: %s exists and is no socket", path)
	default:
		if other, err := net.DialTimeout("unix", path, time.Second); err == nil {
			other.Close()
			return nil, fmt.Errorf("listen on control socket: another process listens on %s", path)
		} else if !errors.Is(err, unix.ECONNREFUSED) && !errors.Is(err, unix.ENOENT) {
			return nil, fmt.Errorf("listen on control socket: %s: %w", path, err)
		}
	}
	dir, err := os.MkdirTemp(filepath.Dir(path), ".weir-") // mode 0700
	if err != nil {
		return nil, fmt.Errorf("listen on control socket: %w", err)
	}
	defer os.RemoveAll(dir)
	temporary := filepath.Join(dir, "s")
	inner, err := net.Listen("unix", temporary)
	if err != nil {
		return nil, fmt.Errorf("listen on control socket: %w", err)
	}
	inner.(*net.UnixListener).SetUnlinkOnClose(false)
	err = os.Chmod(temporary, 0o600)
	var info os.FileInfo
	if err == nil {
		info, err = os.Lstat(temporary)
	}
	if err == nil {
		err = os.Rename(temporary, path)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("listen on control socket: %w", err), inner.Close())
	}
	return &ownedListener{Listener: inner, path: path, info: info}, nil
}

// serve answers the one command of a connection.
func serve(ctx context.Context, connection net.Conn, root *Command) {
	connection.SetReadDeadline(time.Now().Add(requestDeadline))
	// A client that has not sent its command when weir stops is not waited for.
	stop := context.AfterFunc(ctx, func() { connection.SetReadDeadline(time.Now()) })
	in := bufio.NewReaderSize(connection, 4096)
	line, err := readRequest(in)
	stop()
	var output []byte
	status := StatusBadCommand
	switch {
	case err == errRequestTooLong:
		output = []byte(err.Error() + "\n")
	case err != nil:
		return // nobody to answer
	default:
		var stdin *body
		if rest, ok := strings.CutPrefix(line, bodyMark); ok {
			line, stdin = rest, &body{in: in, connection: connection}
		}
		output, status = execute(ctx, root, line, connection, stdin)
	}
	deadline := answerDeadline
	if ctx.Err() != nil {
		deadline = stopDeadline
	}
	connection.SetWriteDeadline(time.Now().Add(deadline))
	if _, err := fmt.Fprintf(connection, "%d %d\n", status, len(output)); err == nil {
		connection.Write(output)
	}
}

//lint:ignore ST1005 the words that clients of such devices look for are capitalized
var errRequestTooLong = fmt.Errorf(invalidCommand+"longer than %d bytes", requestMax)

func readRequest(in *bufio.Reader) (string, error) {
	var line []byte
	for {
		part, err := in.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case len(line) > requestMax:
			return "", errRequestTooLong
		case err == nil:
			return strings.TrimRight(string(line), "\r\n"), nil
		case err != bufio.ErrBufferFull:
			return "", err
		}
	}
}

// execute runs a command line for the process at the other end.
func execute(ctx context.Context, root *Command, line string, connection net.Conn, stdin *body) (output []byte, status int) {
	caller, err := peer(connection)
	if err != nil {
		return endLine([]byte(err.Error())), StatusRefused
	}
	invocation, output, status := root.Invoke(line, caller.Role)
	if invocation == nil {
		return output, status
	}
	out := &chunks{connection, ctx}
	switch streams := invocation.Command.Stream != nil; {
	case stdin != nil && streams:
		defer stdin.follow(ctx)()
		fallthrough
	case stdin != nil:
		caller.Stdin = stdin
	case streams:
		var release func()
		ctx, release = out.watch()
		defer release()
	}
	return invocation.Run(ctx, caller, out)
}

// peer says who is at the other end of the control socket. Root, and who runs the router, are administrators; nobody else
// can connect unless the socket's mode is changed, and he may do nothing.
func peer(connection net.Conn) (r Request, err error) {
	raw, err := connection.(*net.UnixConn).SyscallConn()
	if err != nil {
		return r, fmt.Errorf("ask for the peer of the control socket: %w", err)
	}
	var credentials *unix.Ucred
	failed := raw.Control(func(fd uintptr) { credentials, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err = errors.Join(failed, err); err != nil {
		return r, fmt.Errorf("ask for the peer of the control socket: %w", err)
	}
	r.By = Author{User: userName(credentials.Uid), Via: "control"}
	if credentials.Uid == 0 || int(credentials.Uid) == os.Geteuid() {
		r.Role = Admin
	}
	return r, nil
}

// userName is the name that the machine has for a user, or his number.
func userName(uid uint32) string {
	number := strconv.FormatUint(uint64(uid), 10)
	if u, err := user.LookupId(number); err == nil {
		return u.Username
	}
	return "uid " + number
}
