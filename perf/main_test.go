package perf

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"weir/perf/lab"
)

// shared is where programs that run beside the tests have their temporary files. The tests have a folder of their own, in which
// nothing of others is taken for theirs.
var shared string

// TestMain fails the run if anything is left when all tests are over. Started by Peers, the same program is the floor.
func TestMain(m *testing.M) {
	if os.Getenv("PERF_TEST_FLOOR") != "" {
		if err := floorMain(os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	shared = os.TempDir()
	temp, err := os.MkdirTemp("", "weir-perf-test-")
	if err == nil {
		err = os.Setenv("TMPDIR", temp)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	if err := os.RemoveAll(temp); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	if os.Geteuid() == 0 {
		if left, err := lab.Leftovers(); err != nil || len(left) > 0 {
			fmt.Fprintln(os.Stderr, "left over:", left, err)
			code = 1
		}
	}
	os.Exit(code)
}

// floorMain is `weir perf floor` for the command line that Peers makes.
func floorMain(args []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	var o FloorOptions
	for _, a := range args {
		var err error
		name, value, flag := strings.Cut(a, "=")
		switch {
		case flag && name == "--cpu":
			_, err = fmt.Sscan(value, &o.CPU)
		case flag && name == "--idle-spin":
			o.IdleSpin, err = time.ParseDuration(value)
		default:
			var p FloorPort
			p, err = ParseFloorPort(a)
			o.Ports = append(o.Ports, p)
		}
		if err != nil {
			return err
		}
	}
	return RunFloor(ctx, o)
}

// floorCommand makes Peers start this test program as the floor.
func floorCommand(t *testing.T) []string {
	t.Helper()
	self, err := os.Executable()
	check(t, err)
	t.Setenv("PERF_TEST_FLOOR", "1")
	return []string{self}
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("makes network namespaces: run the test as root")
	}
}

func needTwoCPUs(t *testing.T) {
	t.Helper()
	needRoot(t)
	for cpu := range 2 {
		if _, err := readProcessor(cpu); err != nil {
			t.Skip("needs two CPUs")
		}
	}
}

func check(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		check(t, err)
		return v
	}
}
