package main

import (
	"time"

	"weir/appliance"
)

func neighborsOf(s appliance.State) []appliance.NeighborState { return orEmpty(s.Neighbors) }

func neighborsText(list []appliance.NeighborState) string {
	return table(func(row func(...any)) {
		row("NEIGHBOR", "PORT", "MAC", "STATE", "KERNEL", "SINCE", "LAST USED")
		for _, n := range list {
			row(n.Address, n.Port, n.MAC, n.State, n.Kernel, ago(n.Since, ""), ago(n.Used, "never"))
		}
	})
}

// ago is how long ago something was, or what to say if it never was.
func ago(t *time.Time, never string) string {
	if t == nil {
		return never
	}
	d := max(0, time.Since(*t))
	unit := time.Second
	if d < time.Second {
		unit = time.Millisecond
	}
	return d.Round(unit).String()
}
