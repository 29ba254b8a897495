package main

import (
	"maps"
	"slices"

	"weir/appliance"
)

func countersText(s appliance.State) string {
	t := s.Totals
	text := table(func(row func(...any)) {
		row("received", t.Received)
		row("generated", t.Generated, " ICMP errors of the router's own")
		row("transmitted", t.Transmitted)
		row("punted", t.Punted, " given to the kernel by the policy")
		row("waiting", t.Waiting, " for a neighbour")
		row("dropped", t.Dropped)
		for _, reason := range slices.Sorted(maps.Keys(t.Drops)) {
			row("  "+reason, t.Drops[reason])
		}
		if t.ICMPLimited > 0 {
			row("not answered", t.ICMPLimited, " ICMP rate limit")
		}
	})
	return text + table(func(row func(...any)) {
		for _, p := range s.Ports {
			for _, class := range slices.Sorted(maps.Keys(p.Steered)) {
				row(p.Name+" steered", class, p.Steered[class])
			}
		}
	})
}
