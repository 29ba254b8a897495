package fib

import (
	"errors"
	"fmt"
	"net/netip"
)

// arrays are the array forms of a table, beside the routing information base that they are built from.
type arrays struct {
	answers *answers
	tries   [2]*trie  // IPv4, IPv6
	hops    []NextHop // scratch
}

// family is one family of a table, as a trie is built from it.
type family struct {
	table *Table
	four  bool
}

func (f family) bits() uint8 {
	if f.four {
		return 32
	}
	return 128
}

func (f family) addr(k key) netip.Addr {
	if f.four {
		return netip.AddrFrom4([4]byte{byte(k.hi >> 56), byte(k.hi >> 48), byte(k.hi >> 40), byte(k.hi >> 32)})
	}
	var b [16]byte
	for i := range 8 {
		b[i], b[8+i] = byte(k.hi>>(56-8*i)), byte(k.lo>>(56-8*i))
	}
	return netip.AddrFrom16(b)
}

// longest is the answer of the longest prefix of k that has at most bits, but 0 if that is the default route.
func (f family) longest(k key, bits uint8) uint32 {
	l, ok := f.table.next.fast().LookupPrefix(netip.PrefixFrom(f.addr(k), int(bits)))
	if !ok || bits > 0 && l.routes[0].Prefix.Bits() == 0 {
		return 0
	}
	return l.answer
}

// items are all prefixes of the family, by address, a shorter one before those inside it.
func (f family) items() []item {
	all := make([]item, 0, f.table.next.fast().Size())
	add := func(p netip.Prefix, l *leaf) bool {
		all = append(all, item{keyOf(p.Addr()), uint8(p.Bits()), l.answer})
		return true
	}
	if f.four {
		f.table.next.fast().AllSorted4()(add)
	} else {
		f.table.next.fast().AllSorted6()(add)
	}
	return all
}

// Build makes the array forms of the table, which its lookups of whole batches use from then on. What is inserted and
// deleted later changes them in place, while readers look up; see Reclaim. The error, if any, leaves the table as it
// was, without array forms.
func (t *Table) Build() error {
	a := &arrays{answers: newAnswers()}
	for _, l := range t.next.fast().All() {
		id, ok := a.answers.find(l.routes)
		if !ok {
			return fmt.Errorf("table %s: more than %d different routes", t.name, entryID)
		}
		l.answer = id
	}
	for i, f := range t.families() {
		var err error
		if a.tries[i], err = f.build(a.answers); err != nil {
			return fmt.Errorf("table %s: %w", t.name, err)
		}
	}
	t.arrays.Store(a)
	t.renumbered()
	return nil
}

// Drop makes the table one without array forms. Readers that have them still may go on.
func (t *Table) Drop() { t.arrays.Store(nil) }

func (t *Table) families() [2]family { return [2]family{{t, true}, {t, false}} }

// hugeRoutes is how many routes a table must have for most pages of its root to be written, so that huge pages cost no
// memory beyond them.
const hugeRoutes = 100_000

// build makes the family's trie: of narrow entries if it has few enough answers and blocks, with room for what comes, else of
// wide ones.
func (f family) build(a *answers) (*trie, error) {
	items := f.items()
	huge := len(items) >= hugeRoutes
	if int(a.pool.next) <= narrowLimit/2 {
		t, err := newTrie(f.bits(), true, huge)
		if err == nil {
			err = t.build(items)
		}
		if err == nil && t.roomy() || err != nil && !errors.Is(err, errFull) {
			return t, err
		}
	}
	t, err := newTrie(f.bits(), false, huge)
	if err == nil {
		err = t.build(items)
	}
	return t, err
}

// changed brings the array forms up to date with a leaf that has been entered, changed or removed. before is the answer
// that it had, or 0.
func (t *Table) changed(p netip.Prefix, l *leaf, before uint32) {
	a := t.arrays.Load()
	if a == nil {
		return
	}
	var err error
	if len(l.routes) > 0 {
		var ok bool
		if l.answer, ok = a.answers.find(l.routes); !ok {
			err = errFull
		}
	}
	i := 0
	if !p.Addr().Is4() {
		i = 1
	}
	if err == nil && a.tries[i].narrow && l.answer >= narrowLimit {
		err = errFull
	}
	if err == nil && (len(l.routes) == 0 || l.answer != before) {
		it, by := item{keyOf(p.Addr()), uint8(p.Bits()), l.answer}, 0
		switch {
		case len(l.routes) == 0:
			it.answer, by = family{t, i == 0}.longest(it.key, it.bits), -1
		case before == 0:
			by = 1
		}
		err = a.tries[i].update(it, by)
	}
	if before != 0 {
		a.answers.drop(before)
	}
	if err != nil { // wider entries; where even those do not suffice, the base alone is left
		t.arrays.Store(nil)
		_ = t.Build()
	}
}

// FellBack reports whether the kernel refused the huge pages that the array forms asked for. They lie in small ones then, and lookups that
// miss the caches take up to 1.2 times as long.
func (t *Table) FellBack() bool {
	a := t.arrays.Load()
	return a != nil && (a.tries[0].rootRegion.small || a.tries[1].rootRegion.small)
}

// Form says how the table is looked up: as a tree, or as arrays, of narrow (16 bits) or wide entries, and whether huge
// pages were to be had for them.
func (t *Table) Form() string {
	a := t.arrays.Load()
	if a == nil {
		return "tree"
	}
	form := "wide arrays"
	switch four, six := a.tries[0].narrow, a.tries[1].narrow; {
	case four && six:
		form = "narrow arrays"
	case four || six:
		form = "narrow and wide arrays"
	}
	if a.tries[0].rootRegion.huge || a.tries[1].rootRegion.huge {
		form += ", huge pages"
	}
	return form
}

// Retired is how much memory waits for Reclaim, in blocks, tails and answers.
func (t *Table) Retired() int {
	a := t.arrays.Load()
	if a == nil {
		return 0
	}
	return a.tries[0].limbo() + a.tries[1].limbo() + len(a.answers.pool.limbo)
}
