package mgmt

import (
	"maps"
	"slices"
)

// named is something that the configuration gives a name to, for others to use.
type named struct {
	at   spot
	p    *path
	used bool
}

// use marks a name as used, where there is one.
func use(list map[string]*named, name string) {
	if n, ok := list[name]; ok {
		n.used = true
	}
}

// warnUnused reports names that nothing uses. Chains and tables have their remarks from Compile.
func (d *decoder) warnUnused() {
	for _, name := range slices.Sorted(maps.Keys(d.sets)) {
		if s := d.sets[name]; !s.used && !s.wrong {
			d.warnf(s.at, s.p, "nothing uses set %s", name)
		}
	}
	if d.found.errors > 0 {
		return // what has one may use the rest
	}
	for _, name := range slices.Sorted(maps.Keys(d.tags)) {
		if t := d.tags[name]; !t.used {
			d.warnf(t.at, t.p, "nothing uses tag %s", name)
		}
	}
	for i := range d.policy.Ports {
		use(d.groups, d.policy.Ports[i].GroupName)
	}
	for _, name := range slices.Sorted(maps.Keys(d.groups)) {
		if g := d.groups[name]; !g.used {
			d.warnf(g.at, g.p, "no port is in group %s, and nothing selects it", name)
		}
	}
}
