package image_test

import (
	"fmt"
	"os"
	"testing"

	"weir/perf/lab"
)

// TestMain fails the run if namespaces or processes are left when all tests are over.
func TestMain(m *testing.M) {
	code := m.Run()
	if os.Geteuid() == 0 {
		if left, err := lab.Leftovers(); err != nil || len(left) > 0 {
			fmt.Fprintln(os.Stderr, "left over:", left, err)
			code = 1
		}
	}
	os.Exit(code)
}
