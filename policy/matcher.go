package policy

import "math/bits"

// matcher is the compiled form of a list of rules or of statements, its items, for the packets of one family. It finds the
// items that a packet matches, in order, and does not try most others. It has homes where items are selective, as most are, and
// otherwise bit vectors, whose cost does not depend on that:
//
// For each field that items look at there is a facet, which gives the packet's value a class: values of one class are
// alike to every item. A class has a bit vector of the items that accept it, so that the AND of the vectors of all facets
// has the items whose conditions are all met. Vectors are cut into segments of 1,024 items. In a segment a class has a row,
// which classes share where they are alike, and a summary with a bit for each word of the row that is not zero. So what
// is not there costs the AND of the summaries, and memory grows with the number of items and not with its square.
type matcher struct {
	facets   []facet
	segments []segment
	stride   int      // words of a row
	entries  []uint64 // of each class in turn: for each segment, the place of its row in rows<<16 | its summary
	rows     []uint64
	words    []wordFlags

	byVectors bool // rows are whole, and there are vectors
	forced    bool // segments have words that are

	homes *homes // in place of all that, or nil
}

const (
	// facetsMax bounds the fields, or masks of marks, that a matcher looks at. What is beyond them is checked item by item.
	facetsMax = 16

	segmentWords = 16
	segmentItems = segmentWords * 64
	rowShift     = segmentWords // of an entry, above the summary

	// wordsAlone is how many words are looked at one by one. More are looked at by vectors, a segment at once.
	wordsAlone = 4
)

// classes are a packet's class in each facet: where its entries begin.
type classes [facetsMax]uint32

// segment has a bit for each of its words.
type segment struct {
	there  uint64 // words with items
	forced uint64 // words whose items may match although the summaries have nothing
}

// wordFlags are what a word of a vector has for all packets.
type wordFlags struct {
	there  uint64 // items that are for the family and that some packet matches
	not    uint64 // items that match where their conditions are not all met
	always uint64 // items to be checked whatever the vectors have
	check  uint64 // items to be checked if they seem to match: with conditions that no facet has
}

// classify gives the packet its classes.
func (m *matcher) classify(f *flow, c *classes, l *lanes) {
	if m.homes != nil {
		m.homes.fill(f, l)
		return
	}
	for i := range m.facets {
		c[i&(facetsMax-1)] = m.facets[i].class(f)
	}
}

// reclassify brings the classes up to date after a change of the mark or the DSCP, and reports whether they have changed.
func (m *matcher) reclassify(f *flow, c *classes, l *lanes) (changed bool) {
	if m.homes != nil {
		return m.homes.refill(f, l)
	}
	for i := range m.facets {
		if d := m.facets[i].dim; d == dimMark || d == dimDSCP {
			class := m.facets[i].class(f)
			changed = changed || class != c[i&(facetsMax-1)]
			c[i&(facetsMax-1)] = class
		}
	}
	return changed
}

// checked reports whether the item must be checked before it counts as matched.
func (m *matcher) checked(item int) bool {
	if m.homes != nil {
		return m.homes.check[item/64]>>(item%64)&1 != 0
	}
	return m.words[item/64].check>>(item%64)&1 != 0
}

// cursor goes through the items that a packet matches.
type cursor struct {
	m       *matcher
	class   *classes
	lanes   *lanes
	heads   heads
	end     int // of the items that are looked for
	segment int
	sum     uint64 // words of the segment that are still to be looked at
	word    uint64 // matching items still to be visited, from first on
	first   int
	room    *cursorRoom
}

// cursorRoom is what cursors on the packets of a batch use in turn, so that it need not be cleared for each.
type cursorRoom struct {
	rows  [facetsMax]uint64    // of the packet, in the segment
	words [segmentWords]uint64 // by vectors: the AND of the rows
}

// seek makes item from, or the first matching one between it and end, the next.
func (c *cursor) seek(from, end int) {
	if c.m.homes != nil {
		c.seekHome(from, end)
	} else {
		c.seekBit(from, end)
	}
}

func (c *cursor) seekBit(from, end int) {
	c.end = end
	at := from / segmentItems
	c.enter(at)
	if w := from / 64 % segmentWords; c.segment == at {
		c.sum &= ^uint64(0) << w
		if c.sum>>w&1 != 0 {
			c.load(w)
			c.word &= ^uint64(0) << (from % 64)
		}
	}
}

// next is the next matching item, or -1. It may have to be checked.
func (c *cursor) next() int {
	if c.m.homes != nil {
		return c.nextHome()
	}
	return c.nextBit()
}

func (c *cursor) nextBit() int {
	for c.word == 0 {
		for c.sum == 0 {
			if (c.segment+1)*segmentItems >= c.end {
				return -1
			}
			c.enter(c.segment + 1)
		}
		w := bits.TrailingZeros64(c.sum)
		if c.segment*segmentItems+w*64 >= c.end {
			return -1
		}
		c.load(w)
	}
	item := c.first + bits.TrailingZeros64(c.word)
	if item >= c.end {
		return -1
	}
	c.word &= c.word - 1
	return item
}

// enter begins a segment, or one behind it where there is nothing in that.
func (c *cursor) enter(at int) {
	m := c.m
	c.segment, c.word, c.sum = at, 0, 0
	switch {
	case at >= len(m.segments):
	case m.byVectors && m.forced:
		if _, c.sum = m.scan(c.class, at, at+1, &c.room.words); c.sum == 0 {
			clear(c.room.words[:])
		}
		c.sum |= m.segments[at].forced
	case m.byVectors:
		c.segment, c.sum = m.scan(c.class, at, (c.end+segmentItems-1)/segmentItems, &c.room.words)
	default:
		sum := m.segments[at].there
		for i := range m.facets {
			e := m.entries[int(c.class[i&(facetsMax-1)])+at]
			c.room.rows[i&(facetsMax-1)] = e >> rowShift
			sum &= e
		}
		c.sum = sum | m.segments[at].forced
	}
}

// load begins a word of the segment.
func (c *cursor) load(w int) {
	m := c.m
	own := &m.words[c.segment*segmentWords+w]
	x := own.there
	if m.byVectors {
		x = c.room.words[w&(segmentWords-1)]
	} else {
		for i := range m.facets {
			x &= m.rows[c.room.rows[i&(facetsMax-1)]+uint64(w)]
		}
	}
	c.word = x ^ own.not | own.always
	c.sum &^= 1 << w
	c.first = c.segment*segmentItems + w*64
}
