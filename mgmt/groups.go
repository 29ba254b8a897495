package mgmt

import (
	"hash/fnv"
	"maps"
	"math"
	"slices"
)

// decodeGroups reads the numbers of interface groups. Only groups that the kernel must know need one.
func (d *decoder) decodeGroups(n *node, p *path) {
	byNumber := map[uint32]key{}
	d.entries(n, p, "group names to numbers", func(k key, v *node, p *path) {
		if wrong := checkName(k.text); wrong != "" {
			d.errorf(k.at, p, "%s", wrong)
			return
		}
		number, ok := d.number(v, p, 1, math.MaxUint32)
		if !ok {
			return
		}
		if first, taken := byNumber[uint32(number)]; taken {
			d.errorf(v.at, p, "number %d belongs to group %s already, at %s", number, first.text, d.position(first.at))
			return
		}
		byNumber[uint32(number)] = k
		d.names.groups[k.text] = uint32(number)
		d.groups[k.text] = &named{at: k.at, p: p}
	})
}

// numberGroups gives numbers to the groups that ports are in and that `groups` does not have. A number depends on
// the name alone (unless two names collide), so it survives commits, and lies above 2^30, away from those that
// people choose.
func (d *decoder) numberGroups() {
	taken := map[uint32]bool{}
	for _, number := range d.names.groups {
		taken[number] = true
	}
	unnumbered := map[string]bool{}
	for i := range d.policy.Ports {
		if name := d.policy.Ports[i].GroupName; name != "" && d.names.groups[name] == 0 {
			unnumbered[name] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(unnumbered)) {
		h := fnv.New32a()
		h.Write([]byte(name))
		number := 1<<30 | h.Sum32()>>2
		for taken[number] {
			number = 1<<30 | (number+1)&(1<<30-1)
		}
		taken[number] = true
		d.names.groups[name] = number
	}
	for i := range d.policy.Ports {
		port := &d.policy.Ports[i]
		port.Group = d.names.groups[port.GroupName]
	}
}

// group resolves the name of a group that some port is in, or that has a number.
func (d *decoder) group(v *node, p *path) (number uint32, ok bool) {
	text, ok := d.text(v, p, "the name of an interface group")
	if !ok {
		return 0, false
	}
	number, ok = d.names.groups[text]
	use(d.groups, text)
	if !ok {
		d.errorf(v.at, p, "no port is in group %s, and groups does not have it%s", clip(text), d.suggest(text, maps.Keys(d.names.groups)))
	}
	return number, ok
}
