package main

import (
	"fmt"
	"strings"
	"testing"

	"weir/appliance"
)

// TestLargeTable: the snapshot that runs looks a large table up by its array forms, and goes on to when neighbours have changed.
func TestLargeTable(t *testing.T) {
	n := newNetwork(t, "em0", "wan0")
	var routes strings.Builder
	for i := range 10_000 {
		fmt.Fprintf(&routes, "    - {to: 20.%d.%d.0/24, via: %s}\n", i>>8, i&0xff, n.ends[1].addr4())
	}
	w := n.start(n.config("\ntables:\n  main:\n    routes:\n" + routes.String()))
	form := func() string {
		var tables []appliance.TableState
		w.show(&tables, "tables")
		for _, table := range tables {
			if table.Name == "main" {
				return table.Form
			}
		}
		return "none"
	}
	if got := form(); !strings.Contains(got, "arrays") {
		t.Errorf("table main is looked up as %s", got)
	}
	n.warm([2]*end{n.ends[0], n.ends[1]})
	if got := form(); !strings.Contains(got, "arrays") {
		t.Errorf("after traffic, table main is looked up as %s", got)
	}
	w.finish()
}
