package mgmt

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// The control socket carries one command a connection:
//
//	request   the command's words on one line, with `| json` at its end where JSON is wanted
//	answer    STATUS LENGTH on one line, then LENGTH bytes of output
//
// A command that takes input has it follow the request, up to where the client closes its side of the connection.
//
// A command that answers bit by bit sends any number of chunks before that, each `+ LENGTH` on one line and LENGTH bytes, at
// most 64 KiB. A client that closes its side of the connection, or goes away, ends it, unless it takes input.
//
// The socket's mode lets its owner alone connect.

// Exit statuses of a command, as an SSH exec of it has.
const (
	StatusOK         = 0
	StatusRefused    = 1 // the command could not do what it was asked; the output says why
	StatusBadCommand = 2 // there is no such command, or not with such arguments
)

const (
	requestMax      = 64 << 10 // bytes of a request line
	answerMax       = 1 << 30  // bytes of output that Call takes
	connectionsMax  = 32       // at a time; more wait in the listen queue
	requestDeadline = 10 * time.Second
	answerDeadline  = 30 * time.Second // for the client to take the output, not for the command to run
)

// Command is a node of the command tree: a command that runs, or a word that others begin with, or both.
type Command struct {
	Name     string
	Help     string // a line for people, in lower case
	Commands []*Command

	// Run carries the command out. The arguments are the words behind the command's own. With asJSON, a value that
	// is not a string is marshaled; a string is the output as it is. An error is the output of a refusal, and a
	// *UsageError that of a bad command.
	Run func(ctx context.Context, args []string, asJSON bool) (output any, err error)

	// Stream is there instead of Run where a command answers bit by bit, through w. The context ends when the client is
	// gone or wants no more; the output is the command's last words. Writing fails when the client takes nothing for half a
	// minute.
	Stream func(ctx context.Context, args []string, asJSON bool, w io.Writer) (output any, err error)

	// Feed is there instead of Run where a command takes input. It reads that to its end, as long as the server runs, and may
	// answer meanwhile through w, as Stream does.
	Feed func(ctx context.Context, args []string, asJSON bool, in io.Reader, w io.Writer) (output any, err error)
}

// UsageError says that a command was not given what it takes.
type UsageError struct{ Message string }

func (e *UsageError) Error() string { return e.Message }

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
	in := bufio.NewReaderSize(connection, requestMax+1)
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
		output, status = root.execute(ctx, line, in, &chunks{connection, ctx})
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

// Messages about bad commands begin with the words that clients of such devices look for.
//
//lint:ignore ST1005 those words are capitalized
var errRequestTooLong = fmt.Errorf("Invalid command: longer than %d bytes", requestMax)

// readRequest reads the first line, which the buffer must have room for; what follows stays there.
func readRequest(r *bufio.Reader) (string, error) {
	line, err := r.ReadSlice('\n')
	switch err {
	case nil:
		return strings.TrimRight(string(line), "\r\n"), nil
	case bufio.ErrBufferFull:
		return "", errRequestTooLong
	}
	return "", err
}

// execute runs a command line. A command that panics is refused: it must not take the router with it.
func (c *Command) execute(ctx context.Context, line string, in io.Reader, out *chunks) (output []byte, status int) {
	defer func() {
		if r := recover(); r != nil {
			output, status = []byte(fmt.Sprintf("command panicked: %v\n", r)), StatusRefused
		}
	}()
	if !utf8.ValidString(line) || strings.ContainsRune(line, 0) {
		return []byte("Invalid command: not text\n"), StatusBadCommand
	}
	line, asJSON := cutJSON(line)
	words := strings.Fields(line)
	command, args := c.find(words)
	if last := len(args) - 1; last >= 0 && (args[last] == "?" || args[last] == "help") && (!command.runs() || last == 0) {
		return []byte(command.help(strings.Join(words[:len(words)-len(args)], " "))), StatusOK
	}
	if !command.runs() {
		return []byte(command.invalid(words, args)), StatusBadCommand
	}
	if command.Stream != nil && out == nil {
		return []byte("Invalid command: answers bit by bit, which does not go here\n"), StatusBadCommand
	}
	value, err := command.run(ctx, args, asJSON, in, out)
	var usage *UsageError
	switch {
	case errors.As(err, &usage):
		return endLine([]byte("Invalid command: " + usage.Message)), StatusBadCommand
	case err != nil:
		return endLine([]byte(err.Error())), StatusRefused
	}
	switch text, isText := value.(string); {
	case isText:
		return endLine([]byte(text)), StatusOK
	case value == nil && !asJSON:
		return nil, StatusOK
	case !asJSON:
		return endLine([]byte(fmt.Sprint(value))), StatusOK
	}
	output, err = json.Marshal(value)
	if err != nil {
		return endLine([]byte("marshal output: " + err.Error())), StatusRefused
	}
	return endLine(output), StatusOK
}

func (c *Command) runs() bool { return c.Run != nil || c.Stream != nil || c.Feed != nil }

func (c *Command) run(ctx context.Context, args []string, asJSON bool, in io.Reader, out *chunks) (any, error) {
	switch {
	case c.Run != nil:
		return c.Run(ctx, args, asJSON)
	case c.Feed != nil:
		defer out.feed()()
		return c.Feed(ctx, args, asJSON, in, out)
	}
	ctx, release := out.watch()
	defer release()
	return c.Stream(ctx, args, asJSON, out)
}

// cutJSON takes `| json` off the end of a line.
func cutJSON(line string) (rest string, asJSON bool) {
	i := strings.LastIndexByte(line, '|')
	if i < 0 || strings.TrimSpace(line[i+1:]) != "json" {
		return line, false
	}
	return line[:i], true
}

// find follows words into the tree; what is left are the command's arguments.
func (c *Command) find(words []string) (command *Command, args []string) {
	for len(words) > 0 {
		next := c.child(words[0])
		if next == nil {
			break
		}
		c, words = next, words[1:]
	}
	return c, words
}

func (c *Command) child(name string) *Command {
	for _, child := range c.Commands {
		if child.Name == name {
			return child
		}
	}
	return nil
}

func (c *Command) names(yield func(string) bool) {
	for _, child := range c.Commands {
		if !yield(child.Name) {
			return
		}
	}
}

// invalid says why words name no command; args are those beyond the node.
func (c *Command) invalid(words, args []string) string {
	if len(args) == 0 {
		return strings.Join(append([]string{"Invalid command: incomplete:"}, words...), " ") + "\n" + c.help(strings.Join(words, " "))
	}
	return fmt.Sprintf("Invalid command: %s%s\n", clip(strings.Join(words, " ")), suggest(args[0], c.names))
}

// help lists the commands below a node.
func (c *Command) help(prefix string) string {
	var b strings.Builder
	if prefix != "" {
		prefix += " "
	}
	width := 0
	for _, child := range c.Commands {
		width = max(width, len(prefix)+len(child.Name))
	}
	for _, child := range c.Commands {
		fmt.Fprintf(&b, "%-*s  %s\n", width, prefix+child.Name, child.Help)
	}
	return b.String()
}

func endLine(output []byte) []byte {
	if len(output) > 0 && output[len(output)-1] != '\n' {
		output = append(output, '\n')
	}
	return output
}
