package main

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"weir/appliance"
	"weir/policy/packet"
)

// drop is what was dropped for one reason.
type drop struct {
	Reason  string            `json:"reason"`
	Help    string            `json:"help"`
	Packets uint64            `json:"packets"`
	Ports   map[string]uint64 `json:"ports"` // that they came in by; the router's own, and those of ports that are gone, are left out
}

// dropsOf lists the reasons that dropped something, in the order in which a packet can meet them.
func dropsOf(s appliance.State) []drop {
	list := []drop{}
	for r := packet.None + 1; r < packet.End; r++ {
		n := s.Totals.Drops[r.String()]
		if n == 0 {
			continue
		}
		d := drop{Reason: r.String(), Help: r.Help(), Packets: n, Ports: map[string]uint64{}}
		for _, p := range s.Ports {
			if n := p.Drops[d.Reason]; n > 0 {
				d.Ports[p.Name] = n
			}
		}
		list = append(list, d)
	}
	return list
}

func dropsText(list []drop) string {
	if len(list) == 0 {
		return "nothing was dropped\n"
	}
	return table(func(row func(...any)) {
		row("REASON", "PACKETS", "FROM", "MEANING")
		for _, d := range list {
			var ports []string
			for _, name := range slices.SortedFunc(maps.Keys(d.Ports), func(a, b string) int {
				return cmp.Or(-cmp.Compare(d.Ports[a], d.Ports[b]), cmp.Compare(a, b))
			}) {
				ports = append(ports, name+" "+count(d.Ports[name]))
			}
			row(d.Reason, d.Packets, strings.Join(ports, ", "), d.Help)
		}
	})
}
