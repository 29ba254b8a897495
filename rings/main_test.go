package rings

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"weir/perf/lab"
)

// TestMain fails the run if anything is left when all tests are over: namespaces, processes, descriptors, or rings that
// are still mapped.
func TestMain(m *testing.M) {
	before := openDescriptors()
	code := m.Run()
	if err := leftovers(before); err != nil {
		fmt.Fprintln(os.Stderr, "left over:", err)
		code = 1
	}
	os.Exit(code)
}

func leftovers(before int) (err error) {
	if os.Geteuid() == 0 {
		left, leftErr := lab.Leftovers()
		err = leftErr
		if len(left) > 0 {
			err = errors.Join(err, fmt.Errorf("of laboratories: %v", left))
		}
	}
	if mapped, mapErr := socketMappings(); mapErr != nil || len(mapped) > 0 {
		err = errors.Join(err, mapErr, fmt.Errorf("%d rings are mapped", len(mapped)))
	}
	if now := openDescriptors(); now > before+2 { // the network poller's own two, made at first use
		err = errors.Join(err, fmt.Errorf("%d descriptors before, %d after", before, now))
	}
	return err
}

func openDescriptors() int {
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		panic(err)
	}
	return len(list)
}

// patience is how long a test waits for what must happen. None of them waits that long unless it fails.
const patience = time.Minute

// testContext ends long after any test should have.
func testContext(tb testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	tb.Cleanup(cancel)
	return ctx
}

// eventually waits for a condition that the kernel or another goroutine brings about. The condition may do work.
func eventually(tb testing.TB, what string, condition func() bool) {
	tb.Helper()
	for deadline := time.Now().Add(patience); !condition(); pause() {
		if time.Now().After(deadline) {
			tb.Fatalf("gave up waiting: %s", what)
		}
	}
}

// pause lets others run, between two looks at a condition.
func pause() { time.Sleep(100 * time.Microsecond) }

func check(tb testing.TB, errs ...error) {
	tb.Helper()
	for _, err := range errs {
		if err != nil {
			tb.Fatal(err)
		}
	}
}

func must[T any](tb testing.TB) func(T, error) T {
	return func(v T, err error) T {
		tb.Helper()
		if err != nil {
			tb.Fatal(err)
		}
		return v
	}
}

func wantPanic(tb testing.TB, what string, f func()) {
	tb.Helper()
	defer func() {
		tb.Helper()
		if recover() == nil {
			tb.Errorf("%s: no panic", what)
		}
	}()
	f()
}
