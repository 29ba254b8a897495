package ssh

import (
	"bufio"
	"context"
	"errors"
	"io"
	"strings"
	"time"

	"golang.org/x/term"

	"weir/mgmt"
)

// shell is a session that takes one line after another, with a terminal or without.
type shell struct {
	s      *session
	modes  []mode
	out    io.Writer // for text, already safe for a terminal
	errors io.Writer
	editor *term.Terminal // nil without a terminal
	typed  *input         // what it takes
	lines  *bufio.Reader  // what comes where there is none
	text   bool           // what is typed is text, not commands: nothing is completed
	status int            // of the last command
}

func newShell(s *session) *shell {
	return &shell{s: s, modes: []mode{operational{s}}}
}

func (sh *shell) mode() mode { return sh.modes[len(sh.modes)-1] }

// push enters a mode.
func (sh *shell) push(m mode) { sh.modes = append(sh.modes, m) }

// pop leaves it; leaving the first ends the shell.
func (sh *shell) pop() {
	left := sh.mode()
	sh.modes = sh.modes[:len(sh.modes)-1]
	left.left()
}

// print writes text for people. Lines end in \n.
func (sh *shell) print(text string) { _, _ = io.WriteString(sh.out, text) }

// fail writes why something did not go as asked.
func (sh *shell) fail(text string) { _, _ = io.WriteString(sh.errors, text) }

// shell takes lines until the client leaves. Its status is that of the last command.
func (s *session) shell() (status int) {
	sh := newShell(s)
	var next func() (line string, err error)
	if s.hasTerminal() {
		next = sh.startEditor()
	} else {
		next = sh.startScript()
	}
	defer s.subscribe()()
	defer func() {
		for len(sh.modes) > 0 {
			sh.pop()
		}
	}()
	for len(sh.modes) > 0 && s.ctx.Err() == nil {
		line, err := next()
		if err != nil {
			break
		}
		if line = strings.TrimSpace(line); line != "" {
			sh.status = sh.execute(line)
		}
	}
	return sh.status
}

func (sh *shell) execute(line string) (status int) {
	start := time.Now()
	sh.s.run(line, func(ctx context.Context) { status = sh.mode().execute(ctx, sh, line) })
	sh.s.log("shell", line, status, time.Since(start))
	return status
}

// startScript has lines come as they are: ssh -T router < commands.
func (sh *shell) startScript() func() (string, error) {
	sh.out, sh.errors = sh.s.out, sh.s.errors
	sh.s.setAnnounce(func(text string) { sh.fail(text + "\n") })
	sh.lines = bufio.NewReaderSize(sh.input(nil), 4096)
	return func() (string, error) {
		line, err := readLine(sh.lines)
		switch {
		case errors.Is(err, errLineTooLong):
			sh.fail("Invalid command: too long\n")
			sh.status = mgmt.StatusBadCommand
		case err == io.EOF && line != "":
			err = nil
		}
		return line, err
	}
}

// input is what the client types or sends, until the session ends.
func (sh *shell) input(interrupt func() bool) *input {
	in := newInput(interrupt)
	go in.pump(sh.s.channel, sh.s.c.touch)
	context.AfterFunc(sh.s.ctx, func() { in.end(io.EOF) })
	return in
}

var errLineTooLong = errors.New("line is too long")

func readLine(r *bufio.Reader) (string, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case len(line) > lineMax:
			return "", errLineTooLong
		case err == nil || !errors.Is(err, bufio.ErrBufferFull):
			return strings.TrimRight(string(line), "\r\n"), err
		}
	}
}

// setAnnounce says how the session tells its client something that he did not ask for.
func (s *session) setAnnounce(announce func(text string)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.announce = announce
}

// interruptRunning ends what runs, and reports whether something did.
func (s *session) interruptRunning() bool {
	running := s.running() != ""
	s.interrupt()
	return running
}
