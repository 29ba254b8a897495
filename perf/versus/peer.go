package versus

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// CPU is where both run: not the first, which has the most interrupts, if there is another.
func CPU() int { return min(1, runtime.NumCPU()-1) }

// Peer is a program of perf/dpdk. It ends with the test.
type Peer struct {
	tb     testing.TB
	in     io.WriteCloser
	out    *bufio.Reader
	cmd    *exec.Cmd
	stderr strings.Builder
}

// Start starts a program of DPDK's, on CPU, in huge pages of its own (see HugePages), with all the vectors that the machine has.
func Start(tb testing.TB, program string, args ...string) *Peer {
	tb.Helper()
	cpu := strconv.Itoa(CPU())
	eal := []string{"--lcores", "0@" + cpu, "--in-memory", "--no-pci", "--no-telemetry", "--log-level=error",
		"--force-max-simd-bitwidth=512", "--"}
	p := &Peer{tb: tb, cmd: exec.Command(program, append(eal, args...)...)}
	p.cmd.Stderr = &p.stderr
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		tb.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	p.out = bufio.NewReader(out)
	if err := p.cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(p.stop)
	return p
}

func (p *Peer) stop() {
	_ = p.in.Close() // it ends with its input
	if err := p.cmd.Wait(); err != nil && !p.tb.Failed() {
		p.tb.Errorf("%s: %v\n%s", p.cmd.Path, err, &p.stderr)
	}
}

// Ask gives a command, if there is one, and reads the values of the answer.
func (p *Peer) Ask(command string, values ...any) {
	p.tb.Helper()
	if command != "" {
		if _, err := io.WriteString(p.in, command+"\n"); err != nil {
			p.tb.Fatalf("%s: %s: %v", p.cmd.Path, command, err)
		}
	}
	line, err := p.out.ReadString('\n')
	if err == nil {
		_, err = fmt.Sscan(line, values...)
	}
	if err != nil {
		_ = p.in.Close()
		_ = p.cmd.Wait()
		p.tb.Fatalf("%s: answer %q to %q: %v\n%s", p.cmd.Path, line, command, err, &p.stderr)
	}
}

const hugePages = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"

// HugePages has the kernel set pages of 2 MiB aside for the peers, which is how DPDK is run, until the test is over.
func HugePages(tb testing.TB, n int) {
	tb.Helper()
	text, err := os.ReadFile(hugePages)
	if err != nil {
		tb.Fatal(err)
	}
	before, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		tb.Fatal(err)
	}
	set := func(n int) {
		if err := os.WriteFile(hugePages, []byte(strconv.Itoa(n)), 0o644); err != nil {
			tb.Fatalf("set huge pages aside: %v", err)
		}
	}
	tb.Cleanup(func() { set(before) })
	set(before + n)
	text, err = os.ReadFile(hugePages)
	if got, _ := strconv.Atoi(strings.TrimSpace(string(text))); err != nil || got < before+n {
		tb.Fatalf("set huge pages aside: %d of %d, %v", got-before, n, err)
	}
}

// Pin keeps the calling goroutine's thread on CPU until the test is over, which must be done by the same goroutine.
func Pin(tb testing.TB) {
	tb.Helper()
	runtime.LockOSThread()
	var before, one unix.CPUSet
	one.Set(CPU())
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		tb.Fatal(err)
	}
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		_ = unix.SchedSetaffinity(0, &before)
		runtime.UnlockOSThread()
	})
}

// ThreadTime is the CPU time of the calling thread, in ns.
func ThreadTime() int64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts)
	return ts.Nano()
}
