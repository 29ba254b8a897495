package ssh

import (
	"context"
	"io"
	"strings"
	"time"

	"weir/mgmt"
)

// exec runs the one command that a session is for. Its output goes to standard output, or to standard error if it is refused.
func (s *session) exec(line string) (status int) {
	if len(line) > lineMax {
		io.WriteString(s.errors, "Invalid command: too long\n")
		return mgmt.StatusBadCommand
	}
	if strings.HasPrefix(line, "scp ") {
		// The old protocol of scp: a byte 1 and a line are an error of it.
		io.WriteString(s.out, "\x01weir: files go by sftp here: use scp without -O\n")
		s.log("exec", line, mgmt.StatusRefused, 0)
		return mgmt.StatusRefused
	}
	out, errors := s.out, s.errors
	input := io.Reader(&stdin{channel: s.channel, errors: errors})
	if s.hasTerminal() {
		// What is typed is not for the command; Ctrl-C ends it.
		input = strings.NewReader("")
		go s.watchKeys()
		out = mgmt.NewEscaper(returns{s.out})
		errors = out // as a terminal shows them
	}
	start := time.Now()
	s.run(line, func(ctx context.Context) { status = s.command(ctx, line, input, out, errors) })
	s.log("exec", line, status, time.Since(start))
	return status
}

// watchKeys interrupts what runs on Ctrl-C, until the channel ends.
func (s *session) watchKeys() {
	var b [256]byte
	for {
		n, err := s.channel.Read(b[:])
		if strings.ContainsRune(string(b[:n]), keyInterrupt) {
			s.interrupt()
		}
		if err != nil {
			return
		}
	}
}

// command runs a line of the tree until it ends or ctx does.
func (s *session) command(ctx context.Context, line string, input io.Reader, out, errors io.Writer) (status int) {
	role := s.c.role()
	invocation, output, status := s.c.serving.root.Invoke(line, role)
	candidate := &orCandidate{Reader: input, all: &s.c.server.candidates, user: s.c.user}
	switch {
	case role == mgmt.NoRole:
		output, status = []byte("permission denied\n"), mgmt.StatusRefused
	case invocation == nil:
	case invocation.Command.Binary && s.hasTerminal():
		output, status = []byte("this is no text: give it a file or a program, as in ssh -T … > FILE\n"), mgmt.StatusRefused
	default:
		if invocation.Command.Candidate {
			input = candidate
		}
		if invocation.Command.Stream == nil {
			release := s.c.server.turn(ctx, s.c.user)
			if release == nil {
				return mgmt.StatusRefused
			}
			defer release()
		}
		output, status = invocation.Run(ctx, mgmt.Request{Stdin: input, By: s.c.author(), Role: role, Width: s.width()}, out)
	}
	if status == mgmt.StatusOK && invocation != nil && invocation.Command.Name == "commit" {
		candidate.committed()
	}
	if status != mgmt.StatusOK || invocation != nil && invocation.Command.Binary {
		out = errors
	}
	show(ctx, out, output)
	return status
}

// show writes a command's output until the client has enough. What was interrupted before, and says so, is shown all the same.
func show(ctx context.Context, out io.Writer, output []byte) {
	for first := true; len(output) > 0 && (first || ctx.Err() == nil); first = false {
		n := min(len(output), pieceMax)
		if _, err := out.Write(output[:n]); err != nil {
			return // he who takes nothing is cut off
		}
		output = output[n:]
	}
}
