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
		row("generated", t.Generated, " ICMP errors and TCP resets of the router's own")
		if t.Fragmented > 0 {
			row("fragments", t.Fragments, " made of those fragmented")
			row("fragmented", t.Fragmented)
		}
		row("transmitted", t.Transmitted)
		row("punted", t.Punted, " given to the kernel by the policy")
		row("waiting", t.Waiting, " for a neighbour, or the first of their fragments")
		row("dropped", t.Dropped)
		for _, reason := range slices.Sorted(maps.Keys(t.Drops)) {
			row("  "+reason, t.Drops[reason])
		}
		if t.ICMPLimited > 0 {
			row("not answered", t.ICMPLimited, " ICMP rate limit of a port")
		}
		if t.ICMPSpared > 0 {
			row("not answered", t.ICMPSpared, " ICMP rate limit of a sender")
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
