package environment

import (
	"strings"
	"testing"

	"weir/perf/lab"
)

func TestMachine(t *testing.T) {
	m := ThisMachine()
	if m.CPU == "" || m.Cores < 1 || m.Memory < 1<<20 || !strings.HasPrefix(m.Kernel, "Linux ") || !strings.HasPrefix(m.Go, "go") || m.Commit == "" {
		t.Errorf("%+v", m)
	}
}

func TestPort(t *testing.T) {
	l := lab.ForTest(t)
	a, err := l.Host("a")
	if err != nil {
		t.Fatal(err)
	}
	b, err := l.Host("b")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Link(a, "eth0", b, "eth0", lab.LinkOptions{Queues: 2}); err != nil {
		t.Fatal(err)
	}
	err = a.Do(func() error {
		got, err := ReadPort("eth0", "generator")
		if want := (Port{Name: "eth0", Role: "generator", Driver: "veth", Queues: 2, MTU: 1500}); err != nil || got != want {
			t.Errorf("%+v, %v", got, err)
		}
		if _, err := ReadPort("nothing", ""); err == nil || !strings.Contains(err.Error(), "nothing") {
			t.Errorf("a port that is not there: %v", err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
