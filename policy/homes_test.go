package policy

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"weir/fib"
)

// TestLinesMatch holds the trying of lines by vectors to plain code, for packets in any order.
func TestLinesMatch(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	for _, width := range widths() {
		setVectors(t, width)
		rng := rand.New(rand.NewPCG(seed, 0))
		small := func() uint16 { return []uint16{0, 1, 2, 0x7fff, 0x8000, math.MaxUint16}[rng.IntN(6)] }
		matches := 0
		for range 500 {
			h := homes{lists: make([]list, 1+rng.IntN(listsMax)), items: []uint32{noItem}}
			for range 200 {
				var a line
				for i := range a.lo {
					a.lo[i], a.span[i] = 0, math.MaxUint16
					if rng.IntN(8) == 0 {
						a.lo[i], a.span[i] = small(), small()
					}
				}
				h.lines, h.items = append(h.lines, a), append(h.items, rng.Uint32())
			}
			h.lines = append(h.lines, make([]line, linesAhead)...)
			var got, want [fib.BatchMax]lanes
			now := make([]uint8, 1+rng.IntN(fib.BatchMax))
			for i, j := range rng.Perm(fib.BatchMax)[:len(now)] {
				l := &got[j]
				for i := range l.values {
					l.values[i] = small()
				}
				for i := range h.lists {
					l.count[i] = uint32(rng.IntN(listMax + 1))
					l.first[i] = uint32(rng.IntN(200 - int(l.count[i])))
				}
				now[i], want[j] = uint8(j), *l
			}
			for _, j := range now {
				h.matchPlain(&want[j])
				matches += int(want[j].match[0] & 1)
			}
			if width != "none" {
				matchLines(&h, &got[0], now)
			} else {
				got = want
			}
			if got != want {
				t.Fatalf("%s: %+v, want %+v", width, got, want)
			}
		}
		if matches == 0 {
			t.Error("no line matched")
		}
	}
}

// TestHomesWhereTheyFit has selective rules get homes whose lists are short, and others bit vectors.
func TestHomesWhereTheyFit(t *testing.T) {
	l, _ := benchRules(t, 1000)
	m := l.compile().matchRules(0, matcherWordsMax)
	if m.homes == nil || len(m.homes.lists) < 3 {
		t.Fatalf("no lists of their own for 1,000 rules by addresses: %+v", m.homes)
	}
	if m := l.compile().matchRules(0, 1000); m.homes != nil {
		t.Errorf("homes of %d words, where there is room for 1,000", m.size())
	}
	for name, make := range map[string]func(i int) Selector{
		"alike": func(int) Selector { return Selector{HasProto: true, Proto: 17} },
		"large sets": func(i int) Selector {
			x := uint32(i)
			return Selector{Beyond: []Condition{is(FieldLength, x, x+1000, x+2000, x+3000, x+4000)}}
		},
	} {
		l := newLab(t)
		l.defaults()
		for i := range 100 {
			l.rule(uint32(1+i), "nop", make(i))
		}
		if m := l.compile().matchRules(0, matcherWordsMax); m.homes != nil || len(m.facets) == 0 {
			t.Errorf("%s: homes", name)
		}
	}
}

// TestRanks holds both forms of ranks to a search from the front.
func TestRanks(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	for _, width := range widths() {
		setVectors(t, width)
		rng := rand.New(rand.NewPCG(seed, 0))
		for range 300 {
			near := rng.Uint32()
			value := func() uint32 {
				switch rng.IntN(4) {
				case 0:
					return rng.Uint32()
				case 1:
					return uint32(rng.IntN(30))
				case 2:
					return math.MaxUint32 - uint32(rng.IntN(30))
				}
				return near + uint32(rng.IntN(500))
			}
			bounds, wide := []u128{{}}, []u128{{}}
			for range []int{0, 1, 10, 31, 32, 33, 1000}[rng.IntN(7)] {
				bounds = append(bounds, number128(value()))
				wide = append(wide, u128{uint64(value()), uint64(value())})
			}
			narrow, long := facet{form: byNarrow}, facet{form: byWide}
			for c, bounds := range map[*facet]*[]u128{&narrow: &bounds, &long: &wide} {
				slices.SortFunc(*bounds, u128.compare)
				*bounds = slices.Compact(*bounds)
				c.layRanks(*bounds)
			}
			behind := func(bounds []u128, x u128) (rank uint32) {
				for i, b := range bounds {
					if b.compare(x) <= 0 {
						rank = uint32(i)
					}
				}
				return rank
			}
			var column, ranked [fib.BatchMax]uint32
			n := 1 + rng.IntN(fib.BatchMax)
			for i := range n {
				if column[i] = value(); rng.IntN(2) == 0 {
					column[i] = uint32(bounds[rng.IntN(len(bounds))].lo) - uint32(rng.IntN(2))
				}
			}
			ranked = column
			if width != "none" {
				narrow.ranks(&ranked, n)
			}
			for i, x := range column[:n] {
				want := behind(bounds, number128(x))
				if got := narrow.rank(x); uint32(got) != want || width != "none" && ranked[i] != want {
					t.Fatalf("%s: rank %d of %x, by vectors %d, want %d of %x", width, got, x, ranked[i], want, bounds)
				}
			}
			x := u128{uint64(value()), uint64(value())}
			if got, want := long.rankWide(x), behind(wide, x); uint32(got) != want {
				t.Fatalf("rank %d of %x, want %d of %x", got, x, want, wide)
			}
		}
	}
}
