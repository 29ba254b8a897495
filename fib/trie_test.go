package fib

import (
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// prefixes are what tries are held against: all prefixes of a family, with their answers.
type prefixes map[item]uint32

// longest is the answer of the longest prefix of k.
func (p prefixes) longest(k key) uint32 {
	answer, bits := uint32(0), -1
	for it, a := range p {
		if int(it.bits) > bits && k.masked(it.bits) == it.key {
			answer, bits = a, int(it.bits)
		}
	}
	return answer
}

// above is the answer of the longest prefix shorter than the item, as update wants it.
func (p prefixes) above(it item) uint32 {
	shorter := prefixes{}
	for o, a := range p {
		if o.bits < it.bits && o.bits > 0 {
			shorter[o] = a
		}
	}
	return shorter.longest(it.key)
}

func (p prefixes) sorted() []item {
	list := make([]item, 0, len(p))
	for it, a := range p {
		it.answer = a
		list = append(list, it)
	}
	slices.SortFunc(list, compareItems)
	return list
}

// genKey is an address whose bytes are few, so that prefixes of them meet.
func genKey(t *rapid.T, bits uint8) (k key) {
	octet := rapid.SampledFrom([]uint64{0, 1, 0x80, 0xff})
	k.hi = 0x20<<56 | octet.Draw(t, "first")<<48
	for i := 2; i < int(bits/8); i++ {
		if b := octet.Draw(t, "octet"); i < 8 {
			k.hi |= b << (56 - 8*i)
		} else {
			k.lo |= b << (120 - 8*i)
		}
	}
	return k
}

func genItem(t *rapid.T, bits uint8) item {
	n := rapid.Uint8Range(14, bits).Draw(t, "bits")
	if rapid.IntRange(0, 19).Draw(t, "short") == 0 {
		n = rapid.SampledFrom([]uint8{0, 9, 12}).Draw(t, "short bits")
	}
	return item{key: genKey(t, bits).masked(n), bits: n}
}

// lookups looks up keys in batches of up to BatchMax, by vectors where there are any, and without.
func (t *trie) lookups(keys []key) (all [2][]uint32) {
	defer func(v bool) { vectors = v }(vectors)
	for i, v := range [2]bool{hasVectors(), false} {
		vectors = v
		for batch := range slices.Chunk(keys, BatchMax) {
			found := Found{}
			var words [4][BatchMax]uint32
			for j, k := range batch {
				words[0][j], words[1][j], words[2][j], words[3][j] = uint32(k.hi>>32), uint32(k.hi), uint32(k.lo>>32), uint32(k.lo)
			}
			if t.bits == 32 {
				t.lookup4(&words[0], len(batch), &found)
			} else {
				t.lookup6(&words, len(batch), &found)
			}
			all[i] = append(all[i], found[:len(batch)]...)
		}
	}
	return all
}

// TestTriesAreThePrefixes changes tries of both families and both widths at random, and looks up with and without vectors.
func TestTriesAreThePrefixes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		width := rapid.SampledFrom([]uint8{32, 128}).Draw(t, "family")
		var tries [2]*trie
		want := prefixes{}
		// An answer is of one length.
		answer := func(bits uint8) uint32 { return 1 + uint32(bits) + 200*rapid.Uint32Range(0, 2).Draw(t, "answer") }
		for range rapid.IntRange(0, 20).Draw(t, "before") {
			it := genItem(t, width)
			want[it] = answer(it.bits)
		}
		for i, narrow := range []bool{true, false} {
			var err error
			if tries[i], err = newTrie(width, narrow, false); err == nil {
				err = tries[i].build(want.sorted())
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		update := func(it item, by int) {
			for _, trie := range tries {
				if err := trie.update(it, by); err != nil {
					t.Fatal(err)
				}
				if rapid.Bool().Draw(t, "reclaim") {
					trie.reclaim()
				}
			}
		}
		remove := func(it item) {
			delete(want, it)
			it.answer = want.above(it)
			update(it, -1)
		}
		verify := func(n int) {
			keys := make([]key, n)
			for i := range keys {
				keys[i] = genKey(t, width)
			}
			for _, trie := range tries {
				all := trie.lookups(keys)
				for i, k := range keys {
					if a := want.longest(k); all[0][i] != a || all[1][i] != a || trie.lookup(k) != a {
						t.Fatalf("%x, narrow %v, number %d of %d: by vectors %d, without %d, alone %d, want %d of %v",
							k, trie.narrow, i, n, all[0][i], all[1][i], trie.lookup(k), a, want.sorted())
					}
				}
			}
		}
		for range rapid.IntRange(0, 30).Draw(t, "changes") {
			it := genItem(t, width)
			if len(want) > 0 && rapid.Bool().Draw(t, "of those") {
				it = rapid.SampledFrom(want.sorted()).Draw(t, "which")
				it.answer = 0
			}
			if before, ok := want[it]; !ok {
				want[it] = answer(it.bits)
				it.answer = want[it]
				update(it, 1)
			} else if rapid.Bool().Draw(t, "remove") {
				remove(it)
			} else if want[it] = answer(it.bits); want[it] != before {
				it.answer = want[it]
				update(it, 0)
			}
			verify(rapid.IntRange(1, BatchMax).Draw(t, "n"))
		}
		verify(3 * BatchMax)
		for _, it := range want.sorted() {
			it.answer = 0
			remove(it)
		}
		verify(BatchMax)
		for _, trie := range tries {
			if n := trie.blockPool.used() + trie.tailPool.used(); n != 0 {
				t.Fatalf("%d blocks and tails in an empty trie", n)
			}
		}
	})
}

// TestOutgrowNarrow: a table with more answers than narrow entries have numbers for goes over to wide ones, of both families.
func TestOutgrowNarrow(t *testing.T) {
	table := NewTable("x")
	insert := func(p string, counter uint32) {
		table.Insert(Route{Prefix: netip.MustParsePrefix(p), Action: Local, Counter: counter})
	}
	insert("10.0.0.0/24", 1)
	insert("10.0.0.128/25", 2)
	insert("2001:db8::/32", 3)
	insert("2001:db8:1::/48", 4)
	if err := table.Build(); err != nil {
		t.Fatal(err)
	}
	verify := func(form string) {
		t.Helper()
		if got := table.Form(); got != form {
			t.Errorf("%s, want %s", got, form)
		}
		array, _ := table.Array()
		var found Found
		counter := func(i int) uint32 {
			if r, _ := array.Answers()[found[i]].Route(0); r != nil {
				return r.Counter
			}
			return 0
		}
		array.Lookup4(&[BatchMax]uint32{0x0a000001, 0x0a000081, 0x0a000101}, 3, &found)
		if a, b, c := counter(0), counter(1), counter(2); a != 1 || b != 2 || c != 0 {
			t.Errorf("%s: IPv4 %d %d %d", form, a, b, c)
		}
		array.Lookup6(&[4][BatchMax]uint32{{0x20010db8, 0x20010db8, 0x20010db9}, {0x00020000, 0x00010000, 0}}, 3, &found)
		if a, b, c := counter(0), counter(1), counter(2); a != 3 || b != 4 || c != 0 {
			t.Errorf("%s: IPv6 %d %d %d", form, a, b, c)
		}
	}
	verify("narrow arrays")
	for i := range uint32(narrowLimit) {
		insert(netip.AddrFrom4([4]byte{172, 16 + byte(i>>16), byte(i >> 8), byte(i)}).String()+"/32", 5+i)
	}
	verify("wide arrays")
}

// TestBuildLeavesRoom: a table that fills narrow entries almost has wide ones from the start, so that it is not built again and
// again at the limit.
func TestBuildLeavesRoom(t *testing.T) {
	table := NewTable("x")
	for i := range uint32(narrowLimit - 10) {
		at := netip.AddrFrom16([16]byte{0x20, byte(i >> 8), byte(i), 1})
		table.Insert(Route{Prefix: netip.PrefixFrom(at, 48), Action: Local})
	}
	if err := table.Build(); err != nil {
		t.Fatal(err)
	}
	if got := table.Form(); got != "narrow and wide arrays" {
		t.Errorf("with %d tails: %s", narrowLimit-10, got)
	}
}

// TestFirstBlockInFirstEntry: when a block is given up, what the block with the number 0 holds in its first entry is not forgotten.
func TestFirstBlockInFirstEntry(t *testing.T) {
	for _, narrow := range []bool{true, false} {
		tr, err := newTrie(128, narrow, false)
		if err != nil {
			t.Fatal(err)
		}
		tr.blockPool.next, tr.blockPool.free, tr.counts = 2, []uint32{0, 1}, []uint32{0, 0} // the outer block gets number 1, the inner one 0
		k := key{0x2001_0100 << 32, 0}
		outer, inner := item{k, 33, 34}, item{k, 34, 35}
		if err := tr.build([]item{outer, inner}); err != nil {
			t.Fatal(err)
		}
		outer.answer = 0
		if err := tr.update(outer, -1); err != nil {
			t.Fatal(err)
		}
		if in, out := tr.lookup(key{k.hi, 5}), tr.lookup(key{k.hi | 1<<30, 5}); in != 35 || out != 0 {
			t.Errorf("narrow %v: without the outer prefix the inner one has answer %d, all else %d", narrow, in, out)
		}
		inner.answer = 0
		if err := tr.update(inner, -1); err != nil {
			t.Fatal(err)
		}
		if n := tr.blockPool.used() + tr.tailPool.used(); n != 0 || tr.lookup(k) != 0 {
			t.Errorf("narrow %v: %d blocks and tails in an empty trie, which has answer %d", narrow, n, tr.lookup(k))
		}
	}
}
