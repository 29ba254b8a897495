package mgmt

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
)

// endless streams numbers until its context ends, or n of them.
func endless(ended chan<- error) *Command {
	return &Command{Name: "count", Help: "count", Stream: func(ctx context.Context, r *Request, w io.Writer) (any, error) {
		limit := -1
		if len(r.Args) > 0 {
			if _, err := fmt.Sscan(r.Args[0], &limit); err != nil {
				return nil, &UsageError{"count takes a number"}
			}
		}
		var err error
		n := 0
		for ; err == nil && ctx.Err() == nil && n != limit; n++ {
			_, err = fmt.Fprintf(w, "%d\n", n)
		}
		if ended != nil {
			ended <- err
		}
		if r.JSON {
			return n, err
		}
		return fmt.Sprintf("%d in all", n), err
	}}
}

// numbers checks that the text counts from 0 up, and returns how far.
func numbers(t *testing.T, text string) (n int) {
	t.Helper()
	for line := range strings.Lines(text) {
		if line != fmt.Sprintf("%d\n", n) {
			t.Fatalf("line %d is %q", n, line)
		}
		n++
	}
	return n
}

func TestStream(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control")
	ended := make(chan error, 1)
	serveCommands(t, path, []*Command{endless(ended), {Name: "large", Stream: func(_ context.Context, _ *Request, w io.Writer) (any, error) {
		n, err := w.Write(bytes.Repeat([]byte("x"), 5*chunkMax+7))
		return fmt.Sprint(n), err
	}}, {Name: "panic", Stream: func(context.Context, *Request, io.Writer) (any, error) { panic("fell over") }}})

	var b bytes.Buffer
	last, status, err := Stream(t.Context(), path, &b, "count", "1000")
	if err != nil || status != StatusOK || string(last) != "1000 in all\n" || numbers(t, b.String()) != 1000 {
		t.Errorf("%q, status %d, %v after %d bytes", last, status, err, b.Len())
	}
	<-ended
	if last, status, err = Call(t.Context(), path, "count", "3", "|", "json"); err != nil || status != StatusOK || string(last) != "0\n1\n2\n3\n" {
		t.Errorf("Call: %q, status %d, %v", last, status, err)
	}
	<-ended
	if last, status, err = Stream(t.Context(), path, &b, "count", "x"); err != nil || status != StatusBadCommand || !strings.Contains(string(last), "takes a number") {
		t.Errorf("%q, status %d, %v", last, status, err)
	}
	b.Reset()
	if last, _, err = Stream(t.Context(), path, &b, "large"); err != nil || b.Len() != 5*chunkMax+7 || string(last) != fmt.Sprintf("%d\n", b.Len()) {
		t.Errorf("large: %q, %v, %d bytes", last, err, b.Len())
	}
	if last, status, err = Stream(t.Context(), path, &b, "panic"); err != nil || status != StatusRefused || !strings.Contains(string(last), "fell over") {
		t.Errorf("%q, status %d, %v", last, status, err)
	}

	// The client ends it, and gets its last words.
	ctx, cancel := context.WithCancel(t.Context())
	b.Reset()
	last, status, err = Stream(ctx, path, writerFunc(func(p []byte) (int, error) {
		if b.Len() > 10_000 {
			cancel()
		}
		return b.Write(p)
	}), "count")
	if n := numbers(t, b.String()); err != nil || status != StatusOK || string(last) != fmt.Sprintf("%d in all\n", n) {
		t.Errorf("ended by the client: %q, status %d, %v after %d", last, status, err, n)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}

	// The client goes away.
	if _, _, err = Stream(t.Context(), path, writerFunc(func([]byte) (int, error) { return 0, errors.New("full") }), "count"); err == nil || !strings.Contains(err.Error(), "full") {
		t.Errorf("a client that cannot write: %v", err)
	}
	<-ended // with an error or without, as it notices one or the other first
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// TestStreamStop: a client that takes nothing does not keep the server from stopping.
func TestStreamStop(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control")
	ended := make(chan error, 1)
	stop := serveCommands(t, path, []*Command{endless(ended)})
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "count\n"); err != nil {
		t.Fatal(err)
	}
	if header, err := bufio.NewReaderSize(c, 16).ReadString('\n'); err != nil || header != "+ 2\n" {
		t.Fatalf("begins with %q, %v", header, err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	<-ended
}

// TestStreamAnswers: what no server sends is an error, not a wait or much memory.
func TestStreamAnswers(t *testing.T) {
	for answer, want := range map[string]string{
		"+ 2\nab0 0\n":       "",
		"+ 2\nab":            "read answer: EOF",
		"+ 3\nab":            "unexpected EOF",
		"+ 99999999\n":       "begins with",
		"+ -1\n":             "begins with",
		"0 99999999999999\n": "begins with",
		"- 2\n":              "begins with",
		"":                   "EOF",
	} {
		path := filepath.Join(t.TempDir(), "control")
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = bufio.NewReader(c).ReadString('\n')
			_, _ = io.WriteString(c, answer)
			c.Close()
		}()
		var b bytes.Buffer
		_, _, err = Stream(t.Context(), path, &b, "x")
		if (want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, expected %q", answer, err, want)
		}
		l.Close()
	}
}
