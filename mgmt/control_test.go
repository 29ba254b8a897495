package mgmt

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"weir/mgmt/store"
)

// commands is a small tree that has every kind of command.
func commands(started, release chan struct{}) []*Command {
	return []*Command{
		{Name: "show", Help: "show what runs", Commands: []*Command{
			{Name: "echo", Help: "show the arguments", Run: func(_ context.Context, r *Request) (any, error) {
				if r.JSON {
					return r.Args, nil
				}
				return strings.Join(r.Args, ","), nil
			}},
			{Name: "large", Help: "show much", Run: func(context.Context, *Request) (any, error) {
				return strings.Repeat("x", 8<<20), nil
			}},
		}},
		{Name: "refuse", Help: "say no", Run: func(context.Context, *Request) (any, error) { return nil, errors.New("no") }},
		{Name: "usage", Help: "be misused", Run: func(context.Context, *Request) (any, error) {
			return nil, &UsageError{"usage takes nothing"}
		}},
		{Name: "panic", Help: "fall over", Run: func(context.Context, *Request) (any, error) { panic("fell over") }},
		{Name: "nothing", Help: "say nothing", Run: func(context.Context, *Request) (any, error) { return nil, nil }},
		{Name: "wait", Help: "take its time", Run: func(context.Context, *Request) (any, error) {
			close(started)
			<-release
			return "done", nil
		}},
	}
}

// serveCommands serves the tree until the test ends, or stop is called, which returns what Serve did.
func serveCommands(t *testing.T, path string, tree []*Command) (stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	result := make(chan error, 1)
	listener, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	go func() { result <- Serve(ctx, listener, tree) }()
	stop = sync.OnceValue(func() error {
		cancel()
		return <-result
	})
	t.Cleanup(func() { stop() })
	for { // until somebody listens
		select {
		case err := <-result:
			result <- err
			return stop
		default:
		}
		if c, err := net.Dial("unix", path); err == nil {
			c.Close()
			return stop
		}
	}
}

func TestControl(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control")
	serveCommands(t, path, commands(nil, nil))
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 || info.Mode()&os.ModeSocket == 0 {
		t.Errorf("socket %v, %v", info.Mode(), err)
	}
	for line, want := range map[string]struct {
		status int
		output string
	}{
		"show echo a b":                    {StatusOK, "a,b\n"},
		"show echo a b | json":             {StatusOK, "[\"a\",\"b\"]\n"},
		"  show   echo  a|json ":           {StatusOK, "[\"a\"]\n"},
		"show echo a | yaml":               {StatusBadCommand, "Invalid command: | yaml\n"},
		"show echo a | mtch x":             {StatusBadCommand, "Invalid command: | mtch; did you mean match?\n"},
		`show echo "a b" 'c|d' "e\"f"`:     {StatusOK, "a b,c|d,e\"f\n"},
		`show echo "a b`:                   {StatusBadCommand, "Invalid command: a quote is not closed\n"},
		"show echo a | match ^a$":          {StatusOK, "a\n"},
		"show echo a | match b":            {StatusOK, ""},
		`show echo a | match "b|a"`:        {StatusOK, "a\n"},
		"show echo a | except b | count":   {StatusOK, "Count: 1 lines\n"},
		"show echo a | json | count":       {StatusOK, "Count: 1 lines\n"},
		"show echo a | count | json":       {StatusBadCommand, "Invalid command: | json comes first\n"},
		"show echo a | no-more":            {StatusOK, "a\n"},
		"show echo a | match (":            {StatusBadCommand, "Invalid command: | match: missing closing ): `(`\n"},
		"show echo a |":                    {StatusBadCommand, "Invalid command: nothing behind |\n"},
		"nothing":                          {StatusOK, ""},
		"refuse":                           {StatusRefused, "no\n"},
		"panic":                            {StatusRefused, "command panicked: fell over\n"},
		"usage":                            {StatusBadCommand, "Invalid command: usage takes nothing\n"},
		"shwo echo":                        {StatusBadCommand, "Invalid command: shwo echo; did you mean show?\n"},
		"show":                             {StatusBadCommand, "Invalid command: incomplete: show\nshow echo   show the arguments\nshow large  show much\n"},
		"show ?":                           {StatusOK, "show echo   show the arguments\nshow large  show much\n"},
		"show echo \xff":                   {StatusBadCommand, "Invalid command: not text\n"},
		"show " + strings.Repeat("x", 100): {StatusBadCommand, "Invalid command: show " + strings.Repeat("x", 55) + "…\n"},
	} {
		output, status, err := Call(context.Background(), path, line)
		if err != nil || status != want.status || string(output) != want.output {
			t.Errorf("%q: %d %q, %v; want %d %q", line, status, output, err, want.status, want.output)
		}
	}
	if output, _, err := Call(context.Background(), path, "show large"); err != nil || len(output) != 8<<20+1 {
		t.Errorf("large: %d bytes, %v", len(output), err)
	}
	if output, status, err := Call(context.Background(), path, "help"); err != nil || status != StatusOK || !strings.Contains(string(output), "refuse") {
		t.Errorf("help: %s, %v", output, err)
	}
	if _, _, err := Call(context.Background(), path, "show echo\nrefuse"); err == nil {
		t.Error("two lines are one command")
	}
}

// TestControlConcurrent checks that a command that takes long does not hold up the others, and is waited for.
func TestControlConcurrent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control")
	started, release := make(chan struct{}), make(chan struct{})
	stop := serveCommands(t, path, commands(started, release))
	answer := make(chan string, 1)
	go func() {
		output, status, err := Call(context.Background(), path, "wait")
		answer <- fmt.Sprint(string(output), status, err)
	}()
	<-started
	var all sync.WaitGroup
	for i := range 100 {
		all.Go(func() {
			want := fmt.Sprintf("%d\n", i)
			if output, _, err := Call(context.Background(), path, "show", "echo", fmt.Sprint(i)); err != nil || string(output) != want {
				t.Errorf("%d: %q, %v", i, output, err)
			}
		})
	}
	all.Wait()
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	close(release)
	if got := <-answer; got != "done\n0 <nil>" {
		t.Errorf("wait: %s", got)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("socket is left: %v", err)
	}
}

// TestControlLimits sends what no client sends.
func TestControlLimits(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control")
	stop := serveCommands(t, path, commands(nil, nil))
	send := func(text string) string {
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		go func() {
			io.WriteString(c, text)
			c.(*net.UnixConn).CloseWrite()
		}()
		answer, _ := bufio.NewReader(c).ReadString('\n')
		return answer
	}
	if got := send(strings.Repeat("x", requestMax+100)); !strings.HasPrefix(got, "2 ") {
		t.Errorf("a long line is answered by %q", got)
	}
	if got := send("show echo"); got != "" {
		t.Errorf("half a line is answered by %q", got)
	}
	// Clients that connect and say nothing do not keep it from stopping.
	for range 2 {
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

func TestControlSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control")
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	stale.Close()
	stop := serveCommands(t, path, commands(nil, nil)) // replaces it
	if _, err := Listen(path); err == nil || !strings.Contains(err.Error(), "another process listens") {
		t.Errorf("a second server: %v", err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(path); err == nil || !strings.Contains(err.Error(), "is no socket") {
		t.Errorf("a file in the way: %v", err)
	}
	if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if _, _, err := Call(context.Background(), path, "show"); err == nil {
		t.Error("a file answers")
	}
}

// TestControlNotOurs checks that a socket of somebody else at the path survives the end of ours.
func TestControlNotOurs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control")
	stop := serveCommands(t, path, commands(nil, nil))
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	other, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := stop(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); err != nil {
		t.Error(err)
	}
}

// TestControlInput sends standard input along, and what is none.
func TestControlInput(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control")
	ended := make(chan error, 1)
	serveCommands(t, path, []*Command{
		{Name: "sum", Run: func(_ context.Context, r *Request) (any, error) {
			text, err := io.ReadAll(r.Stdin)
			if err != nil {
				ended <- err
				return nil, err
			}
			return store.Sum(text), nil
		}},
		{Name: "echo", Stream: func(ctx context.Context, r *Request, w io.Writer) (any, error) {
			_, err := io.Copy(w, r.Stdin)
			ended <- errors.Join(err, ctx.Err())
			return "end", err
		}},
		{Name: "ignore", Run: func(context.Context, *Request) (any, error) { return strings.Repeat("x", 4<<20), nil }},
	})
	for _, size := range []int{0, 1, chunkMax, chunkMax + 1, 5<<20 + 7} {
		input := bytes.Repeat([]byte("weir\n"), size/5+1)[:size]
		output, status, err := CallWith(context.Background(), path, iotest.HalfReader(bytes.NewReader(input)), "sum")
		if err != nil || status != StatusOK || string(output) != store.Sum(input)+"\n" {
			t.Errorf("%d bytes: %d %s, %v", size, status, output, err)
		}
	}
	if output, status, err := Call(context.Background(), path, "sum"); err != nil || status != StatusOK || string(output) != store.Sum(nil)+"\n" {
		t.Errorf("none: %d %s, %v", status, output, err)
	}
	// One that answers bit by bit is asked as often as one likes.
	in, answers := io.Pipe()
	heard, out := io.Pipe()
	fed := make(chan error)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, _, err := Feed(ctx, path, in, out, "echo")
		fed <- err
	}()
	for range 3 {
		io.WriteString(answers, "ping")
		got := make([]byte, 4)
		if _, err := io.ReadFull(heard, got); err != nil || string(got) != "ping" {
			t.Errorf("echo %q, %v", got, err)
		}
	}
	cancel()
	if err := <-ended; !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the end of the client is told as %v", err)
	}
	if err := <-fed; err != nil {
		t.Errorf("feed: %v", err)
	}
	answers.Close()
	// A command that does not want it answers all the same.
	if output, status, err := CallWith(context.Background(), path, bytes.NewReader(make([]byte, 64<<20)), "ignore"); err != nil || status != StatusOK || len(output) != 4<<20+1 {
		t.Errorf("ignored: %d, %d bytes, %v", status, len(output), err)
	}
	broken := errors.New("broken")
	if _, _, err := CallWith(context.Background(), path, iotest.ErrReader(broken), "sum"); !errors.Is(err, broken) {
		t.Errorf("input that cannot be read: %v", err)
	}
	if err := <-ended; !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the command is told %v", err)
	}
	for _, request := range []string{"< sum\n+ 5\nabc", "< sum\n+ 5\nabcde", "< sum\n+ x\n", "< sum\n- 5\nabcde+ 0\n", "< sum\n+ 99999999\n", "< sum\n"} {
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(c, request)
		c.(*net.UnixConn).CloseWrite()
		if answer, _ := io.ReadAll(c); !strings.HasPrefix(string(answer), "1 ") {
			t.Errorf("%q is answered by %q", request, answer)
		}
		<-ended
		c.Close()
	}
}

// FuzzRequest: whatever a client sends, it is answered in the form of an answer, or not at all where it sent no line.
func FuzzRequest(f *testing.F) {
	for _, text := range []string{"show echo a b | json\n", "show echo|json\r\n", "help\n", "show ?\n", "refuse\n", "usage x\n", "panic\n", "nothing | json\n",
		"\n", "sho echo\n", "show echo \xff\n", "show echo \x00\n", "show", "| json\n", "refuse | json | json\n", " \t show\u00a0echo\n"} {
		f.Add([]byte(text))
	}
	root := &Command{Commands: slices.DeleteFunc(commands(nil, nil), func(c *Command) bool { return c.Name == "wait" })}
	f.Fuzz(func(t *testing.T, request []byte) {
		line, err := readRequest(bufio.NewReader(bytes.NewReader(request)))
		end := bytes.IndexByte(request, '\n')
		switch {
		case end < 0 && err == nil, end >= 0 && end < requestMax && err != nil:
			t.Fatalf("%q: %v", request, err)
		case err != nil:
			return
		case strings.ContainsRune(line, '\n'):
			t.Fatalf("%q is more than a line", line)
		}
		output, status := answer(t.Context(), root, line)
		if status != StatusOK && status != StatusRefused && status != StatusBadCommand {
			t.Errorf("%q: status %d", line, status)
		}
		if len(output) > 0 && output[len(output)-1] != '\n' {
			t.Errorf("%q is answered by %.100q", line, output)
		}
		if status == StatusBadCommand && !bytes.HasPrefix(output, []byte("Invalid command")) {
			t.Errorf("%q is refused by %.100q", line, output)
		}
	})
}

// answer runs a command line as an administrator.
func answer(ctx context.Context, root *Command, line string) (output []byte, status int) {
	invocation, output, status := root.Invoke(line, Admin)
	if invocation == nil {
		return output, status
	}
	return invocation.Run(ctx, Request{Role: Admin}, io.Discard)
}
