package policy

import (
	"encoding/binary"
	"math"
	"math/bits"

	"weir/fib"
)

// homes are the compiled form of a list of items most of which are selective: an item is a line or a few, and each line has its
// home in the lists of one field's values, that field in which it accepts few. So a packet has one short list for each of these
// fields, and the list of what is selective in none, and all that it matches is in them, in order.
//
// A packet has a lane for each field, or mask of a mark, that items look at: a number of 16 bits, which is the value itself or, of
// longer ones, its rank among the bounds where items begin or cease to accept it. A line has an interval for each lane, so that to try
// it takes one cache line and a few vector instructions.
type homes struct {
	searched []facet // whose ranks are in the lanes from laneSearched on
	rules    bool    // ports are as rules see them
	lists    []list
	lines    []line   // and some behind them, for vectors to read
	items    []uint32 // noItem, then those of the lines
	check    []uint64 // a bit for each item: to be checked before it counts as matched
}

const (
	lanesMax     = 16
	laneSearched = int(dimTTL-dimIngress) + 1 // before it: dimIngress to dimTTL as they are

	listsMax = 4
	listMax  = 64 // lines of a list: a bit for each in a word

	linesAhead = 4 // that vectors try at once
)

// line has the packets with lo[i] <= value <= lo[i]+span[i] in every lane.
type line struct{ lo, span [lanesMax]uint16 }

// list is the lists of the values of one lane; those of rank r are the lines from first[r] to before first[r+1].
type list struct {
	lane  int
	form  listForm
	ranks facet // of paged ones
	first []uint32
}

type listForm uint8

const (
	listRanked listForm = iota // the lane is a rank
	listPaged                  // pages have the lane's rank
	listSingle                 // one list, for all packets
)

// lanes are what a packet has: its values, its lists, a bit for each line in them that it matches, and of each list the first item that
// it matches, with the list's number below it. Vectors know them by their layout.
type lanes struct {
	values       [lanesMax]uint16
	first, count [listsMax]uint32
	match, next  [listsMax]uint64
}

// fill gives a packet its lanes, lists and matches.
func (h *homes) fill(f *flow, l *lanes) {
	l.plain(f, h.rules)
	for i := range h.searched {
		l.values[(laneSearched+i)&(lanesMax-1)] = h.searched[i].search(f)
	}
	h.matchOne(l)
}

// plain begins with the lanes that are not searched for, from dimIngress on, and no matches.
func (l *lanes) plain(f *flow, rules bool) {
	k, v := f.key, &l.values
	v[0] = k.Ingress
	v[dimDSCP-dimIngress] = uint16(f.tos >> 2)
	v[dimProto-dimIngress] = uint16(k.Proto)
	v[dimFragment-dimIngress] = uint16(k.Fragment)
	sport, dport := k.SrcPort, k.DstPort
	if rules {
		sport, dport = f.sport, f.dport
	}
	v[dimSport-dimIngress], v[dimDport-dimIngress] = sport, dport
	v[dimICMPType-dimIngress] = uint16(k.ICMPType)
	v[dimICMPCode-dimIngress] = uint16(k.ICMPCode)
	v[dimTCPFlags-dimIngress] = uint16(k.TCPFlags)
	v[dimLength-dimIngress] = k.Length
	v[dimTTL-dimIngress] = uint16(k.TTL)
	l.next = [listsMax]uint64{math.MaxUint64, math.MaxUint64, math.MaxUint64, math.MaxUint64}
}

// refill brings the lanes up to date after a change of the mark or the DSCP, and reports whether they have changed.
func (h *homes) refill(f *flow, l *lanes) (changed bool) {
	if dscp := uint16(f.tos >> 2); l.values[dimDSCP-dimIngress] != dscp {
		l.values[dimDSCP-dimIngress], changed = dscp, true
	}
	for i := range h.searched {
		if c := &h.searched[i]; c.dim == dimMark {
			x, lane := c.search(f), (laneSearched+i)&(lanesMax-1)
			changed = changed || x != l.values[lane]
			l.values[lane] = x
		}
	}
	if changed {
		h.matchOne(l)
	}
	return changed
}

// matchOne finds a packet's lists, and what it matches in them.
func (h *homes) matchOne(l *lanes) {
	for i := range h.lists {
		h.lists[i].find(l, i)
	}
	if vectors != "none" {
		matchLines(h, l, onePacket[:])
		return
	}
	h.matchPlain(l)
}

var onePacket = [1]uint8{0}

// find finds the packet's list, which is its number i.
func (a *list) find(l *lanes, i int) {
	rank := uint32(l.values[a.lane&(lanesMax-1)])
	switch a.form {
	case listPaged:
		rank = a.ranks.page(rank)
	case listSingle:
		rank = 0
	}
	first := a.first[rank]
	l.first[i&(listsMax-1)], l.count[i&(listsMax-1)] = first, a.first[rank+1]-first
}

// search is the rank of the packet's value.
func (c *facet) search(f *flow) uint16 {
	switch c.dim {
	case dimFrom:
		return c.addressRank(&f.key.Src)
	case dimTo:
		return c.addressRank(&f.key.Dst)
	case dimMark:
		return c.rank(f.mark & c.mask)
	case dimFlow:
		return c.rank(f.key.FlowLabel & c.mask)
	}
	return c.rank(c.value(f) & c.mask)
}

func (c *facet) addressRank(a *[16]byte) uint16 {
	if c.form == byWide {
		return c.rankWide(u128{binary.BigEndian.Uint64(a[:8]), binary.BigEndian.Uint64(a[8:])})
	}
	return c.rank(binary.BigEndian.Uint32(a[12:]))
}

// columns are values of the packets of a batch, by their place in it.
type columns struct{ src, dst, mark, ranks [fib.BatchMax]uint32 }

// batch is fill for packets of a batch, field by field.
func (h *homes) batch(b *batch, now []uint8) {
	h.lanesOf(b, now)
	h.listsOf(b, now)
	if vectors != "none" {
		matchLines(h, &b.lanes[0], now)
		return
	}
	for _, i := range now {
		h.matchPlain(&b.lanes[i&(fib.BatchMax-1)])
	}
}

// lanesOf gives them their lanes.
func (h *homes) lanesOf(b *batch, now []uint8) {
	col := &b.columns
	for j, i := range now {
		f := &b.flows[i&(fib.BatchMax-1)]
		b.lanes[i&(fib.BatchMax-1)].plain(f, h.rules)
		j &= fib.BatchMax - 1
		col.src[j] = binary.BigEndian.Uint32(f.key.Src[12:])
		col.dst[j] = binary.BigEndian.Uint32(f.key.Dst[12:])
		col.mark[j] = f.mark
	}
	for i := range h.searched {
		c, lane := &h.searched[i], (laneSearched+i)&(lanesMax-1)
		column := &col.ranks
		switch {
		case c.dim == dimFrom && c.form == byNarrow:
			column = &col.src
		case c.dim == dimTo && c.form == byNarrow:
			column = &col.dst
		case c.dim == dimMark:
			for j, x := range col.mark[:len(now)] {
				col.ranks[j] = x & c.mask
			}
		default:
			for _, i := range now {
				b.lanes[i&(fib.BatchMax-1)].values[lane] = c.search(&b.flows[i&(fib.BatchMax-1)])
			}
			continue
		}
		if vectors != "none" {
			c.ranks(column, len(now))
		} else {
			for j := range now {
				column[j&(fib.BatchMax-1)] = uint32(c.rank(column[j&(fib.BatchMax-1)]))
			}
		}
		for j, i := range now {
			b.lanes[i&(fib.BatchMax-1)].values[lane] = uint16(column[j&(fib.BatchMax-1)])
		}
	}
}

// listsOf finds their lists.
func (h *homes) listsOf(b *batch, now []uint8) {
	for i := range h.lists {
		a := &h.lists[i]
		i &= listsMax - 1
		switch a.form {
		case listSingle:
			first, count := a.first[0], a.first[1]-a.first[0]
			for _, j := range now {
				l := &b.lanes[j&(fib.BatchMax-1)]
				l.first[i], l.count[i] = first, count
			}
		case listRanked:
			lane := a.lane & (lanesMax - 1)
			for _, j := range now {
				l := &b.lanes[j&(fib.BatchMax-1)]
				of := a.first[l.values[lane]:][:2]
				l.first[i], l.count[i] = of[0], of[1]-of[0]
			}
		default:
			for _, j := range now {
				a.find(&b.lanes[j&(fib.BatchMax-1)], i)
			}
		}
	}
}

// matchPlain finds what a packet matches in its lists where there are no vectors.
func (h *homes) matchPlain(l *lanes) {
	for i := range h.lists {
		i &= listsMax - 1
		lines := h.lines[l.first[i]:][:l.count[i]]
		match := uint64(0)
		for j := range lines {
			if lines[j].has(&l.values) {
				match |= 1 << j
			}
		}
		l.match[i], l.next[i] = match, h.next(l, i, match)
	}
}

// next is the first of the matching lines' items, and the list's number. What is in no list is at the place before the first line's.
func (h *homes) next(l *lanes, i int, match uint64) uint64 {
	some := uint32(int64(match|-match) >> 63) // all bits, or none
	at := (l.first[i&(listsMax-1)] + uint32(bits.TrailingZeros64(match)) + 1) & some
	return uint64(h.items[at])<<listShift | uint64(i)
}

func (a *line) has(values *[lanesMax]uint16) bool {
	for i, v := range values {
		if v-a.lo[i] > a.span[i] {
			return false
		}
	}
	return true
}

// noItem is behind all items.
const (
	noItem    = ^uint32(0)
	listShift = 2 // of an item above its list's number
)

// heads are where a cursor is in a packet's lists.
type heads struct {
	match [listsMax]uint64 // from each list's next item on
	next  [listsMax]uint64
}

// seekHome is seek in homes.
func (c *cursor) seekHome(from, end int) {
	h, l := c.m.homes, c.lanes
	c.end, c.heads.match, c.heads.next = end, l.match, l.next
	if from == 0 {
		return
	}
	for i := range h.lists {
		i &= listsMax - 1
		for c.heads.next[i]>>listShift < uint64(from) {
			c.heads.match[i] &= c.heads.match[i] - 1
			c.heads.next[i] = h.next(l, i, c.heads.match[i])
		}
	}
}

// nextHome is next in homes. None of its jumps depends on which list the item is in.
func (c *cursor) nextHome() int {
	n := &c.heads.next
	least := min(min(n[0], n[1]), min(n[2], n[3]))
	item := least >> listShift
	if item >= uint64(c.end) {
		return -1
	}
	i := int(least % listsMax)
	c.heads.match[i] &= c.heads.match[i] - 1
	n[i] = c.m.homes.next(c.lanes, i, c.heads.match[i])
	return int(item)
}
