package boot

import (
	"context"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// reaper takes the ends of processes that have become PID 1's because their parents ended before them. Those that PID 1 has
// started itself are left to who waits for them.
type reaper struct {
	mu  sync.Mutex
	own map[int]bool
}

// start starts a command, whose end is the caller's.
func (r *reaper) start(c *exec.Cmd) error {
	r.mu.Lock() // it may end before start returns
	defer r.mu.Unlock()
	if err := c.Start(); err != nil {
		return err
	}
	if r.own == nil {
		r.own = map[int]bool{}
	}
	r.own[c.Process.Pid] = true
	return nil
}

// wait waits for a command that start has started.
func (r *reaper) wait(c *exec.Cmd) error {
	err := c.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.own, c.Process.Pid)
	return err
}

// run reaps until the context ends.
func (r *reaper) run(ctx context.Context) {
	ends := make(chan os.Signal, 1)
	signal.Notify(ends, unix.SIGCHLD)
	defer signal.Stop(ends)
	for {
		r.reap()
		select {
		case <-ctx.Done():
			return
		case <-ends:
		}
	}
}

// reap takes all that have ended and are nobody's.
func (r *reaper) reap() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, pid := range zombies() {
		if !r.own[pid] {
			_, _ = unix.Wait4(pid, nil, unix.WNOHANG, nil)
		}
	}
}

// zombies are the children of this process that have ended and were not waited for.
func zombies() (list []int) {
	self := strconv.Itoa(os.Getpid())
	stats, _ := filepath.Glob("/proc/[0-9]*/stat") // the pattern is a good one
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // gone
		}
		// PID (NAME) STATE PARENT …, where the name may have anything in it.
		fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		if len(fields) < 2 || fields[0] != "Z" || fields[1] != self {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil {
			list = append(list, pid)
		}
	}
	return list
}
