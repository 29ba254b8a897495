package vm

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Patience is how long something may take that a machine does by itself, under emulation and beside other tests.
const Patience = 5 * time.Minute

// Options of a machine. The zero value of each but Disk is good.
type Options struct {
	Disk     string // raw, or qcow2 if its name ends so
	Memory   int    // MiB; 512
	CPUs     int    // 2
	CPU      string // more of the emulated processor, as "cx16=off"
	NICs     []NIC
	Watchdog bool     // a hardware watchdog that resets (i6300esb, which the kernel of flavour metal knows)
	Once     bool     // ends where the machine would start again
	Extra    []string // more arguments for QEMU
}

// Machine runs until it switches itself off, is cut, or the test ends.
type Machine struct {
	t       testing.TB
	cmd     *exec.Cmd
	console *console
	stdin   io.WriteCloser
	done    chan struct{}
	err     error // valid when done is closed
	stderr  strings.Builder
	begun   time.Time
}

// Firmware of Debian's package ovmf. The variables are each machine's own, and new each time it starts.
const (
	firmwareCode = "/usr/share/OVMF/OVMF_CODE_4M.fd"
	firmwareVars = "/usr/share/OVMF/OVMF_VARS_4M.fd"
)

// Require skips the test where QEMU or its firmware is not installed, and under the race detector. Where CI=true it fails for want of QEMU.
func Require(t testing.TB) {
	t.Helper()
	if underRace {
		t.Skip("images are tried without the race detector")
	}
	missing := func(what string) {
		t.Helper()
		if os.Getenv("CI") == "true" {
			t.Fatalf("%s is not installed: `make setup-image` installs it", what)
		}
		t.Skipf("%s is not installed (`make setup-image` installs it): images are not tried", what)
	}
	if _, err := exec.LookPath("qemu-system-x86_64"); err != nil {
		missing("qemu-system-x86_64")
	}
	for _, file := range []string{firmwareCode, firmwareVars} {
		if _, err := os.Stat(file); err != nil {
			missing(file)
		}
	}
}

// Start switches a machine on.
func Start(t testing.TB, o Options) *Machine {
	t.Helper()
	Require(t)
	dir := t.TempDir()
	vars := filepath.Join(dir, "vars")
	copyFile(t, firmwareVars, vars)
	args := append(o.arguments(vars), o.Extra...)
	m := &Machine{t: t, console: newConsole(), done: make(chan struct{}), begun: time.Now()}
	var files []*os.File
	for i, n := range o.NICs {
		queues, err := n.open()
		if err != nil {
			t.Fatalf("start a machine: NIC %d: %v", i, err)
		}
		args = append(args, n.arguments(i, 3+len(files), len(queues))...)
		files = append(files, queues...)
	}
	m.cmd = exec.Command("qemu-system-x86_64", args...)
	m.cmd.ExtraFiles = files
	m.cmd.Stdout, m.cmd.Stderr = m.console, &m.stderr
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	stdin, err := m.cmd.StdinPipe()
	if err == nil {
		m.stdin, err = stdin, m.run()
	}
	for _, f := range files {
		_ = f.Close() // QEMU has its own
	}
	if err != nil {
		t.Fatalf("start a machine: %v", err)
	}
	t.Cleanup(func() {
		m.Cut()
		if t.Failed() {
			t.Logf("console:\n%s\n%s", tail(m.Console(), 120), m.stderr.String())
		}
	})
	return m
}

// run starts QEMU and sees to its end. It is to end with the tests however those end, which is to say with the thread that started it: that
// one does nothing else meanwhile.
func (m *Machine) run() error {
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := m.cmd.Start()
		started <- err
		if err != nil {
			return
		}
		m.err = m.cmd.Wait()
		close(m.done)
		m.console.end()
	}()
	return <-started
}

// arguments are QEMU's for everything but NICs.
func (o Options) arguments(vars string) []string {
	if o.Memory == 0 {
		o.Memory = 512
	}
	if o.CPUs == 0 {
		o.CPUs = 2
	}
	processor := "max"
	if o.CPU != "" {
		processor += "," + o.CPU
	}
	accelerator := []string{"-accel", "tcg,thread=multi", "-cpu", processor}
	if os.Getenv("WEIR_KVM") == "1" {
		accelerator = []string{"-accel", "kvm", "-cpu", "host"}
	}
	format := "raw"
	if strings.HasSuffix(o.Disk, ".qcow2") {
		format = "qcow2"
	}
	args := append(accelerator,
		"-machine", "q35", "-smp", fmt.Sprint(o.CPUs), "-m", fmt.Sprint(o.Memory), "-nodefaults", "-display", "none",
		"-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console",
		"-drive", "if=pflash,format=raw,readonly=on,file="+firmwareCode, "-drive", "if=pflash,format=raw,file="+vars,
		"-drive", "if=none,id=disk,cache=writeback,format="+format+",file="+o.Disk, "-device", "virtio-blk-pci,drive=disk,bootindex=0,romfile=",
		"-device", "virtio-rng-pci,romfile=")
	if o.Watchdog {
		args = append(args, "-device", "i6300esb", "-action", "watchdog=reset")
	}
	if o.Once {
		args = append(args, "-no-reboot")
	}
	return args
}

// Console is everything that came on the serial console.
func (m *Machine) Console() string { return m.console.text() }

// Await waits for an expression on the console, behind what an earlier Await found, and returns what it and its groups match. A
// machine that switches itself off before, or says nothing of the kind, fails the test.
func (m *Machine) Await(expression string) []string {
	m.t.Helper()
	match, err := m.console.await(regexp.MustCompile(expression), Patience)
	if err != nil {
		m.t.Fatalf("await %q on the console: %v", expression, err)
	}
	return match
}

// Elapsed is how long ago the machine was switched on.
func (m *Machine) Elapsed() time.Duration { return time.Since(m.begun).Round(100 * time.Millisecond) }

// Type sends text to the console.
func (m *Machine) Type(text string) {
	m.t.Helper()
	if _, err := io.WriteString(m.stdin, text); err != nil {
		m.t.Fatalf("type on the console: %v", err)
	}
}

// AwaitOff waits until the machine has switched itself off.
func (m *Machine) AwaitOff() {
	m.t.Helper()
	select {
	case <-m.done:
		if m.err != nil {
			m.t.Fatalf("QEMU: %v", m.err)
		}
	case <-time.After(Patience):
		m.t.Fatalf("the machine is still on after %v", Patience)
	}
}

// Cut takes the power away: what was not written is lost. The disk can be looked at, copied and started again after it.
func (m *Machine) Cut() {
	m.t.Helper()
	select {
	case <-m.done:
		return
	default:
	}
	if err := m.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		m.t.Errorf("cut the power: %v", err)
	}
	<-m.done
}

// tail is the last n lines.
func tail(text string, n int) string {
	lines := strings.Split(text, "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
