package policy

import "weir/fib"

// Hits is what one item of a policy has seen: the packets that a rule or statement matched, that a table or route
// answered, or that missed a table.
type Hits struct {
	Packets uint64
	Bytes   uint64 // of the IP packets, headers included
	Last    int64  // when the last one came, on the clock of Tally.Now; 0: never
}

func (h *Hits) add(o *Hits) {
	h.Packets += o.Packets
	h.Bytes += o.Bytes
	h.Last = max(h.Last, o.Last)
}

// Tally counts the decisions of one snapshot, item by item, for one goroutine: it is plain memory, so counting costs
// no atomic operation. Whoever wants to read it takes it away from its goroutine and gives that another one. Make it with
// NewTally.
type Tally struct {
	Now  int64 // of the packets being decided, in ns on any clock; the owner sets it
	hits []Hits
	room batch // for Decide to work in: 20 KB that are the goroutine's own too, and need not be cleared for every batch
}

// cells says where the hits of each kind of item begin in a Tally of the snapshot.
type cells struct{ statements, answers, misses, routes, end uint32 }

func (s *Snapshot) layOutCells(counted int) {
	c := &s.cells
	c.statements = uint32(len(s.rules))
	c.answers = c.statements + uint32(len(s.marks.statements))
	c.misses = c.answers + uint32(len(s.tables))
	c.routes = c.misses + uint32(len(s.tables))
	c.end = c.routes + uint32(counted)
}

// NewTally returns an empty tally for the snapshot, and for those that WithAdjacencies makes of it.
func (s *Snapshot) NewTally() *Tally { return &Tally{hits: make([]Hits, s.cells.end)} }

// Clear makes the tally an empty one.
func (t *Tally) Clear() { clear(t.hits) }

// Add adds another tally of the same snapshot.
func (t *Tally) Add(o *Tally) {
	for i := range t.hits {
		t.hits[i].add(&o.hits[i])
	}
}

// hit counts a packet for an item. It is small enough to be inlined; a nil tally counts nothing.
func (t *Tally) hit(cell uint32, f *flow) {
	if t != nil {
		h := &t.hits[cell]
		h.Packets++
		h.Bytes += uint64(f.key.Length)
		h.Last = t.Now
	}
}

// hitRoute counts a packet for a route whose table counts by route.
func (t *Tally) hitRoute(s *Snapshot, r *fib.Route, f *flow) {
	if t != nil && r.Counter != 0 {
		t.hit(s.cells.routes+r.Counter-1, f)
	}
}

// RuleHits are the packets that rule i matched.
func (s *Snapshot) RuleHits(t *Tally, i uint16) Hits { return t.hits[i] }

// StatementHits are the packets that statement i matched.
func (s *Snapshot) StatementHits(t *Tally, i uint16) Hits {
	return t.hits[s.cells.statements+uint32(i)]
}

// TableHits are the packets that a route of table i had an answer for, and those that it had none for.
func (s *Snapshot) TableHits(t *Tally, i uint16) (answered, missed Hits) {
	return t.hits[s.cells.answers+uint32(i)], t.hits[s.cells.misses+uint32(i)]
}

// RouteHits are the packets that took the route, or were sent to another table by it; ok is false if its table does not
// count them.
func (s *Snapshot) RouteHits(t *Tally, r *fib.Route) (h Hits, ok bool) {
	if r.Counter == 0 {
		return Hits{}, false
	}
	return t.hits[s.cells.routes+r.Counter-1], true
}

// Inherit adds the hits of an earlier snapshot's tally to one of this snapshot's, item by item of the same name: a rule
// by its name, a statement by its chain's and its own, a table by its name, a route by its table's name and its prefix, TOS
// and metric. What there is no more is left out.
func (s *Snapshot) Inherit(t *Tally, old *Snapshot, from *Tally) {
	rules := make(map[string]int, len(old.rules))
	for i := range old.rules {
		rules[old.rules[i].Name] = i
	}
	for i := range s.rules {
		if j, ok := rules[s.rules[i].Name]; ok {
			t.hits[i].add(&from.hits[j])
		}
	}
	type place struct{ chain, name string }
	statements := make(map[place]uint32, len(old.marks.statements))
	for i := range old.marks.statements {
		chain, name := old.StatementName(uint16(i))
		statements[place{chain, name}] = old.cells.statements + uint32(i)
	}
	for i := range s.marks.statements {
		chain, name := s.StatementName(uint16(i))
		if j, ok := statements[place{chain, name}]; ok {
			t.hits[s.cells.statements+uint32(i)].add(&from.hits[j])
		}
	}
	tables := make(map[string]uint32, len(old.tables))
	for i := range old.tables {
		tables[old.tables[i].name] = uint32(i)
	}
	for i := range s.tables {
		j, ok := tables[s.tables[i].name]
		if !ok {
			continue
		}
		t.hits[s.cells.answers+uint32(i)].add(&from.hits[old.cells.answers+j])
		t.hits[s.cells.misses+uint32(i)].add(&from.hits[old.cells.misses+j])
		if !s.tables[i].counters || !old.tables[j].counters {
			continue
		}
		for r := range s.tables[i].routes.All() {
			if o, ok := old.tables[j].routes.Get(r.Prefix, r.TOS, r.Metric); ok && r.Counter != 0 && o.Counter != 0 {
				t.hits[s.cells.routes+r.Counter-1].add(&from.hits[old.cells.routes+o.Counter-1])
			}
		}
	}
}
