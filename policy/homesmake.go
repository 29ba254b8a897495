package policy

import (
	"cmp"
	"math"
	"slices"
)

const (
	// homesFew is how many lines another list must spare packets from, to be worth it.
	homesFew = 8

	// homeCells bounds the ranks that one line may be in the lists of, and homeCopies the lines in all lists, by line.
	homeCells  = 1024
	homeCopies = 16

	// linesMax bounds the lines of an item, which has one for each combination of intervals in its fields. Of an item with more,
	// a line covers several, and it is checked.
	linesMax = 4
)

// wideShare and wideFew bound the conditions that lines are wider than, as those by large sets, whose items a packet may have to be checked for
// one by one: as many as wideFew, and one for every wideShare lines.
const (
	wideShare = 8
	wideFew   = 4
)

// homesMaker makes homes.
type homesMaker struct {
	rules bool
	ipv6  bool
	lines []homeLine
	check []uint64
	wide  int // conditions that lines are wider than
}

// homeLine is a line to be: the intervals of values that it accepts.
type homeLine struct {
	item  int
	lanes []homeLane
}

type homeLane struct {
	key facetKey
	span
}

func (k *homesMaker) checked(item int) { k.check[item/64] |= 1 << (item % 64) }

// unlimited adds an item that is always to be checked.
func (k *homesMaker) unlimited(item int) {
	k.checked(item)
	k.lines = append(k.lines, homeLine{item: item})
}

// add adds an item that matches what is in the region, which is not empty.
func (k *homesMaker) add(item int, a *region) {
	if a == nil || a.not {
		k.unlimited(item)
		return
	}
	var keys []facetKey
	var sets []spans
	limit := func(key facetKey, to spans) {
		if i := slices.Index(keys, key); i >= 0 {
			sets[i] = sets[i].intersect(to)
			return
		}
		keys, sets = append(keys, key), append(sets, to)
	}
	for i := range a.limits {
		limit(facetKey{a.limits[i].dim, AllBits}, a.limits[i].spans)
	}
	for i := range a.clauses {
		c := &a.clauses[i]
		if mask, ok := c.mask(); ok {
			limit(facetKey{c.dim, mask}, c.spans())
		} else {
			k.checked(item)
		}
	}
	lines := []homeLine{{item: item}}
	for i, set := range sets {
		if len(set) == 0 {
			return
		}
		if len(lines)*len(set) > linesMax {
			set = spans{{set[0].lo, set[len(set)-1].hi}}
			k.checked(item)
			k.wide++
		}
		had := lines
		lines = nil
		for _, l := range had {
			for _, s := range set {
				lines = append(lines, homeLine{item, append(slices.Clip(l.lanes), homeLane{keys[i], s})})
			}
		}
	}
	k.lines = append(k.lines, lines...)
}

// homeField is a field while homes are made.
type homeField struct {
	key    facetKey
	lane   int
	last   u128
	bounds []u128
	asks   int // lines that do
	ranks  [][2]uint32
}

// make makes homes of about so many words at most, or nil where that is not possible, or packets would have to try too many
// lines.
func (k *homesMaker) make(words int) *homes {
	fields := k.fields()
	if k.wide > len(k.lines)/wideShare+wideFew {
		return nil
	}
	lists, ok := k.lists(fields)
	if !ok {
		return nil
	}
	h := &homes{rules: k.rules, check: k.check, items: []uint32{noItem}}
	for i := range fields {
		f := &fields[i]
		if f.lane >= laneSearched {
			c := facet{dim: f.key.dim, mask: f.key.mask, rules: k.rules, form: byNarrow}
			if f.last.hi != 0 {
				c.form = byWide
			}
			c.layRanks(f.bounds)
			h.searched = append(h.searched, c)
		}
	}
	for _, l := range lists {
		a := list{form: listSingle, first: make([]uint32, 0, len(l.of)+1)}
		if l.field != nil {
			a.form, a.lane = listRanked, l.field.lane
			if a.lane < laneSearched {
				a.form = listPaged
				ranks := make([]uint32, len(l.field.bounds))
				for i := range ranks {
					ranks[i] = uint32(i)
				}
				a.ranks.layPages(l.field.bounds, ranks)
			}
		}
		for _, lines := range l.of {
			a.first = append(a.first, uint32(len(h.lines)))
			for _, i := range lines {
				h.lines, h.items = append(h.lines, k.line(fields, int(i))), append(h.items, uint32(k.lines[i].item))
			}
		}
		a.first = append(a.first, uint32(len(h.lines)))
		h.lists = append(h.lists, a)
	}
	h.lines = append(h.lines, make([]line, linesAhead)...)
	if h.size() > words {
		return nil
	}
	return h
}

// fields are those that the lines ask for and that there are lanes for, those that most do first. Items that ask for others are
// checked.
func (k *homesMaker) fields() []homeField {
	at := map[facetKey]int{}
	var fields []homeField
	for i := range k.lines {
		for _, l := range k.lines[i].lanes {
			j, ok := at[l.key]
			if !ok {
				j = len(fields)
				at[l.key] = j
				fields = append(fields, homeField{key: l.key, bounds: []u128{{}}})
			}
			f := &fields[j]
			f.asks++
			f.bounds = append(f.bounds, l.lo, l.hi.next()) // what is behind the last value does no harm
		}
	}
	slices.SortFunc(fields, func(a, b homeField) int {
		return cmp.Or(-cmp.Compare(a.asks, b.asks), cmp.Compare(a.key.dim, b.key.dim), cmp.Compare(a.key.mask, b.key.mask))
	})
	searched := laneSearched
	for key := range at {
		at[key] = -1
	}
	kept := fields[:0]
	for _, f := range fields {
		_, f.last = formOf(f.key.dim, k.ipv6)
		slices.SortFunc(f.bounds, u128.compare)
		f.bounds = slices.Compact(f.bounds)
		for n := len(f.bounds); f.bounds[n-1].compare(f.last) > 0; n-- {
			f.bounds = f.bounds[:n-1]
		}
		switch {
		case f.key.dim >= dimIngress && f.key.dim <= dimTTL && f.key.mask == AllBits:
			f.lane = int(f.key.dim - dimIngress)
		case searched == lanesMax || len(f.bounds) > math.MaxUint16:
			continue
		default:
			f.lane = searched
			searched++
		}
		at[f.key] = len(kept)
		kept = append(kept, f)
	}
	k.forget(func(key facetKey) bool { return at[key] < 0 })
	for j := range kept {
		f := &kept[j]
		f.ranks = make([][2]uint32, len(k.lines))
		for i := range f.ranks {
			f.ranks[i] = [2]uint32{0, uint32(len(f.bounds)) - 1}
		}
	}
	for i := range k.lines {
		for _, l := range k.lines[i].lanes {
			f := &kept[at[l.key]]
			f.ranks[i] = [2]uint32{f.rank(l.lo), f.rank(l.hi)}
		}
	}
	return kept
}

// forget has lines not ask for some fields, and their items checked. Lines of an item that differed in nothing else become one: a
// packet must not match an item twice.
func (k *homesMaker) forget(dropped func(facetKey) bool) {
	lines := k.lines[:0]
	for _, l := range k.lines {
		asks := len(l.lanes)
		if l.lanes = slices.DeleteFunc(slices.Clone(l.lanes), func(a homeLane) bool { return dropped(a.key) }); len(l.lanes) < asks {
			k.checked(l.item)
			k.wide++
		}
		twice := false
		for i := len(lines) - 1; i >= 0 && lines[i].item == l.item; i-- {
			twice = twice || slices.Equal(lines[i].lanes, l.lanes)
		}
		if !twice {
			lines = append(lines, l)
		}
	}
	k.lines = lines
}

// rank is that of a value: the index of the last bound up to it.
func (f *homeField) rank(x u128) uint32 {
	i, ok := slices.BinarySearchFunc(f.bounds, x, u128.compare)
	if !ok {
		i--
	}
	return uint32(i)
}

// cells is how many ranks a line accepts; ok is false if those are not few.
func (f *homeField) cells(line int) (n int, ok bool) {
	n = int(f.ranks[line][1] - f.ranks[line][0] + 1)
	return n, n <= homeCells && n*4 <= len(f.bounds)
}

// homeList is the lists of one field while they are made, by rank.
type homeList struct {
	field *homeField // nil: one list
	of    [][]int32
}

// lists gives each line its home; ok is false where a list becomes too long.
func (k *homesMaker) lists(fields []homeField) (lists []homeList, ok bool) {
	lists = k.worthwhile(fields)
	rest := homeList{of: make([][]int32, 1)}
	copies := homeCopies*len(k.lines) + homeCells
	for i := range k.lines {
		home, least := &rest, math.MaxInt
		for j := range lists {
			f := lists[j].field
			n, ok := f.cells(i)
			if !ok || n > copies {
				continue
			}
			score := 0 // grows with the square of a list's length: what is tried does so if each line has packets of its own
			for _, of := range lists[j].of[f.ranks[i][0] : f.ranks[i][1]+1] {
				score += 2*len(of) + 1
				if len(of) == listMax {
					score += 1 << 32
				}
			}
			if score < least {
				home, least = &lists[j], score
			}
		}
		r := [2]uint32{}
		if home.field != nil {
			r = home.field.ranks[i]
			copies -= int(r[1] - r[0])
		}
		for rank := r[0]; rank <= r[1]; rank++ {
			if len(home.of[rank]) == listMax {
				return nil, false
			}
			home.of[rank] = append(home.of[rank], int32(i))
		}
	}
	return append(lists, rest), true
}

// worthwhile finds the fields by which packets are spared from the most lines.
func (k *homesMaker) worthwhile(fields []homeField) (lists []homeList) {
	left := make([]int, len(k.lines))
	for i := range left {
		left[i] = i
	}
	for len(lists) < listsMax-1 {
		var best *homeField
		least := len(left) - homesFew
		for j := range fields {
			f := &fields[j]
			lengths, tried := make([]int, len(f.bounds)+1), len(left)
			for _, i := range left {
				if _, ok := f.cells(i); ok {
					lengths[f.ranks[i][0]]++
					lengths[f.ranks[i][1]+1]--
					tried--
				}
			}
			length, sum, squares := 0, 0, 0
			for _, change := range lengths {
				length += change
				sum, squares = sum+length, squares+length*length
			}
			if sum > 0 {
				tried += squares / sum
			}
			if tried < least {
				best, least = f, tried
			}
		}
		if best == nil {
			break
		}
		lists = append(lists, homeList{best, make([][]int32, len(best.bounds))})
		left = slices.DeleteFunc(left, func(i int) bool {
			_, ok := best.cells(i)
			return ok
		})
	}
	return lists
}

// line is line i.
func (k *homesMaker) line(fields []homeField, i int) (a line) {
	for j := range a.span {
		a.span[j] = math.MaxUint16
	}
	for _, l := range k.lines[i].lanes {
		f := &fields[slices.IndexFunc(fields, func(f homeField) bool { return f.key == l.key })]
		lo, hi := uint32(l.lo.lo), uint32(l.hi.lo)
		if f.lane >= laneSearched {
			lo, hi = f.ranks[i][0], f.ranks[i][1]
		}
		a.lo[f.lane], a.span[f.lane] = uint16(lo), uint16(hi-lo)
	}
	return a
}

// size is the memory of the homes, in words.
func (h *homes) size() int {
	n := len(h.lines)*lanesMax/2 + len(h.items)/2 + len(h.check)
	for i := range h.lists {
		n += len(h.lists[i].first)/2 + h.lists[i].ranks.size()
	}
	for i := range h.searched {
		n += h.searched[i].size()
	}
	return n
}
