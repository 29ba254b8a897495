package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"sync"
	"syscall"
	"time"
)

// stopGrace is how long a process may take to end by SIGTERM, before it is killed.
const stopGrace = 5 * time.Second

// outputKept is how many bytes of a process's output are kept: the last ones.
const outputKept = 1 << 20

// Command describes a process to start inside a host.
type Command struct {
	Name string
	Args []string
	Env  []string // added to the environment of the caller
	Dir  string

	Stdin          io.Reader // nil: nothing
	Stdout, Stderr io.Writer // nil: kept, see Process.Output

	// Foreground leaves the process in the caller's process group, as a shell on the terminal must be. Otherwise
	// it has its own, so that Ctrl-C on the terminal reaches it only through the laboratory.
	Foreground bool
}

// Process is a process inside a host. It ends with the laboratory at the latest, and with the program that made the
// laboratory, however that ends.
type Process struct {
	host    *Host
	command Command
	cmd     *exec.Cmd
	output  tailBuffer
	done    chan struct{}
	err     error // valid when done is closed
}

// Command starts a program inside the host; Process.Output has what it prints. When ctx ends, the process is stopped.
func (h *Host) Command(ctx context.Context, name string, args ...string) (*Process, error) {
	return h.Start(ctx, Command{Name: name, Args: args})
}

// Start starts a process inside the host. When ctx ends, the process is stopped.
func (h *Host) Start(ctx context.Context, c Command) (*Process, error) {
	p := &Process{host: h, command: c, done: make(chan struct{})}
	p.cmd = exec.Command(c.Name, c.Args...)
	p.cmd.Dir = c.Dir
	p.cmd.Env = append(os.Environ(), c.Env...)
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = c.Stdin, c.Stdout, c.Stderr
	if c.Stdout == nil {
		p.cmd.Stdout = &p.output
	}
	if c.Stderr == nil {
		p.cmd.Stderr = &p.output
	}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: !c.Foreground}
	p.cmd.WaitDelay = time.Second // a grandchild that holds the output open does not hold us

	k, err := h.keep()
	if err == nil {
		err = k.do(p.cmd.Start)
	}
	if err != nil {
		return nil, fmt.Errorf("start %s in %s: %w", c.Name, h.name, err)
	}
	trackProcess(p.cmd.Process.Pid, fmt.Sprintf("%s in %s", c.Name, h.namespace))
	go func() {
		p.err = p.cmd.Wait()
		if !c.Foreground {
			_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) // the rest of its process group, if there is any
		}
		untrackProcess(p.cmd.Process.Pid)
		close(p.done)
	}()

	h.mu.Lock()
	closed := h.closed
	h.processes = append(h.processes, p)
	h.mu.Unlock()
	if closed {
		return nil, errors.Join(fmt.Errorf("start %s in %s: %w", c.Name, h.name, ErrClosed), p.Stop())
	}
	unregister := context.AfterFunc(ctx, func() { _ = p.Stop() })
	go func() {
		<-p.done
		unregister()
	}()
	return p, nil
}

// PID is the process's identifier.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Output is what the process has printed so far, both streams, the last megabyte.
func (p *Process) Output() string { return p.output.String() }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Wait waits for the end of the process and returns how it ended: nil means exit code 0.
func (p *Process) Wait() error {
	<-p.done
	if p.err != nil {
		return fmt.Errorf("run %s: %w", p.command.Name, p.err)
	}
	return nil
}

// CPU is the CPU time that the process took, its own and the kernel's for it. It waits for the end of the process.
func (p *Process) CPU() time.Duration {
	<-p.done
	return p.cmd.ProcessState.UserTime() + p.cmd.ProcessState.SystemTime()
}

// Signal sends the process a signal. A process that has ended is no error.
func (p *Process) Signal(s syscall.Signal) error {
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal %s: %w", p.command.Name, err)
	}
	return nil
}

// Stop ends the process by SIGTERM, and after a grace period by SIGKILL, and what it has started with it. The error
// says that the grace period was used up; how the process ended otherwise is for Wait to tell.
func (p *Process) Stop() error {
	if err := p.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	timer := time.NewTimer(stopGrace)
	defer timer.Stop()
	select {
	case <-p.done:
		return nil
	case <-timer.C:
		_ = p.cmd.Process.Kill()
		<-p.done
		return fmt.Errorf("stop %s: it ignored SIGTERM for %v and was killed", p.command.Name, stopGrace)
	}
}

// stopProcesses stops everything that Start has started, last first.
func (h *Host) stopProcesses() error {
	h.mu.Lock()
	processes := slices.Clone(h.processes)
	h.mu.Unlock()
	var errs []error
	for _, p := range slices.Backward(processes) {
		errs = append(errs, p.Stop())
	}
	return errors.Join(errs...)
}

// tailBuffer keeps the end of what is written to it.
type tailBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *tailBuffer) Write(data []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.buf.Write(data)
	if excess := b.buf.Len() - outputKept; excess > 0 {
		b.buf.Next(excess)
	}
	return len(data), nil
}

func (b *tailBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
