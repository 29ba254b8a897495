package ssh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"weir/mgmt"
)

// testCommands is a tree that has every kind of command.
func testCommands() []*mgmt.Command {
	return []*mgmt.Command{
		{Name: "echo", Help: "say it", Arguments: "WORD…", Role: mgmt.ReadOnly, Run: func(_ context.Context, r *mgmt.Request) (any, error) {
			if r.JSON {
				return r.Args, nil
			}
			return strings.Join(r.Args, ","), nil
		}},
		{Name: "whoami", Help: "who asks", Role: mgmt.ReadOnly, Run: func(_ context.Context, r *mgmt.Request) (any, error) {
			return fmt.Sprintf("%s %s %s %s width %d", r.By.User, r.Role, r.By.Via, r.By.Fingerprint, r.Width), nil
		}},
		{Name: "refuse", Help: "say no", Role: mgmt.ReadOnly, Run: func(context.Context, *mgmt.Request) (any, error) { return nil, errors.New("no") }},
		{Name: "panic", Help: "fall over", Role: mgmt.ReadOnly, Run: func(context.Context, *mgmt.Request) (any, error) { panic("fell over") }},
		{Name: "large", Help: "say much", Role: mgmt.ReadOnly, Run: func(context.Context, *mgmt.Request) (any, error) {
			return strings.Repeat(strings.Repeat("x", 99)+"\n", 200_000), nil
		}},
		{Name: "take", Help: "count what is sent, up to a megabyte", Role: mgmt.Operator, Run: func(_ context.Context, r *mgmt.Request) (any, error) {
			const most = 1 << 20
			n, err := io.Copy(io.Discard, io.LimitReader(r.Stdin, most+1))
			if n > most {
				return nil, errors.New("more than a megabyte")
			}
			return fmt.Sprintf("%d bytes", n), err
		}},
		{Name: "change", Help: "what only administrators do", Commands: []*mgmt.Command{
			{Name: "it", Help: "change it", Run: func(context.Context, *mgmt.Request) (any, error) { return "changed", nil }},
			{Name: "look", Help: "see it", Role: mgmt.Operator, Run: func(context.Context, *mgmt.Request) (any, error) { return "seen", nil }},
		}},
		{Name: "count", Help: "count until told to end", Role: mgmt.Operator, Stream: func(ctx context.Context, r *mgmt.Request, w io.Writer) (any, error) {
			for i := 0; ctx.Err() == nil; i++ {
				if _, err := fmt.Fprintln(w, i); err != nil {
					return nil, err
				}
			}
			return "ended", nil
		}},
		{Name: "bytes", Help: "no text", Role: mgmt.Operator, Binary: true, Stream: func(_ context.Context, _ *mgmt.Request, w io.Writer) (any, error) {
			_, err := w.Write([]byte{0, 1, 2, 0xff, 0x1b})
			return "5 bytes", err
		}},
		{Name: "hostile", Help: "say what a terminal should not see", Role: mgmt.ReadOnly, Run: func(context.Context, *mgmt.Request) (any, error) { return hostile, nil }},
	}
}

const hostile = "a\x1b[2J\x1b]0;title\x07b\rc\x9bd\u202ee\xfff\u009bg"

func TestExec(t *testing.T) {
	r := newRig(t, DefaultLimits, testCommands()...)
	for _, c := range []struct {
		line string
		want result
	}{
		{"echo a b", result{"a,b\n", "", 0}},
		{"echo a b | json", result{"[\"a\",\"b\"]\n", "", 0}},
		{`echo "a b" | match ^a`, result{"a b\n", "", 0}},
		{"echo a | count", result{"Count: 1 lines\n", "", 0}},
		{"refuse", result{"", "no\n", 1}},
		{"panic", result{"", "command panicked: fell over\n", 1}},
		{"ehco a", result{"", "Invalid command: ehco a; did you mean echo?\n", 2}},
		{"change", result{"", "Invalid command: incomplete: change\nchange it    change it\nchange look  see it\n", 2}},
		{"", result{"", "Invalid command: incomplete:\n", 2}},
		{"bytes", result{"\x00\x01\x02\xff\x1b", "5 bytes\n", 0}},
		{"hostile", result{hostile + "\n", "", 0}},
		{"scp -t /config/candidate.yaml", result{"\x01weir: files go by sftp here: use scp without -O\n", "", 1}},
	} {
		if c.line == "" {
			continue // a client without a command asks for a shell
		}
		if got := r.ssh("admin", c.line); got != c.want {
			t.Errorf("%q: %q, want %q", c.line, got.fields(), c.want.fields())
		}
		r.audited("command", map[string]any{"user": "admin", "way": "exec", "command": c.line, "status": c.want.status})
	}
	if got := r.ssh("admin", "large"); len(got.out) != 20_000_000 || got.status != 0 {
		t.Errorf("large: %d bytes, status %d", len(got.out), got.status)
	}
	if got := r.ssh("operator", "whoami"); !strings.HasPrefix(got.out, "operator operator ssh SHA256:") || !strings.HasSuffix(got.out, " width 0\n") {
		t.Errorf("whoami: %+q", got.fields())
	}
	if got := r.sshWith(strings.NewReader("12345"), "operator", "take"); got != (result{"5 bytes\n", "", 0}) {
		t.Errorf("take: %+q", got.fields())
	}
	// A command that does not take what is sent leaves it.
	if got := r.sshWith(io.LimitReader(zeros{}, 100<<20), "admin", "echo", "a"); got.out != "a\n" || got.status != 0 {
		t.Errorf("echo with 100 MB: %+q", got.fields())
	}
	if got := r.sshWith(io.LimitReader(zeros{}, 100<<20), "operator", "take"); got != (result{"", "more than a megabyte\n", 1}) {
		t.Errorf("take 100 MB: %+q", got.fields())
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
