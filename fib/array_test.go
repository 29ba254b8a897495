package fib

import (
	"net/netip"
	"testing"

	"pgregory.net/rapid"
)

// lookup returns the answer for one address: the slow twin of lookup4 and lookup6.
func (t *trie) lookup(k key) uint32 {
	e := get(t.root, t.narrow, k.at(0))
	for level := 1; e > entryID; level++ {
		if e&toTail != 0 {
			e = t.tails[e&entryID].answer(k)
			break
		}
		e = get(t.blocks, t.narrow, e&entryID<<8|k.at(level))
	}
	if e == 0 {
		e = t.base.Load()
	}
	return e
}

// sameLookup compares the array forms with the routing information base for one address.
func sameLookup(t *rapid.T, table *Table, addr netip.Addr, tos uint8) {
	t.Helper()
	array, ok := table.Array()
	if !ok {
		t.Fatal("no array forms")
	}
	var found Found
	k := keyOf(addr)
	i := 0
	if addr.Is4() {
		array.Lookup4(&[BatchMax]uint32{0, uint32(k.hi >> 32)}, 2, &found)
	} else {
		i = 1
		var addrs [4][BatchMax]uint32
		addrs[0][1], addrs[1][1], addrs[2][1], addrs[3][1] = uint32(k.hi>>32), uint32(k.hi), uint32(k.lo>>32), uint32(k.lo)
		array.Lookup6(&addrs, 2, &found)
	}
	if one := array.a.tries[i].lookup(k); one != found[1] {
		t.Fatalf("%v: alone %d, in a batch %d", addr, one, found[1])
	}
	a := array.Answers()[found[1]]
	got, final := a.Route(tos)
	want, wantOK := table.Tree().Lookup(addr, tos)
	if !final {
		if got != nil || wantOK && want.Prefix.Bits() >= a.routes[0].Prefix.Bits() {
			t.Fatalf("%v tos %#x: %+v is not final, the base has %+v %v", addr, tos, got, want, wantOK)
		}
		return
	}
	if (got != nil) != wantOK || wantOK && !sameAnswer(got, want) {
		t.Fatalf("%v tos %#x: %+v, the base has %+v %v", addr, tos, got, want, wantOK)
	}
}

// TestArraysAreTheBase changes a table at random, with array forms, and compares every lookup with the routing
// information base.
func TestArraysAreTheBase(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table := NewTable("x")
		var gone []Route
		change := func() {
			r := genLongRoute(t)
			if r.Action = Local; rapid.IntRange(0, 9).Draw(t, "lookup") == 0 {
				r.Action, r.Resume = Lookup, rapid.Bool().Draw(t, "resume")
			}
			if len(gone) > 0 && rapid.IntRange(0, 2).Draw(t, "delete") == 0 {
				r = rapid.SampledFrom(gone).Draw(t, "route")
				table.Delete(r.Prefix, r.TOS, r.Metric)
				return
			}
			r.MTU = rapid.Uint16Range(0, 3).Draw(t, "small mtu")
			table.Insert(r)
			gone = append(gone, r)
		}
		for range rapid.IntRange(0, 20).Draw(t, "before") {
			change()
		}
		if err := table.Build(); err != nil {
			t.Fatal(err)
		}
		shared := rapid.Bool().Draw(t, "shared")
		if shared {
			table.Share()
		}
		for range rapid.IntRange(0, 30).Draw(t, "after") {
			change()
			if shared || rapid.Bool().Draw(t, "reclaim") {
				table.Turn()
				table.Reclaim()
			}
			for range 5 {
				sameLookup(t, table, genAddr(t), rapid.SampledFrom([]uint8{0, 4, 8, 0x10}).Draw(t, "tos"))
			}
		}
		for range 30 {
			sameLookup(t, table, genAddr(t), rapid.Uint8().Draw(t, "tos"))
		}
		for _, r := range gone { // nothing is left of what has been deleted
			table.Delete(r.Prefix, r.TOS, r.Metric)
		}
		table.Turn()
		table.Reclaim()
		a := table.arrays.Load()
		for i, trie := range a.tries {
			if trie.blockPool.used() != 0 || trie.tailPool.used() != 0 || trie.base.Load() != 0 {
				t.Fatalf("family %d: %d blocks, %d tails, base %d in an empty table", i, trie.blockPool.used(), trie.tailPool.used(), trie.base.Load())
			}
		}
		if n := a.answers.pool.used(); n != 1 || len(a.answers.byHash) != 0 { // 0, which was never taken
			t.Fatalf("%d answers, %d hashes in an empty table", n-1, len(a.answers.byHash))
		}
	})
}

// genLongRoute makes short prefixes longer, all but few: they are the same, and many entries to write.
func genLongRoute(t *rapid.T) Route {
	r := genRoute(t)
	if bits := r.Prefix.Bits(); bits > 0 && bits < 12 && (bits < 9 || rapid.IntRange(0, 9).Draw(t, "short") > 0) {
		r.Prefix = netip.PrefixFrom(r.Prefix.Addr(), 12+bits).Masked()
	}
	return r
}
