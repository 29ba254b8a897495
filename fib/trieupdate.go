package fib

import (
	"errors"
	"slices"
)

// item is a prefix with its answer.
type item struct {
	key
	bits   uint8
	answer uint32
}

// base is what a trie is built from: the prefixes, which it does not know itself.
type base interface {
	// inside appends the prefixes longer than bits that begin with the first bits of k, a shorter one before those
	// inside it, but at most limit of them.
	inside(k key, bits uint8, to []item, limit int) []item
	// longest is the answer of the longest prefix of k that has at most bits, but 0 if that is the default route.
	longest(k key, bits uint8) uint32
}

// errFull is a trie that needs wider entries, or more blocks than there can be.
var errFull = errors.New("table is full")

// build fills an empty trie with all items, in the order of base.inside, of which the first may be the default route.
func (t *trie) build(items []item) error {
	if len(items) > 0 && items[0].bits == 0 {
		t.base.Store(items[0].answer)
		items = items[1:]
	}
	return t.fill(t.root, 0, 0, items)
}

// fill enters items into the entries of a level that begin at first: the root, or a block that nobody reads yet.
func (t *trie) fill(words []uint32, level int, first uint32, items []item) error {
	end := levelBits(level)
	for i := 0; i < len(items); {
		it := &items[i]
		at := first + it.at(level)
		if it.bits <= end {
			for e := range uint32(1) << (end - it.bits) {
				put(words, t.narrow, at+e, it.answer)
			}
			i++
			continue
		}
		// Those deeper in one entry: whatever covers the entry has come before them.
		n := 1
		for i+n < len(items) && items[i+n].bits > end && items[i+n].at(level) == it.at(level) {
			n++
		}
		e, err := t.subtree(items[i:i+n], level+1, get(words, t.narrow, at))
		if err != nil {
			return err
		}
		put(words, t.narrow, at, e)
		i += n
	}
	return nil
}

// subtree makes what an entry refers to under which there are the items, all longer than what leads to it. All
// else under it has the given answer.
func (t *trie) subtree(items []item, level int, answer uint32) (entry uint32, err error) {
	switch {
	case len(items) == 0:
		return answer, nil
	case len(items) == 1 && !t.narrow:
		it := &items[0]
		id, ok := t.tailPool.take()
		if !ok {
			return 0, errFull
		}
		t.tails[id] = tail{key: it.key, mask: maskOf(it.bits), in: it.answer, out: answer}
		return referring | toTail | id, nil
	}
	id, ok := t.blockPool.take()
	if !ok {
		return 0, errFull
	}
	for i := range uint32(256) {
		put(t.blocks, t.narrow, id<<8|i, answer)
	}
	return referring | id, t.fill(t.blocks, level, id<<8, items)
}

// update brings the trie up to date with what the base has now for the prefix, which has come, gone, or changed its answer.
func (t *trie) update(k key, bits uint8, from base) error {
	if bits == 0 {
		t.base.Store(from.longest(k, 0))
		return nil
	}
	words, first := t.root, uint32(0)
	for level := 0; ; level++ {
		end := levelBits(level)
		at := first + k.at(level)
		if bits <= end {
			return t.repaint(words, level, at, k, bits, from)
		}
		e := get(words, t.narrow, at)
		least := 2 // items worth a block
		if t.narrow {
			least = 1
		}
		t.items = from.inside(k, end, t.items[:0], least)
		if len(t.items) < least || e&referring == 0 || e&toTail != 0 {
			return t.rebuild(words, level, at, k, from)
		}
		words, first = t.blocks, e&entryID<<8
	}
}

// rebuild makes one entry anew, with all that is under it.
func (t *trie) rebuild(words []uint32, level int, at uint32, k key, from base) error {
	end := levelBits(level)
	t.items = from.inside(k, end, t.items[:0], 1<<31-1)
	e, err := t.subtree(t.items, level+1, from.longest(k, end))
	if err != nil {
		return err
	}
	t.replace(words, at, e)
	return nil
}

// repaint brings those of a level's entries up to date that the prefix, which ends on this level, decides: not those for
// which there is a longer one on this level.
func (t *trie) repaint(words []uint32, level int, at uint32, k key, bits uint8, from base) error {
	end := levelBits(level)
	n := 1 << (end - bits)
	if n == 1 {
		return t.rebuild(words, level, at, k, from)
	}
	answer := from.longest(k, bits)
	t.items = from.inside(k, bits, t.items[:0], 1<<31-1)
	t.owned = slices.Grow(t.owned[:0], n)[:n]
	for i := range t.owned {
		t.owned[i] = true
	}
	items := t.items
	for len(items) > 0 {
		it := items[0]
		first := int(it.at(level) - k.at(level))
		if it.bits <= end {
			clear(t.owned[first : first+1<<(end-it.bits)])
			items = items[1:]
			continue
		}
		under := 1
		for under < len(items) && items[under].bits > end && items[under].at(level) == it.at(level) {
			under++
		}
		if t.owned[first] {
			e, err := t.subtree(items[:under], level+1, answer)
			if err != nil {
				return err
			}
			t.replace(words, at+uint32(first), e)
			t.owned[first] = false
		}
		items = items[under:]
	}
	for i, owned := range t.owned {
		if owned {
			t.replace(words, at+uint32(i), answer)
		}
	}
	return nil
}

// replace stores an entry, and gives back what the old one referred to.
func (t *trie) replace(words []uint32, at, e uint32) {
	old := get(words, t.narrow, at)
	if old == e {
		return
	}
	put(words, t.narrow, at, e)
	t.giveBack(old)
}

func (t *trie) giveBack(e uint32) {
	switch {
	case e&referring == 0:
	case e&toTail != 0:
		t.tailPool.give(e & entryID)
	default:
		id := e & entryID
		for i := range uint32(256) {
			t.giveBack(get(t.blocks, t.narrow, id<<8|i))
		}
		t.blockPool.give(id)
	}
}

// reclaim makes what changes have left unused available again. Every reader must have begun its present lookup after the
// last change.
func (t *trie) reclaim() {
	t.blockPool.reclaim()
	t.tailPool.reclaim()
}

// limbo is how much waits for reclaim.
func (t *trie) limbo() int { return len(t.blockPool.limbo) + len(t.tailPool.limbo) }
