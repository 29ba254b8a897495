package lab

import "os"

// TB is the part of testing.TB that ForTest needs; so that programs which use laboratories need not link testing.
type TB interface {
	Helper()
	Cleanup(func())
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Skip(args ...any)
}

// ForTest makes a laboratory that is closed at the end of the test, and on Ctrl-C. The test is skipped where the
// process is not root; anything else that is missing fails it.
func ForTest(t TB) *Lab {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("laboratories need root: run the test as root")
	}
	CloseOnSignal()
	l, err := New()
	if err != nil {
		t.Fatalf("make laboratory: %v", err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("%v", err)
		}
	})
	return l
}
