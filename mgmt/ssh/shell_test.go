package ssh

import (
	"context"
	"slices"
	"strings"
	"testing"

	"weir/mgmt"
)

const prompt = "admin@edge1> "

func TestTerminal(t *testing.T) {
	r := newRig(t, DefaultLimits, testCommands()...)
	s := r.screenOf("admin", "xterm", 80, 24)
	s.await(prompt)

	s.typed("echo a b\r")
	s.await("echo a b\r\na,b\r\n" + prompt)

	r.audited("command", map[string]any{"way": "shell", "command": "echo a b"})

	// Tab completes what there is one way to, and lists the ways otherwise.
	s.typed("cha\tl\t\r")
	s.await("change look \r\nseen\r\n" + prompt)
	s.typed("change \t")
	s.await("  it    change it\r\n  look  see it\r\n" + prompt + "change ")
	s.typed("\x03")
	s.await(prompt)

	// A question mark helps in place; the line stays.
	s.typed("echo x?")
	s.await("echo x?\r\n")
	s.await("WORD…\r\n")
	s.await(prompt + "echo x")
	s.typed("y\r")
	s.await("xy\r\n" + prompt)
	s.typed(`echo "a?"` + "\r")
	s.await("\r\na?\r\n" + prompt)

	// History.
	s.typed("\x1b[A\x1b[A\r")
	s.await("\r\nxy\r\n" + prompt)

	// Ctrl-C ends what runs, and at the prompt the line.
	s.typed("count\r")
	s.await("\r\n1000\r\n")
	s.typed("\x03")
	s.await("ended\r\n" + prompt)
	s.typed("large\r") // 20 MB, of which the terminal gets no more than is on the way
	s.await(strings.Repeat("x", 99) + "\r\n")
	s.typed("\x03")
	s.await(prompt)
	s.mu.Lock()
	if n := s.text.Len(); n > 10_000_000 {
		t.Errorf("an output that was interrupted went on for %d bytes", n)
	}
	s.mu.Unlock()
	s.typed("nonsense\x03")
	s.await(prompt)
	s.typed("echo after\r")
	s.await("\r\nafter\r\n" + prompt)

	s.typed("nonsense\r")
	s.await("Invalid command: nonsense\r\n" + prompt)
	s.typed("bytes\r")
	s.await("this is no text")
	s.await(prompt)

	// The width is the terminal's, until it is told otherwise.
	s.typed("whoami\r")
	s.await("width 80\r\n" + prompt)
	s.size(100, 30)
	eventually(t, "the width has changed", func() bool {
		s.typed("whoami\r")
		s.await("width ")
		return strings.HasPrefix(s.await("\r\n"+prompt), "100")
	})
	s.typed("set terminal length 0\r")
	s.await(prompt)
	s.typed("set terminal width 511\r")
	s.await(prompt)
	s.typed("whoami\r")
	s.await("width 511\r\n" + prompt)
	s.typed("set terminal width x\r")
	s.await("Invalid command: set terminal width N")

	s.await(prompt)
	s.typed("\x04")
	if status := s.wait(); status != "exit status 2" {
		t.Errorf("a shell whose last command was bad ends with %s", status)
	}
	s = r.screenOf("admin", "xterm", 80, 24)
	s.await(prompt)
	s.typed("exit\r")
	if status := s.wait(); status != "exit status 0" {
		t.Errorf("exit ends with %s", status)
	}
}

// TestHostile: nothing that a name could contain reaches a terminal as more than text.
func TestHostile(t *testing.T) {
	r := newRig(t, DefaultLimits, testCommands()...)
	const shown = `a\x1b[2J\x1b]0;title\x07b\x0dc\x9bd\u202ee\xfff\x9bg` + "\r\n"
	s := r.screenOf("admin", "xterm", 200, 24)
	s.await(prompt)
	s.typed("hostile\r")
	s.await(shown + prompt)
	s.typed("exit\r")
	s.wait()
	s = r.screenOf("admin", "xterm", 200, 24, "hostile")
	s.await(shown)
	s.wait()
}

// TestScript: without a terminal there is no prompt and no echo.
func TestScript(t *testing.T) {
	r := newRig(t, DefaultLimits, testCommands()...)
	got := r.sshWith(strings.NewReader("echo a\nset terminal length 0\n\nhostile\nrefuse\necho b"), "admin", "-T")
	if want := (result{"a\n" + hostile + "\nb\n", "no\n", 0}); got != want {
		t.Errorf("%+q, want %+q", got.fields(), want.fields())
	}
	if got := r.sshWith(strings.NewReader("nonsense\n"), "admin", "-T"); got.status != 2 {
		t.Errorf("%+q", got.fields())
	}
	if got := r.sshWith(strings.NewReader("echo a\nexit\necho b\n"), "admin", "-T"); got != (result{"a\n", "", 0}) {
		t.Errorf("%+q", got.fields())
	}
	if got := r.sshWith(strings.NewReader("echo "+strings.Repeat("x", lineMax)+"\n"), "admin", "-T"); got.status != 2 || got.out != "" {
		t.Errorf("a long line: %.200q", got.fields())
	}
}

// TestDumb: a terminal that knows no escape sequences gets none.
func TestDumb(t *testing.T) {
	r := newRig(t, DefaultLimits, testCommands()...)
	s := r.screenOf("admin", "dumb", 80, 24)
	s.await(prompt)
	s.typed("ecko\x7f\x7fho a\r")
	s.await("\r\na\r\n" + prompt)
	s.typed("change \t")
	s.await("  it    change it\r\n  look  see it\r\n" + prompt + "change ")
	s.typed("l?")
	s.await("  look  see it\r\n")
	s.await(prompt + "change l")
	s.typed("\x03")
	s.await(prompt)
	s.typed("exit\r")
	s.wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if text := s.text.String(); strings.Contains(text, "\x1b") {
		t.Errorf("the screen has %+q", text)
	}
}

// deeper is a mode on top of another, as a configuration mode is.
type deeper struct{ gone *bool }

func (deeper) prompt() string { return "deeper# " }
func (deeper) banner() string { return "[edit]" }
func (deeper) left()          {}
func (deeper) candidates(string) ([]mgmt.Candidate, string) {
	return []mgmt.Candidate{{Text: "leave", Help: "go up"}}, ""
}
func (deeper) describe(line string) string { return "help for " + line + "\n" }
func (d deeper) execute(_ context.Context, sh *shell, line string) int {
	if line == "leave" {
		*d.gone = true
		sh.pop()
		return mgmt.StatusOK
	}
	sh.print("deeper has " + line + "\n")
	return mgmt.StatusRefused
}

// TestModes: the uppermost mode has the prompt, the keys and the lines.
func TestModes(t *testing.T) {
	left := false
	before := shellWords
	shellWords = append(slices.Clone(before), shellWord{[]string{"dive"}, "go deeper", mgmt.Operator, func(sh *shell, _ []string) int {
		sh.push(deeper{&left})
		return mgmt.StatusOK
	}})
	r := newRig(t, DefaultLimits, testCommands()...)
	t.Cleanup(func() { shellWords = before })
	s := r.screenOf("admin", "xterm", 80, 24)
	s.await(prompt)
	s.typed("di\t\r")
	s.await("[edit]\r\ndeeper# ")
	s.typed("echo a\r")
	s.await("deeper has echo a\r\n[edit]\r\ndeeper# ")
	s.typed("x?")
	s.await("help for x\r\n")
	s.await("deeper# x")
	s.typed("\x15\t\r")
	s.await(prompt)
	s.typed("exit\r")
	if status := s.wait(); status != "exit status 0" || !left {
		t.Errorf("%s, left: %v", status, left)
	}
	s = r.screenOf("read-only", "xterm", 80, 24)
	s.await("> ")
	s.typed("dive\r")
	s.await("Invalid command: dive")
	s.typed("\x04")
	s.wait()
}
