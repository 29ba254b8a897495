package mgmt

import (
	"maps"
	"math"

	"weir/fib"
	"weir/policy"
)

// Indexes of the tables that exist without being named.
const (
	tableLocal uint16 = iota
	tableMain
	tableDefault
	tablesBuiltin
)

// builtin are the tables that exist without being named, by index (linux/rtnetlink.h rt_class_t).
var builtin = [tablesBuiltin]policy.Table{
	tableLocal:   {Name: "local", ID: policy.TableLocal},
	tableMain:    {Name: "main", ID: policy.TableMain},
	tableDefault: {Name: "default", ID: policy.TableDefault},
}

var tableKeys = section{name: "tables", keys: []string{"id", "key", "on-miss", "counters", "routes", "routes-file"}}
var missKeys = section{name: "on-miss", keys: []string{"lookup"}}

// startTables makes the built-in tables.
func (d *decoder) startTables() {
	for i := range builtin {
		d.addTable(builtin[i], spot{})
	}
}

func (d *decoder) addTable(t policy.Table, at spot) uint16 {
	i := uint16(len(d.policy.Tables))
	d.policy.Tables = append(d.policy.Tables, t)
	d.places.tables = append(d.places.tables, at)
	d.places.routes = append(d.places.routes, nil)
	d.names.tables[t.Name] = i
	return i
}

// addRoute enters a route whose place is at.
func (d *decoder) addRoute(table uint16, r fib.Route, at spot) {
	t := &d.policy.Tables[table]
	t.Routes = append(t.Routes, r)
	d.routes++
	d.places.routes[table] = append(d.places.routes[table], at)
}

// draftTable is a table whose name and number are known, and whose contents are read when all tables are.
type draftTable struct {
	index uint16
	p     *path

	onMiss, routes, file             *node
	onMissPath, routesPath, filePath *path
}

// decodeTables reads all tables: first what they are called, then what refers to them.
func (d *decoder) decodeTables(n *node, p *path) {
	var drafts []*draftTable
	byID := map[uint32]key{}
	d.entries(n, p, "table names to tables", func(k key, v *node, p *path) {
		if wrong := checkName(k.text); wrong != "" {
			d.errorf(k.at, p, "%s", wrong)
		}
		if len(d.policy.Tables) >= policy.MaxTables {
			d.errorf(k.at, p, "more than %d tables", policy.MaxTables)
			return
		}
		index, isBuiltin := d.names.tables[k.text]
		if !isBuiltin {
			index = d.addTable(policy.Table{Name: k.text}, k.at)
		}
		d.places.tables[index] = k.at
		draft := &draftTable{index: index, p: p}
		hasID := false
		t := &d.policy.Tables[index]
		if !d.fields(v, p, &tableKeys, func(k key, v *node, p *path) {
			switch k.text {
			case "id":
				hasID = true
				d.decodeTableID(t, isBuiltin, byID, v, p)
			case "key":
				if word, ok := d.word(v, p, "destination", "source"); ok && word == "source" {
					if isBuiltin && index != tableDefault {
						d.errorf(v.at, p, "table %s has the routes that ports bring, and those are by destination", t.Name)
						return
					}
					t.Key = policy.BySource
				}
			case "counters":
				t.Counters, _ = d.boolean(v, p)
			case "on-miss":
				draft.onMiss, draft.onMissPath = v, p
			case "routes":
				draft.routes, draft.routesPath = v, p
			case "routes-file":
				draft.file, draft.filePath = v, p
			}
		}) {
			return
		}
		d.required(v, p, "id", hasID || isBuiltin)
		drafts = append(drafts, draft)
	})
	for _, draft := range drafts {
		d.decodeTableContents(draft)
	}
}

func (d *decoder) decodeTableID(t *policy.Table, isBuiltin bool, byID map[uint32]key, v *node, p *path) {
	id, ok := d.number(v, p, 1, math.MaxUint32)
	if !ok {
		return
	}
	if isBuiltin {
		if uint32(id) != t.ID {
			d.errorf(v.at, p, "table %s is number %d", t.Name, t.ID)
		}
		return
	}
	for i := range builtin {
		if uint32(id) == builtin[i].ID {
			d.errorf(v.at, p, "%d is the number of table %s", id, builtin[i].Name)
			return
		}
	}
	if first, taken := byID[uint32(id)]; taken {
		d.errorf(v.at, p, "%d is the number of table %s already, at %s", id, clip(first.text), d.position(first.at))
		return
	}
	byID[uint32(id)] = key{t.Name, v.at}
	t.ID = uint32(id)
}

func (d *decoder) decodeTableContents(draft *draftTable) {
	if draft.onMiss != nil {
		d.decodeOnMiss(draft)
	}
	if draft.index == tableLocal && (draft.routes != nil || draft.file != nil) {
		d.errorf(d.places.tables[tableLocal], draft.p, "table local has the router's own addresses and no other routes")
		return
	}
	seen := newRouteSet(d, draft.index)
	if draft.routes != nil {
		d.list(draft.routes, draft.routesPath, "routes", func(_ int, v *node, p *path) { d.decodeRoute(draft.index, seen, v, p) })
	}
	if draft.file != nil {
		if name, ok := d.text(draft.file, draft.filePath, "the path of a file"); ok {
			d.readRoutesFile(draft.index, seen, name, draft.file.at, draft.filePath)
		}
	}
}

func (d *decoder) decodeOnMiss(draft *draftTable) {
	t, v, p := &d.policy.Tables[draft.index], draft.onMiss, draft.onMissPath
	if v.kind == mapping {
		has := false
		d.fields(v, p, &missKeys, func(_ key, v *node, p *path) {
			has = true
			if target, ok := d.table(v, p); ok {
				t.OnMiss, t.MissTarget = policy.MissLookup, target
			}
		})
		d.required(v, p, "lookup", has)
		return
	}
	if v.kind != scalar {
		d.errorf(v.at, p, "expected fall-through, unreachable, prohibit, blackhole or {lookup: TABLE}, found %s", v)
		return
	}
	switch word, _ := d.word(v, p, "fall-through", "unreachable", "prohibit", "blackhole", "{lookup: TABLE}"); word {
	case "unreachable":
		t.OnMiss = policy.MissUnreachable
	case "prohibit":
		t.OnMiss = policy.MissProhibit
	case "blackhole":
		t.OnMiss = policy.MissBlackhole
	}
}

// table resolves the name of a table.
func (d *decoder) table(v *node, p *path) (uint16, bool) {
	text, ok := d.text(v, p, "the name of a table")
	if !ok {
		return 0, false
	}
	index, ok := d.names.tables[text]
	if !ok {
		d.errorf(v.at, p, "%s", d.unknownTable(text))
	}
	return index, ok
}

func (d *decoder) unknownTable(name string) string {
	if d.found.full() {
		return ""
	}
	if id, ok := parseNumber(name); ok {
		for i := range d.policy.Tables {
			if t := &d.policy.Tables[i]; uint64(t.ID) == id {
				return "tables are referred to by name; did you mean " + t.Name + "?"
			}
		}
	}
	return "no table is called " + clip(name) + d.suggest(name, maps.Keys(d.names.tables))
}
