package boot

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// asChild has the test program be a data plane of some kind.
const asChild = "WEIR_TEST_IS_CHILD"

func beChild(kind string) {
	term := make(chan os.Signal, 1)
	signal.Notify(term, unix.SIGTERM)
	say := func(text string) {
		c, err := net.Dial("unixgram", os.Getenv("NOTIFY_SOCKET"))
		if err != nil {
			panic(err)
		}
		defer c.Close()
		if _, err := c.Write([]byte(text)); err != nil {
			panic(err)
		}
	}
	switch kind {
	case "works":
		say("READY=1")
		tick := time.NewTicker(5 * time.Millisecond)
		for {
			select {
			case <-term:
				say("STOPPING=1")
				os.Exit(0)
			case <-tick.C:
				say("WATCHDOG=1")
			}
		}
	case "hangs":
		say("READY=1")
		time.Sleep(time.Hour)
	case "stubborn":
		say("READY=1")
		for {
			say("WATCHDOG=1")
			time.Sleep(5 * time.Millisecond)
		}
	case "crashes":
		say("READY=1")
		panic("on purpose")
	case "refuses":
		os.Exit(1)
	case "orphans": // its own child outlives it, and is nobody's then
		c := exec.Command(os.Args[0])
		c.Env = append(os.Environ(), asChild+"=refuses")
		if err := c.Start(); err != nil {
			panic(err)
		}
		fmt.Println(c.Process.Pid)
		os.Exit(0)
	}
}

// testPace is quick, but for a child that is to say that it is alive.
var testPace = pace{pauses: []time.Duration{0, time.Millisecond}, crashes: 3, window: time.Hour, beat: 5 * time.Second, stop: 10 * time.Second}

// supervised is a supervisor that runs, with what it told.
type supervised struct {
	*supervisor
	t     *testing.T
	mu    sync.Mutex
	told  []Child
	ended []string
	kinds []string // of the children that were started
	more  chan struct{}
}

// supervise runs children: kind says of what kind, by whether it shall be the last good configuration.
func supervise(t *testing.T, p pace, kind func(start int, lastGood bool) string) *supervised {
	t.Helper()
	n, err := listenNotifications(filepath.Join(t.TempDir(), "notify"))
	if err != nil {
		t.Fatal(err)
	}
	s := &supervised{t: t, more: make(chan struct{}, 1)}
	note := func(f func()) {
		s.mu.Lock()
		f()
		s.mu.Unlock()
		select {
		case s.more <- struct{}{}:
		default:
		}
	}
	s.supervisor = newSupervisor(p, func(lastGood bool) *exec.Cmd {
		k := ""
		note(func() {
			k = kind(len(s.kinds), lastGood)
			s.kinds = append(s.kinds, k)
		})
		c := exec.Command(os.Args[0])
		c.Env = append(childEnvironment(n.path, p.beat), asChild+"="+k)
		return c
	})
	s.changed = func(c Child) { note(func() { s.told = append(s.told, c) }) }
	s.supervisor.ended = func(how string) { note(func() { s.ended = append(s.ended, how) }) }
	ctx, stop := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Go(func() {
		if err := n.serve(s.take); err != nil {
			t.Error(err)
		}
	})
	all.Go(func() { s.run(ctx) })
	t.Cleanup(func() {
		stop()
		for s.state().Phase != Stopped {
			<-s.more
		}
		if err := n.close(); err != nil {
			t.Error(err)
		}
		all.Wait()
	})
	return s
}

// until waits for a condition, which is asked whenever something was told.
func (s *supervised) until(what string, condition func() bool) {
	s.t.Helper()
	deadline := time.After(time.Minute)
	for {
		s.mu.Lock()
		ok := condition()
		s.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-s.more:
		case <-deadline:
			s.t.Fatalf("%s; it told %+v, ends %q, kinds %q", what, s.told, s.ended, s.kinds)
		}
	}
}

func (s *supervised) last() Child {
	if len(s.told) == 0 {
		return Child{}
	}
	return s.told[len(s.told)-1]
}

func TestRunsAndEnds(t *testing.T) {
	s := supervise(t, testPace, func(int, bool) string { return "works" })
	s.until("it is not ready", func() bool { return s.last().Phase == Ready })
	seen := func() time.Time {
		s.supervisor.mu.Lock()
		defer s.supervisor.mu.Unlock()
		return s.progress
	}
	before, deadline := seen(), time.Now().Add(time.Minute)
	for tick := time.NewTicker(time.Millisecond); !seen().After(before); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatal("it is not seen to work")
		}
	}
	c := s.state()
	if c.Starts != 1 || c.LastGood || c.PID == 0 || c.Ended != "" {
		t.Errorf("%+v", c)
	}
}

// TestCrashIsRestarted: a child that dies is there again, and one that dies over and over is started with the last good configuration.
func TestCrashIsRestarted(t *testing.T) {
	s := supervise(t, testPace, func(_ int, lastGood bool) string {
		if lastGood {
			return "works"
		}
		return "crashes"
	})
	s.until("it is not started with the last good configuration", func() bool { return s.last().Phase == Ready && s.last().LastGood })
	if len(s.ended) != testPace.crashes || s.ended[0] != "exit status 2" {
		t.Errorf("it ended %q", s.ended)
	}
	if c := s.state(); c.Starts != testPace.crashes+1 {
		t.Errorf("%+v", c)
	}
}

// TestRefusalIsRetried: neither does it hold that the child never becomes ready, and after a try with the last good configuration it is
// the file's turn again.
func TestRefusalIsRetried(t *testing.T) {
	var good []bool
	s := supervise(t, testPace, func(start int, lastGood bool) string {
		good = append(good, lastGood)
		if start == 7 {
			return "works"
		}
		return "refuses"
	})
	s.until("it never works", func() bool { return s.last().Phase == Ready })
	want := []bool{false, false, false, true, false, false, true, false} // its end counts, too
	if fmt.Sprint(good) != fmt.Sprint(want) {
		t.Errorf("started with the last good configuration: %v, expected %v", good, want)
	}
	if s.ended[0] != "exit status 1" {
		t.Errorf("%q", s.ended)
	}
}

func TestOldCrashesDoNotCount(t *testing.T) {
	p := testPace
	p.window = 0
	s := supervise(t, p, func(start int, lastGood bool) string {
		if lastGood {
			t.Error("told to start with the last good configuration")
		}
		if start == 6 {
			return "works"
		}
		return "crashes"
	})
	s.until("it never works", func() bool { return s.last().Phase == Ready && len(s.kinds) == 7 })
}

func TestHangIsEnded(t *testing.T) {
	p := testPace
	p.beat = 200 * time.Millisecond
	s := supervise(t, p, func(start int, _ bool) string {
		if start == 0 {
			return "hangs"
		}
		return "works"
	})
	s.until("it is not started again", func() bool { return s.last().Phase == Ready && len(s.kinds) > 1 })
	if !strings.HasPrefix(s.ended[0], "hung") {
		t.Errorf("%q", s.ended)
	}
}

func TestStubbornIsKilled(t *testing.T) {
	p := testPace
	p.stop = 50 * time.Millisecond
	s := supervise(t, p, func(int, bool) string { return "stubborn" })
	s.until("it is not ready", func() bool { return s.last().Phase == Ready })
	// The end of the test waits for it.
}

// TestStrangersHaveNoSay: only the child's own word makes it ready.
func TestStrangersHaveNoSay(t *testing.T) {
	s := newSupervisor(testPace, nil)
	s.child.PID = 42
	s.take(notification{pid: 43, ready: true})
	select {
	case <-s.news:
		t.Error("a stranger was listened to")
	default:
	}
	s.take(notification{pid: 42, ready: true})
	select {
	case <-s.news:
	default:
		t.Error("the child was not listened to")
	}
}

func TestNotifications(t *testing.T) {
	for text, want := range map[string]notification{
		"READY=1":                         {pid: 7, ready: true},
		"RELOADING=1\nMONOTONIC_USEC=5":   {pid: 7},
		"STATUS=READY=1\nWATCHDOG=1\n":    {pid: 7, watched: true},
		"STOPPING=1\nREADY=1\nWATCHDOG=1": {pid: 7, ready: true, watched: true},
		"READY=10":                        {pid: 7},
		"":                                {pid: 7},
	} {
		if got := parseNotification(7, text); got != want {
			t.Errorf("%q: %+v", text, got)
		}
	}
}

// TestZombiesAreReaped: processes that lost their parents are taken, and those that somebody waits for are left to him.
func TestZombiesAreReaped(t *testing.T) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	defer unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
	ctx, stop := context.WithCancel(context.Background())
	var r reaper
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.run(ctx)
	}()
	defer func() {
		stop()
		<-done
	}()
	for range 20 {
		c := exec.Command(os.Args[0])
		c.Env = append(os.Environ(), asChild+"=orphans")
		var out strings.Builder
		c.Stdout = &out
		if err := r.start(c); err != nil {
			t.Fatal(err)
		}
		if err := r.wait(c); err != nil {
			t.Fatal(err)
		}
		var orphan int
		if _, err := fmt.Sscan(out.String(), &orphan); err != nil {
			t.Fatal(err)
		}
		deadline := time.Now().Add(time.Minute)
		for unix.Kill(orphan, 0) == nil {
			if time.Now().After(deadline) {
				t.Fatalf("process %d is still there", orphan)
			}
			time.Sleep(time.Millisecond)
		}
	}
}
