package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"weir/perf/lab"
)

// asWeir makes the test program be weir: so the router under test is built as the test is, with -race if that is.
const asWeir = "WEIR_TEST_IS_WEIR"

// TestMain fails the run if anything is left when all tests are over.
func TestMain(m *testing.M) {
	if peak := os.Getenv(measured); peak != "" {
		os.Exit(measure(peak))
	}
	if os.Getenv(asWeir) != "" {
		if at := os.Getenv(killAt); at != "" {
			engineStep = killer(at)
		}
		main()
		os.Exit(0)
	}
	code := m.Run()
	if left, err := lab.Leftovers(); os.Geteuid() == 0 && (err != nil || len(left) > 0) {
		fmt.Fprintln(os.Stderr, "left over:", left, err)
		code = 1
	}
	os.Exit(code)
}

// killAt has the test program, as weir, kill itself before a step of a commit: its name, and which one of that name.
const killAt = "WEIR_TEST_KILL_AT"

func killer(at string) func(string) {
	i := strings.LastIndexByte(at, ' ')
	name, left := at[:i], 0
	if _, err := fmt.Sscan(at[i:], &left); err != nil {
		panic(err)
	}
	return func(step string) {
		if step == name {
			left--
		}
		if left == 0 {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
}

// measured makes the test program run weir and write the peak of its memory, in KiB, to the file that it names. A process
// inherits the peak of the one that starts it, so that the tests themselves, which are large, cannot.
const measured = "WEIR_TEST_PEAK"

func measure(peak string) (status int) {
	command := exec.Command(os.Args[0], os.Args[1:]...)
	command.Stdin, command.Stdout, command.Stderr = os.Stdin, os.Stdout, os.Stderr
	command.Env = append(os.Environ(), measured+"=", asWeir+"=1")
	err := command.Run()
	if command.ProcessState == nil {
		fmt.Fprintln(os.Stderr, err)
		return 125
	}
	used := command.ProcessState.SysUsage().(*syscall.Rusage).Maxrss
	if err := os.WriteFile(peak, fmt.Append(nil, used), 0o644); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 125
	}
	return command.ProcessState.ExitCode()
}

// testContext ends long after any test should have; unlike that of the test, it does for its cleanup too.
func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// must returns the value, or ends the test.
func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// need ends the test if something went wrong.
func need(t testing.TB, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// eventually waits until the condition holds. What it returns beside is said if it never does.
func eventually(t *testing.T, what string, condition func() (ok bool, seen any)) {
	t.Helper()
	const patience = 20 * time.Second
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); ; <-tick.C {
		ok, seen := condition()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s; seen last: %+v", patience, what, seen)
		}
	}
}

// perSecond is a rate that the machine can do: the race detector makes the router several times slower.
func perSecond(rate float64) float64 {
	if raceEnabled {
		return rate / 4
	}
	return rate
}
