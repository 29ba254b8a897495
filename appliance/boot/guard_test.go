package boot

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"weir/appliance/image/layout"
)

func TestCommandLine(t *testing.T) {
	for text, want := range map[string]Options{
		"weir.boot=1": {Trial: trialPatience},
		"weir.boot=1 weir.slot=B console=ttyS0 weir.emergency=1": {Slot: layout.SlotB, Emergency: true, Trial: trialPatience},
		"quiet weir.slot=C weir.boot=1 weir.trial=60\n":          {Trial: time.Minute},
		"weir.boot=1 weir.trial=0 weir.emergency=yes":            {Trial: trialPatience},
		"weir.boot=1 weir.trial=-1 -- weir.emergency=1":          {Trial: trialPatience},
	} {
		if got, err := parseCommandLine(text); err != nil || got != want {
			t.Errorf("%q: %+v, %v; expected %+v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "quiet", "weir.boot", "weir.boot=0", "weir.boot=11", "xweir.boot=1", "init=/weir.boot=1", "-- weir.boot=1"} {
		if got, err := parseCommandLine(text); !errors.Is(err, ErrNotAppliance) {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
}

func TestGuard(t *testing.T) {
	with := func() (string, error) { return "weir.boot=1", nil }
	if _, err := guard(1, with); err != nil {
		t.Error(err)
	}
	if _, err := guard(2, with); !errors.Is(err, ErrNotAppliance) {
		t.Errorf("process 2 may be PID 1: %v", err)
	}
	if _, err := guard(1, func() (string, error) { return "quiet", nil }); !errors.Is(err, ErrNotAppliance) {
		t.Errorf("without the token: %v", err)
	}
	if _, err := guard(1, func() (string, error) { return "", os.ErrPermission }); !errors.Is(err, ErrNotAppliance) || !errors.Is(err, os.ErrPermission) {
		t.Errorf("without a command line: %v", err)
	}
}

// asBoot has the test program be PID 1 of a namespace and run what the appliance would.
const asBoot = "WEIR_TEST_IS_BOOT"

// TestRefuses: neither as any process nor as PID 1 of a namespace, whose kernel was not started with the token, does Run do anything.
func TestRefuses(t *testing.T) {
	if err := Run(Hooks{}); !errors.Is(err, ErrNotAppliance) {
		t.Fatal(err)
	}
	if os.Geteuid() != 0 {
		t.Skip("only root makes namespaces for processes here")
	}
	for _, procfs := range []string{"", "mounted"} {
		c := exec.Command(os.Args[0])
		c.Env = append(os.Environ(), asBoot+"=1", "PROCFS="+procfs)
		inNamespaces(c)
		out, err := c.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "this is not PID 1 of an appliance: the kernel was not started with weir.boot=1\nmounts are as they were\n") {
			t.Errorf("procfs %q: %v: %s", procfs, err, out)
		}
	}
}
