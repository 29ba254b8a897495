package ssh

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"weir/perf/lab"
)

// screen is a terminal that a client runs on, and what has been written to it.
type screen struct {
	t       *testing.T
	master  *os.File
	process *lab.Process
	read    sync.WaitGroup

	mu   sync.Mutex
	text strings.Builder
	seen int // of the text, by await
}

// screenOf runs ssh for a user on a terminal of that size.
func (r *rig) screenOf(user, kind string, columns, rows uint16, args ...string) *screen {
	r.t.Helper()
	master := must[*os.File](r.t)(os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0))
	r.t.Cleanup(func() { master.Close() })
	number := must[uint32](r.t)(unix.IoctlGetUint32(int(master.Fd()), unix.TIOCGPTN))
	need(r.t, unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0),
		unix.IoctlSetWinsize(int(master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Col: columns, Row: rows}),
		unix.SetNonblock(int(master.Fd()), true))
	master = os.NewFile(uintptr(must[int](r.t)(unix.Dup(int(master.Fd())))), "terminal") // with the poller, so that Close ends Read
	r.t.Cleanup(func() { master.Close() })
	slave := must[*os.File](r.t)(os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0))
	defer slave.Close()
	s := &screen{t: r.t, master: master}
	s.process = must[*lab.Process](r.t)(r.host.Start(r.t.Context(), lab.Command{
		Name: "ssh", Args: append(append(r.options(user), "-tt", "-e", "none", "-p", fmt.Sprint(port), user+"@127.0.0.1"), args...),
		Env: []string{"TERM=" + kind}, Stdin: slave, Stdout: slave, Stderr: slave, Dir: r.dir,
	}))
	s.read.Go(func() {
		var b [4096]byte
		for {
			n, err := master.Read(b[:])
			s.mu.Lock()
			s.text.Write(b[:n])
			s.mu.Unlock()
			if err != nil {
				return
			}
		}
	})
	return s
}

// type_ sends keys.
func (s *screen) typed(keys string) {
	s.t.Helper()
	if _, err := s.master.WriteString(keys); err != nil {
		s.t.Fatal(err)
	}
}

// await waits for a text behind the one that was last waited for, and returns everything up to its end.
func (s *screen) await(text string) (shown string) {
	s.t.Helper()
	ok := false
	defer func() {
		if !ok {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.t.Logf("the screen has %+q; read up to %d", s.text.String(), s.seen)
		}
	}()
	eventually(s.t, fmt.Sprintf("the screen shows %+q", text), func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		all := s.text.String()
		i := strings.Index(all[s.seen:], text)
		if i < 0 {
			return false
		}
		shown = all[s.seen : s.seen+i+len(text)]
		s.seen += i + len(text)
		return true
	})
	ok = true
	return shown
}

// size changes the size of the terminal.
func (s *screen) size(columns, rows uint16) {
	s.t.Helper()
	need(s.t, unix.IoctlSetWinsize(int(s.master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Col: columns, Row: rows}), s.process.Signal(syscall.SIGWINCH))
}

// wait waits for the client's end.
func (s *screen) wait() (status string) {
	s.t.Helper()
	status = "exit status 0"
	if err := s.process.Wait(); err != nil {
		status = strings.TrimPrefix(err.Error(), "run ssh: ")
	}
	s.master.Close()
	s.read.Wait()
	return status
}
