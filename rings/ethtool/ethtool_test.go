package ethtool_test

import (
	"fmt"
	"runtime"
	"testing"

	"weir/perf/lab"
	"weir/rings/ethtool"
)

// TestDevice reads and sets what a veth device has.
func TestDevice(t *testing.T) {
	l := lab.ForTest(t)
	a, err := l.Host("a")
	if err != nil {
		t.Fatal(err)
	}
	b, err := l.Host("b")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Link(a, "eth0", b, "eth0", lab.LinkOptions{Queues: 3}); err != nil {
		t.Fatal(err)
	}
	err = a.Do(func() error {
		if driver, err := ethtool.Driver("eth0"); err != nil || driver != "veth" {
			t.Errorf("driver %q, %v", driver, err)
		}
		if speed, err := ethtool.Speed("eth0"); err != nil || speed != 10e9 { // as veth has it
			t.Errorf("speed %d, %v", speed, err)
		}
		if n, err := ethtool.Queues("eth0"); err != nil || n != 3 {
			t.Errorf("%d queues, %v", n, err)
		}
		if _, err := ethtool.Speed("nothing"); err == nil {
			t.Error("speed of a device that is not there")
		}
		if _, err := ethtool.Queues("nothing"); err == nil {
			t.Error("queues of a device that is not there")
		}
		const feature = "rx-gro"
		for _, on := range []bool{false, true} {
			have, err := ethtool.Features("eth0")
			if err != nil {
				return err
			}
			if err := ethtool.SetFeatures("eth0", have, map[string]bool{feature: on}); err != nil {
				return err
			}
			if have, err = ethtool.Features("eth0"); err != nil || have[feature].Active != on {
				t.Errorf("%s is %v, wanted %v (%v)", feature, have[feature].Active, on, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestMemory reads features while the collector moves stacks: every answer must be whole.
func TestMemory(t *testing.T) {
	l := lab.ForTest(t)
	a, err := l.Host("a")
	if err != nil {
		t.Fatal(err)
	}
	err = a.Do(func() error {
		first, err := ethtool.Features("lo")
		if err != nil {
			return err
		}
		for range 200 {
			runtime.GC()
			again, err := ethtool.Features("lo")
			if err != nil {
				return err
			}
			if len(again) != len(first) || again["tx-scatter-gather"] != first["tx-scatter-gather"] {
				return fmt.Errorf("%d features, then %d", len(first), len(again))
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
