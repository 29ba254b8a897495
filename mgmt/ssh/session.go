package ssh

import (
	"context"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/crypto/ssh"
)

// session is one channel: a command, a shell, or a transfer of files.
type session struct {
	c       *connection
	channel ssh.Channel
	out     io.Writer // to the client, who must take it
	errors  io.Writer
	number  int
	since   time.Time
	ctx     context.Context
	cancel  context.CancelFunc
	ended   chan struct{} // closed when what the session is for has ended

	configuring atomic.Pointer[configuration] // the mode, while the session is in it

	mu       sync.Mutex
	terminal bool // the client has one
	dumb     bool // it knows no escape sequences
	columns  int
	rows     int
	started  bool
	what     string             // that runs, for people; empty: nothing
	stop     context.CancelFunc // of what runs; nil: nothing does
	resized  func(columns, rows int)
	announce func(text string) // nil: nowhere to
	why      string            // the session was ended; empty: by the client, or not yet
}

func newSession(c *connection, channel ssh.Channel) *session {
	s := &session{c: c, channel: channel, since: time.Now(), ended: make(chan struct{})}
	s.out = &patient{channel, c}
	s.errors = &patient{channel.Stderr(), c}
	s.ctx, s.cancel = context.WithCancel(c.ctx)
	return s
}

// Requests of a session (RFC 4254 section 6).
type (
	ptyRequest struct {
		Term                         string
		Columns, Rows, Width, Height uint32
		Modes                        string
	}
	windowChange  struct{ Columns, Rows, Width, Height uint32 }
	envRequest    struct{ Name, Value string }
	textRequest   struct{ Text string } // exec, subsystem, signal
	exitStatusMsg struct{ Status uint32 }
)

// serve answers the requests of a session until its channel is closed.
func (s *session) serve(requests <-chan *ssh.Request) {
	defer s.cancel()
	var all sync.WaitGroup
	defer all.Wait()
	for r := range requests {
		ok, run := s.answer(r)
		if r.WantReply {
			r.Reply(ok, nil)
		}
		if run == nil {
			continue
		}
		// Only now: a client that had the end before the reply would take its request for lost.
		all.Go(func() {
			status := run()
			s.farewell()
			s.channel.SendRequest("exit-status", false, ssh.Marshal(exitStatusMsg{uint32(status)}))
			close(s.ended)
			s.channel.Close()
		})
	}
}

// answer says whether a request is fulfilled, and what is to run for it, if anything, once that has been said.
func (s *session) answer(r *ssh.Request) (ok bool, run func() (status int)) {
	switch r.Type {
	case "pty-req":
		var p ptyRequest
		if ssh.Unmarshal(r.Payload, &p) != nil {
			return false, nil
		}
		s.mu.Lock()
		s.terminal, s.dumb = true, p.Term == "dumb" || p.Term == ""
		s.mu.Unlock()
		s.resize(p.Columns, p.Rows)
		return true, nil
	case "window-change":
		var w windowChange
		if ssh.Unmarshal(r.Payload, &w) != nil {
			return false, nil
		}
		s.resize(w.Columns, w.Rows)
		return true, nil
	case "env":
		// Nothing here has colours or a language, so there is nothing for a variable to change but the terminal's kind.
		var e envRequest
		if ssh.Unmarshal(r.Payload, &e) != nil || len(e.Value) > envMax {
			return false, nil
		}
		if e.Name == "TERM" {
			s.mu.Lock()
			s.dumb = e.Value == "dumb"
			s.mu.Unlock()
		}
		return e.Name == "TERM" || e.Name == "NO_COLOR" || e.Name == "LANG", nil
	case "exec":
		var t textRequest
		if ssh.Unmarshal(r.Payload, &t) == nil && s.first() {
			return true, func() int { return s.exec(t.Text) }
		}
	case "shell":
		if s.first() {
			return true, s.shell
		}
	case "subsystem":
		var t textRequest
		if ssh.Unmarshal(r.Payload, &t) == nil && t.Text == "sftp" && s.first() {
			return true, s.sftp
		}
	case "signal":
		var t textRequest
		if ssh.Unmarshal(r.Payload, &t) == nil && (t.Text == "INT" || t.Text == "TERM" || t.Text == "HUP") {
			s.interrupt()
			return true, nil
		}
	}
	return false, nil
}

// first is true once: a session is for one thing (RFC 4254 section 6.5).
func (s *session) first() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	again := s.started
	s.started = true
	return !again
}

func (s *session) resize(columns, rows uint32) {
	s.mu.Lock()
	s.columns, s.rows = int(min(columns, columnsMax)), int(min(rows, columnsMax))
	resized := s.resized
	s.mu.Unlock()
	if resized != nil {
		resized(int(min(columns, columnsMax)), int(min(rows, columnsMax)))
	}
}

// width is how many columns the client's terminal has, and 0 where he has none.
func (s *session) width() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.terminal {
		return 0
	}
	return s.columns
}

func (s *session) hasTerminal() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.terminal
}

// running is what runs, for people, and empty where nothing does.
func (s *session) running() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.what
}

// run has work run until it ends, is interrupted, or the session ends.
func (s *session) run(what string, work func(ctx context.Context)) {
	ctx, stop := context.WithCancel(s.ctx)
	defer stop()
	s.mu.Lock()
	s.what, s.stop = what, stop
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.what, s.stop = "", nil
		s.mu.Unlock()
		s.c.touch()
	}()
	s.c.touch()
	work(ctx)
}

// interrupt ends what runs.
func (s *session) interrupt() {
	s.mu.Lock()
	stop := s.stop
	s.mu.Unlock()
	if stop != nil {
		stop()
	}
}

// end ends what runs and the session, and waits a while for its last words.
func (s *session) end(why string) {
	s.mu.Lock()
	started := s.started
	s.why = why
	s.mu.Unlock()
	s.cancel()
	if started {
		select {
		case <-s.ended:
		case <-time.After(endPatience):
		}
	}
}

// farewell tells the client why his session was ended, if it was.
func (s *session) farewell() {
	s.mu.Lock()
	why, announce := s.why, s.announce
	s.mu.Unlock()
	switch {
	case why == "":
	case announce != nil:
		announce("session ends: " + why)
	default:
		_, _ = io.WriteString(s.errors, "session ends: "+why+"\n")
	}
}

// log writes a command to the audit log.
func (s *session) log(way, command string, status int, took time.Duration) {
	s.c.server.audit.Info("command", s.c.fields(zap.Int("session", s.number), zap.String("way", way), zap.String("command", clip(command)),
		zap.Int("status", status), zap.Duration("took", took))...)
}

// patient writes to a client, and ends his connection when he takes nothing for too long.
type patient struct {
	io.Writer
	c *connection
}

// pieceMax is what a client must take in the time that he has: what one packet carries.
const pieceMax = 32 << 10

func (p *patient) Write(text []byte) (n int, err error) {
	for n < len(text) {
		piece := text[n:min(len(text), n+pieceMax)]
		late := time.AfterFunc(p.c.server.limits.Take, func() {
			p.c.server.audit.Warn("client takes nothing", p.c.fields()...)
			p.c.conn.Close()
		})
		written, err := p.Writer.Write(piece)
		late.Stop()
		n += written
		if err != nil {
			return n, err
		}
	}
	return n, nil
}
