package main

import (
	"slices"
	"strings"
	"testing"
)

// TestHealthOfDataPlane: what PID 1 of an appliance learns of a running router, and what its console may ask of it.
func TestHealthOfDataPlane(t *testing.T) {
	n := newNetwork(t, "em0", "em1")
	w := n.start(n.config(""))
	h, err := health(testContext(t), w.control)
	if err != nil || len(h.Trouble) > 0 || len(h.SSH) > 0 || !slices.Equal(h.Ports, []string{"em0", "em1"}) {
		t.Errorf("%+v, %v", h, err)
	}
	need(t, n.ends[1].SetDown(hostPort))
	eventually(t, "a port is up whose link is down", func() (bool, any) {
		h, err := health(testContext(t), w.control)
		return err == nil && slices.Equal(h.Ports, []string{"em0"}), h
	})
	need(t, n.ends[1].SetUp(hostPort))
	for line, want := range map[string]string{
		"show ports":               "em1",
		"  show ports | match em0": "em0",
		"reload":                   "one may look",
		"request reboot":           "one may look",
		"show nothing":             "Invalid command",
	} {
		if out := lookFor(testContext(t), w.control, line); !strings.Contains(out, want) {
			t.Errorf("%s: %q", line, out)
		}
	}
	if _, err := health(testContext(t), w.control+".none"); err == nil {
		t.Error("a router that does not run is well")
	}
}
