package fib

import (
	"iter"
	"net/netip"
	"sync/atomic"
)

// Table is a set of routes of both families with longest-prefix-match lookup. Create it with NewTable; do not copy
// it. It has one writer, and until it is shared no readers while it is written: see the package comment.
type Table struct {
	name   string
	length int
	tree   atomic.Pointer[Tree]   // the readers'
	arrays atomic.Pointer[arrays] // nil: lookups are the tree's own
	shared

	// The writer's.
	next  *Tree // that it changes: the readers' own, or, once the table is shared, another one
	spare spareLeaves
}

// NewTable returns an empty table. The name is for people only.
func NewTable(name string) *Table {
	t := &Table{name: name, next: new(Tree)}
	t.tree.Store(t.next)
	return t
}

// Name is the name given to NewTable.
func (t *Table) Name() string { return t.name }

// Tree is what readers look up where there are no arrays, or those are not enough.
func (t *Table) Tree() *Tree { return t.tree.Load() }

// Len is the number of routes, for the writer.
func (t *Table) Len() int { return t.length }

// Insert adds the route, or replaces the one of the same prefix, TOS and metric, and reports whether it replaced.
// Host bits of the prefix are cleared; an invalid prefix is a programmer's error and panics. The table keeps its own
// copy of the hops, each with an ID.
func (t *Table) Insert(r Route) (replaced bool) {
	if !r.Prefix.IsValid() {
		panic("fib: insert of an invalid prefix")
	}
	r.Prefix = r.Prefix.Masked()
	r.Hops = t.ready(r)
	t.check()
	l, replaced := t.next.insert(r, &t.spare)
	if !replaced {
		t.length++
	}
	t.changed(r.Prefix, l, l.answer)
	t.note(change{route: r, answer: l.answer})
	return replaced
}

// Get returns the route of exactly this prefix, TOS and metric, for the writer.
func (t *Table) Get(prefix netip.Prefix, tos uint8, metric uint32) (*Route, bool) {
	l, ok := t.next.fast().Get(prefix.Masked())
	if !ok {
		return nil, false
	}
	i, ok := l.search(tos, metric)
	if !ok {
		return nil, false
	}
	return &l.routes[i], true
}

// Delete removes the route of this prefix, TOS and metric, and reports whether there was one.
func (t *Table) Delete(prefix netip.Prefix, tos uint8, metric uint32) bool {
	if prefix = prefix.Masked(); !prefix.IsValid() {
		return false
	}
	t.check()
	l, ok := t.next.remove(prefix, tos, metric)
	if !ok {
		return false
	}
	t.length--
	t.changed(prefix, l, l.answer)
	t.note(change{route: Route{Prefix: prefix, TOS: tos, Metric: metric}, answer: l.answer, gone: true})
	if len(l.routes) == 0 {
		t.spare.give(l)
	}
	return true
}

// All yields every route, for the writer: IPv4 before IPv6, then by prefix, a shorter one before those inside it, and within a prefix
// in the order in which a lookup tries them.
func (t *Table) All() iter.Seq[*Route] {
	return func(yield func(*Route) bool) {
		for _, l := range t.next.fast().AllSorted() {
			for i := range l.routes {
				if !yield(&l.routes[i]) {
					return
				}
			}
		}
	}
}
