package mgmt

import (
	"errors"
	"fmt"

	"weir/policy"
)

// compile makes the snapshot, and gives what Compile has to say the places of the file. The decoder has refused
// already what one section can tell; what is left are properties of the whole, as cycles of lookups.
func (d *decoder) compile() *policy.Snapshot {
	snapshot, err := policy.Compile(&d.policy)
	var list policy.CompileErrors
	switch {
	case err == nil:
		d.addRemarks(snapshot.Warnings(), Warning)
		return snapshot
	case errors.As(err, &list):
		d.addRemarks(list, Error)
	default:
		d.found.add(spot{line: 1, column: 1}, "", err.Error(), Error)
	}
	return nil
}

func (d *decoder) addRemarks(remarks []*policy.CompileError, severity Severity) {
	for _, e := range remarks {
		at, path, message := spot{line: 1, column: 1}, "", e.Msg
		switch {
		case e.Rule >= 0:
			at, path = d.places.rules[e.Rule], fmt.Sprintf("rules[%d]", d.places.items[e.Rule])
		case e.Statement >= 0:
			at, path = d.places.statements[e.Chain][e.Statement], fmt.Sprintf("marks.%s[%d]", d.policy.Marks[e.Chain].Name, e.Statement)
		case e.Chain >= 0:
			at, path = d.places.chains[e.Chain], "marks."+d.policy.Marks[e.Chain].Name
		case e.Route >= 0:
			t := &d.policy.Tables[e.Table]
			at, path = d.places.routes[e.Table][e.Route], "tables."+t.Name+".routes"
			if at.file != 0 {
				path += "-file"
			}
			message = describeRoute(&t.Routes[e.Route]) + ": " + message
		case e.Table >= 0:
			at, path = d.places.tables[e.Table], "tables."+d.policy.Tables[e.Table].Name
		case e.Neighbor >= 0:
			at, path = d.places.neighbors[e.Neighbor], "neighbors"
		case e.Port >= 0:
			at, path = d.places.ports[e.Port], "ports."+d.policy.Ports[e.Port].Name
		}
		if severity == Warning && at == (spot{}) {
			continue // about a default rule, or a table that the file does not name: nobody can mend that
		}
		if by := d.placeOf(e); by != (spot{}) {
			message += " (see " + d.positionFrom(at, by) + ")"
		}
		d.found.add(at, path, message, severity)
	}
}

// placeOf is where the rule or the statement is that a remark names besides its own, or the zero spot.
func (d *decoder) placeOf(e *policy.CompileError) spot {
	switch {
	case e.By < 0:
		return spot{}
	case e.Rule >= 0:
		return d.places.rules[e.By]
	}
	return d.places.statements[e.Chain][e.By]
}
