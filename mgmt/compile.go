package mgmt

import (
	"errors"

	"weir/policy"
)

// compile makes the snapshot, and gives what Compile has to say the places of the file. The decoder has refused
// already what one section can tell; what is left are properties of the whole, as cycles of lookups.
func (d *decoder) compile() *policy.Snapshot {
	snapshot, err := policy.Compile(&d.policy)
	var list policy.CompileErrors
	switch {
	case err == nil:
		for _, w := range snapshot.Warnings() {
			at, name := d.placeOf(w)
			d.found.add(at, name, w.Msg, Warning)
		}
		return snapshot
	case errors.As(err, &list):
		for _, e := range list {
			at, name := d.placeOf(e)
			d.found.add(at, name, e.Msg, Error)
		}
	default:
		d.found.add(spot{line: 1, column: 1}, "", err.Error(), Error)
	}
	return nil
}

// placeOf is where the file has what a remark of Compile is about, and how the remark calls it.
func (d *decoder) placeOf(e *policy.CompileError) (spot, string) {
	switch {
	case e.Rule >= 0:
		return d.places.rules[e.Rule], "rules." + d.policy.Rules[e.Rule].Name
	case e.Route >= 0:
		name := "tables." + d.policy.Tables[e.Table].Name + ": " + describeRoute(&d.policy.Tables[e.Table].Routes[e.Route])
		return d.places.routes[e.Table][e.Route], name
	case e.Table >= 0:
		return d.places.tables[e.Table], "tables." + d.policy.Tables[e.Table].Name
	case e.Neighbor >= 0:
		return spot{line: 1, column: 1}, "neighbors"
	case e.Port >= 0:
		return d.places.ports[e.Port], "ports." + d.policy.Ports[e.Port].Name
	}
	return spot{line: 1, column: 1}, ""
}
