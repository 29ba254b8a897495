package policy

import (
	"cmp"
	"math"
	"slices"
)

const (
	// matcherSpansMax bounds the spans of values in what a matcher is made of. Items with more are checked one by one.
	matcherSpansMax = 1 << 20

	// matcherWordsMax bounds a matcher's memory, in words of eight bytes: facets that do not fit in are left out.
	matcherWordsMax = 1 << 24
)

// matcherMaker makes a matcher. Every item comes once, by add.
type matcherMaker struct {
	m       *matcher
	rules   bool
	ipv6    bool
	members map[facetKey][]member
	spans   int // of all members
	left    int // words that facets may take
	rowAt   map[[segmentWords]uint64]uint64
	classAt map[uint64]uint32
}

type facetKey struct {
	dim  dimension
	mask uint32
}

// member is an item that accepts only some values of a facet.
type member struct {
	item  int
	spans spans
}

// newMatcherMaker is for n items, at least one, that are rules or statements, in one of the families.
func newMatcherMaker(n int, rules bool, family, words int) *matcherMaker {
	segments := (n + segmentItems - 1) / segmentItems
	m := &matcher{segments: make([]segment, segments), stride: (n + 63) / 64}
	if m.stride > wordsAlone {
		m.stride = segmentWords
	}
	m.words = make([]wordFlags, segments*segmentWords)
	return &matcherMaker{m: m, rules: rules, ipv6: family == 1, left: words, members: map[facetKey][]member{},
		rowAt: map[[segmentWords]uint64]uint64{}, classAt: map[uint64]uint32{}}
}

// unlimited adds an item without a region, for it to be checked.
func (k *matcherMaker) unlimited(item int) {
	w, bit := &k.m.words[item/64], uint64(1)<<(item%64)
	w.there, w.check, w.always = w.there|bit, w.check|bit, w.always|bit
}

// add adds an item that matches what is in the region.
func (k *matcherMaker) add(item int, a *region) {
	if a == nil {
		k.unlimited(item)
		return
	}
	w, bit := &k.m.words[item/64], uint64(1)<<(item%64)
	w.there |= bit
	if a.not {
		w.not |= bit
	}
	own := map[facetKey]spans{}
	limit := func(key facetKey, to spans) {
		if had, ok := own[key]; ok {
			to = to.intersect(had)
		}
		own[key] = to
	}
	protos, fragments := a.at(dimProto), a.at(dimFragment)
	if protos != nil || fragments != nil {
		limit(facetKey{dimProto, AllBits}, protoFragments(protos, fragments))
	}
	for i := range a.limits {
		if l := &a.limits[i]; l.dim != dimProto && l.dim != dimFragment {
			limit(facetKey{l.dim, AllBits}, l.spans)
		}
	}
	for i := range a.clauses {
		c := &a.clauses[i]
		mask, ok := c.mask()
		if !ok {
			k.leaveOut(item)
			continue
		}
		limit(facetKey{c.dim, mask}, c.spans())
	}
	for key, s := range own {
		k.members[key] = append(k.members[key], member{item, s})
		k.spans += len(s)
	}
}

// leaveOut has the item checked, since a condition of it is in no facet. What its other conditions do not exclude seems
// to match then, which of an item with not must not be taken for the opposite.
func (k *matcherMaker) leaveOut(item int) {
	w, bit := &k.m.words[item/64], uint64(1)<<(item%64)
	w.check |= bit
	w.always |= w.not & bit
}

// mask is that of the clause's ranges, if they have one.
func (c *clause) mask() (mask uint32, ok bool) {
	mask = c.ranges[0].Mask
	return mask, !slices.ContainsFunc(c.ranges, func(r Range) bool { return r.Mask != mask })
}

// spans is the clause's set of masked numbers; its ranges have one mask.
func (c *clause) spans() spans {
	var set spans
	for _, r := range c.ranges {
		set = append(set, interval(r.Lo, r.Hi)...)
	}
	slices.SortFunc(set, func(a, b span) int { return a.lo.compare(b.lo) })
	if set = set.join(); c.not {
		set = set.complement(interval(0, math.MaxUint32))
	}
	return set
}

// protoFragments is the set of both as a facet sees them.
func protoFragments(protos, fragments *limit) spans {
	proto, fragment := interval(0, fields[FieldProto].limit), interval(0, fields[FieldFragment].limit)
	if protos != nil {
		proto = protos.spans
	}
	if fragments != nil {
		fragment = fragments.spans
	}
	var set spans
	for _, f := range fragment {
		for upper := f.lo.lo; upper <= f.hi.lo; upper++ {
			for _, p := range proto {
				set = append(set, interval(uint32(upper<<8|p.lo.lo), uint32(upper<<8|p.hi.lo))...)
			}
		}
	}
	return set.join()
}

// make makes the matcher, of the facets that most items ask for.
func (k *matcherMaker) make() *matcher {
	m := k.m
	for i := range m.words {
		if w := &m.words[i]; w.there != 0 {
			s, bit := &m.segments[i/segmentWords], uint64(1)<<(i%segmentWords)
			s.there |= bit
		}
	}
	keys := make([]facetKey, 0, len(k.members))
	for key := range k.members {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b facetKey) int {
		return cmp.Or(-cmp.Compare(len(k.members[a]), len(k.members[b])), cmp.Compare(a.dim, b.dim), cmp.Compare(a.mask, b.mask))
	})
	size := 0
	for _, key := range keys {
		rows, entries := len(m.rows), len(m.entries)
		c, ok := facet{}, len(m.facets) < facetsMax
		if ok {
			c, ok = k.facet(key, k.left-size)
		}
		if ok {
			m.facets = append(m.facets, c)
			size += c.size()
			continue
		}
		m.rows, m.entries = m.rows[:rows], m.entries[:entries]
		clear(k.rowAt) // may lead to rows that are no more
		for _, member := range k.members[key] {
			k.leaveOut(member.item)
		}
	}
	for i := range m.words {
		if w := &m.words[i]; w.not|w.always != 0 {
			m.segments[i/segmentWords].forced |= 1 << (i % segmentWords)
		}
	}
	for i := range m.segments {
		m.forced = m.forced || m.segments[i].forced != 0
	}
	m.byVectors = m.stride == segmentWords && len(m.facets) > 0 && vectors != "none"
	m.rows, m.entries = slices.Clip(m.rows), slices.Clip(m.entries)
	return m
}

// size is the memory that the matcher takes for its facets, in words.
func (m *matcher) size() int {
	if m.homes != nil {
		return m.homes.size()
	}
	n := len(m.rows) + len(m.entries)
	for i := range m.facets {
		n += m.facets[i].size()
	}
	return n
}

// event is where an item begins or ceases to accept a facet's values, in ascending order.
type event struct {
	at   u128
	item int32
	on   bool
}

// facet makes one facet; ok is false where that takes more words than are left.
func (k *matcherMaker) facet(key facetKey, left int) (c facet, ok bool) {
	m := k.m
	form, last := formOf(key.dim, k.ipv6)
	c = facet{dim: key.dim, mask: key.mask, rules: k.rules, form: form}
	vector := make([]uint64, len(m.words)) // of the values that the sweep is at
	for i := range m.words {
		vector[i] = m.words[i].there
	}
	var events []event
	for _, member := range k.members[key] {
		vector[member.item/64] &^= 1 << (member.item % 64)
		for _, s := range member.spans {
			events = append(events, event{s.lo, int32(member.item), true})
			if s.hi.compare(last) < 0 {
				events = append(events, event{s.hi.next(), int32(member.item), false})
			}
		}
	}
	slices.SortFunc(events, func(a, b event) int { return a.at.compare(b.at) })

	entry := make([]uint64, len(m.segments))
	for i := range entry {
		entry[i] = k.row(vector[i*segmentWords:])
	}
	clear(k.classAt)
	var bounds []u128
	var classOf []uint32
	for i := 0; ; {
		at := u128{}
		if len(bounds) > 0 || len(events) > 0 && events[0].at == at {
			if i == len(events) {
				break
			}
			at = events[i].at
		}
		touched := -1
		for ; i < len(events) && events[i].at == at; i++ {
			item := int(events[i].item)
			if s := item / segmentItems; s != touched {
				if touched >= 0 {
					entry[touched] = k.row(vector[touched*segmentWords:])
				}
				touched = s
			}
			if bit := uint64(1) << (item % 64); events[i].on {
				vector[item/64] |= bit
			} else {
				vector[item/64] &^= bit
			}
		}
		if touched >= 0 {
			entry[touched] = k.row(vector[touched*segmentWords:])
		}
		if class := k.class(entry); len(bounds) == 0 || classOf[len(bounds)-1] != class {
			bounds, classOf = append(bounds, at), append(classOf, class)
		}
		if len(m.rows)+len(m.entries)+3*len(bounds) > left {
			return facet{}, false
		}
	}
	c.lay(bounds, classOf)
	return c, len(m.rows)+len(m.entries)+c.size() <= left
}

// row is the entry for the beginning of a vector.
func (k *matcherMaker) row(vector []uint64) uint64 {
	m := k.m
	row := [segmentWords]uint64(vector)
	sum := uint64(0)
	for w, x := range row {
		if x != 0 {
			sum |= 1 << w
		}
	}
	at, ok := k.rowAt[row]
	if !ok {
		at = uint64(len(m.rows))
		k.rowAt[row] = at
		m.rows = append(m.rows, row[:m.stride]...)
	}
	return at<<rowShift | sum
}

// class is where the entries are that a value has in all segments.
func (k *matcherMaker) class(entry []uint64) uint32 {
	m := k.m
	hash := uint64(0)
	for _, e := range entry {
		hash = hashStep(hash, e)
	}
	if at, ok := k.classAt[hash]; ok && slices.Equal(m.entries[at:int(at)+len(entry)], entry) {
		return at
	}
	at := uint32(len(m.entries))
	k.classAt[hash] = at
	m.entries = append(m.entries, entry...)
	return at
}
