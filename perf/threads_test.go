package perf

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// TestRaiseGroup has two runs of a session overlap: what the first one raised does not stay.
func TestRaiseGroup(t *testing.T) {
	needRoot(t)
	c := exec.Command("sleep", "60")
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	check(t, c.Start())
	t.Cleanup(func() { check(t, c.Process.Kill()); _ = c.Wait() })
	nice := func() string {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/autogroup", c.Process.Pid))
		if os.IsNotExist(err) {
			t.Skip("the kernel does not group processes by session")
		}
		check(t, err)
		return strings.Fields(string(text))[2]
	}
	before := nice()
	first := must[func() error](t)(raiseGroup(c.Process.Pid))
	second := must[func() error](t)(raiseGroup(c.Process.Pid))
	if nice() != "-20" {
		t.Errorf("raised to %s", nice())
	}
	check(t, first(), second())
	if nice() != before {
		t.Errorf("%s before, %s after", before, nice())
	}
}
