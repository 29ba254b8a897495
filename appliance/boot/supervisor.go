package boot

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// pace is how patient a supervisor is.
type pace struct {
	pauses  []time.Duration // before it starts the child again: after the first end, the second, …; the last one from then on
	crashes int             // as many ends within the window are a loop: the next start is with the last good configuration
	window  time.Duration
	beat    time.Duration // the child, once ready, says that it is alive at least as often
	stop    time.Duration // for the child to end in order, when it is asked to
}

// usualPace restarts at once, since packets are waiting, and then more and more slowly.
var usualPace = pace{
	pauses:  []time.Duration{0, 250 * time.Millisecond, 500 * time.Millisecond, time.Second, 2 * time.Second, 5 * time.Second},
	crashes: 3,
	window:  time.Minute,
	beat:    15 * time.Second,
	stop:    20 * time.Second,
}

// Phase is what the child is about.
type Phase string

// Phases of the child.
const (
	Starting Phase = "starting" // runs, and forwards nothing yet
	Ready    Phase = "running"
	Pausing  Phase = "down" // ended, and is started again
	Stopped  Phase = "stopped"
)

// Child is the data plane as its supervisor sees it.
type Child struct {
	Phase    Phase     `json:"phase"`
	PID      int       `json:"pid,omitempty"`
	Starts   int       `json:"starts"`
	LastGood bool      `json:"last_good,omitempty"` // it was told to start with the last good configuration
	Ended    string    `json:"ended,omitempty"`     // how it ended last
	EndedAt  time.Time `json:"ended_at,omitzero"`
}

// supervisor keeps one child running.
type supervisor struct {
	pace    pace
	command func(lastGood bool) *exec.Cmd // to be started
	reaper  reaper
	changed func(Child)      // called after each change
	ended   func(how string) // called when the child has ended by itself

	mu       sync.Mutex
	child    Child
	progress time.Time     // when the child was last seen to work
	news     chan struct{} // has room for one: something was said
	said     notification  // since
}

func newSupervisor(p pace, command func(lastGood bool) *exec.Cmd) *supervisor {
	return &supervisor{
		pace: p, command: command, changed: func(Child) {}, ended: func(string) {},
		child: Child{Phase: Pausing}, progress: time.Now(), news: make(chan struct{}, 1),
	}
}

// state is the child as it is now.
func (s *supervisor) state() Child {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.child
}

// idle is for how long the child has not been seen to work.
func (s *supervisor) idle() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Since(s.progress)
}

// take is told what processes say of themselves. Only the child's word counts.
func (s *supervisor) take(n notification) {
	s.mu.Lock()
	if n.pid != s.child.PID || n.pid == 0 {
		s.mu.Unlock()
		return
	}
	if n.ready || n.watched {
		s.progress = time.Now()
	}
	s.said.ready = s.said.ready || n.ready
	s.said.watched = s.said.watched || n.watched
	s.mu.Unlock()
	select {
	case s.news <- struct{}{}:
	default:
	}
}

// set changes what is known of the child.
func (s *supervisor) set(change func(*Child)) {
	s.mu.Lock()
	change(&s.child)
	c := s.child
	s.mu.Unlock()
	s.changed(c)
}

// run starts the child again and again until the context ends; then it has it end in order, and returns.
func (s *supervisor) run(ctx context.Context) {
	defer s.set(func(c *Child) { c.Phase, c.PID = Stopped, 0 })
	var ends []time.Time // within the window
	for {
		lastGood := len(ends) >= s.pace.crashes
		if lastGood {
			ends = nil // where that does not hold either, the file has its turn again
		}
		how := s.once(ctx, lastGood)
		if ctx.Err() != nil {
			return
		}
		now := time.Now()
		s.set(func(c *Child) { c.Phase, c.PID, c.Ended, c.EndedAt = Pausing, 0, how, now })
		s.ended(how)
		for len(ends) > 0 && now.Sub(ends[0]) > s.pace.window {
			ends = ends[1:]
		}
		ends = append(ends, now)
		pause := s.pace.pauses[min(len(ends), len(s.pace.pauses))-1]
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// once has the child live, and returns how it ended.
func (s *supervisor) once(ctx context.Context, lastGood bool) string {
	command := s.command(lastGood)
	s.mu.Lock() // the child's first word must not come before its number is known
	err := s.reaper.start(command)
	if err != nil {
		s.mu.Unlock()
		return fmt.Sprintf("start: %v", err)
	}
	s.said = notification{}
	s.child.Phase, s.child.PID, s.child.LastGood = Starting, command.Process.Pid, lastGood
	s.child.Starts++
	c := s.child
	s.mu.Unlock()
	s.changed(c)

	gone := make(chan error, 1)
	go func() { gone <- s.reaper.wait(command) }()
	silence := time.NewTimer(0) // runs once it is ready
	if !silence.Stop() {
		<-silence.C
	}
	defer silence.Stop()
	ready, hung := false, false
	for {
		select {
		case err := <-gone:
			if hung {
				return "hung: it did not say that it is alive"
			}
			return describeEnd(command, err)
		case <-s.news:
			s.mu.Lock()
			said := s.said
			s.said = notification{}
			s.mu.Unlock()
			if said.ready && !ready {
				ready = true
				s.set(func(c *Child) { c.Phase = Ready })
			}
			if ready {
				silence.Reset(s.pace.beat)
			}
		case <-silence.C:
			// Go answers SIGABRT with all stacks, which go to its log; should that hang too, there is the other one.
			if hung {
				_ = command.Process.Kill()
				continue
			}
			hung = true
			_ = command.Process.Signal(unix.SIGABRT)
			silence.Reset(time.Second)
		case <-ctx.Done():
			return s.end(command, gone)
		}
	}
}

// end has the child end in order, or else at once.
func (s *supervisor) end(command *exec.Cmd, gone <-chan error) string {
	_ = command.Process.Signal(unix.SIGTERM)
	select {
	case err := <-gone:
		return describeEnd(command, err)
	case <-time.After(s.pace.stop):
		_ = command.Process.Kill()
		<-gone
		return "killed: it did not end in order"
	}
}

func describeEnd(command *exec.Cmd, err error) string {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return "ended by itself"
	case errors.As(err, &exit):
		return exit.Error()
	}
	return fmt.Sprintf("wait for process %d: %v", command.Process.Pid, err)
}

// childEnvironment is that of the data plane: it says READY, and WATCHDOG at half of beat, to the socket at path.
func childEnvironment(path string, beat time.Duration) []string {
	return append(os.Environ(), "NOTIFY_SOCKET="+path, "WATCHDOG_USEC="+strconv.FormatInt(beat.Microseconds(), 10))
}
