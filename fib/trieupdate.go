package fib

import (
	"cmp"
	"errors"
	"slices"
	"sync/atomic"
)

// item is a prefix with its answer.
type item struct {
	key
	bits   uint8
	answer uint32
}

func compareItems(a, b item) int {
	return cmp.Or(cmp.Compare(a.hi, b.hi), cmp.Compare(a.lo, b.lo), cmp.Compare(a.bits, b.bits))
}

// errFull is a trie that needs wider entries, or more blocks than there can be.
var errFull = errors.New("table is full")

// build fills an empty trie with all prefixes, by address, a shorter one before those inside it. The first may be the default
// route.
func (t *trie) build(items []item) error {
	if len(items) > 0 && items[0].bits == 0 {
		t.base.Store(items[0].answer)
		items = items[1:]
	}
	for i := range items {
		t.learn(&items[i])
	}
	return t.fill(t.root, 0, 0, items)
}

// learn notes the length of the prefixes that have the answer.
func (t *trie) learn(it *item) {
	if n := int(it.answer) + 1; n > len(t.lengths) {
		t.lengths = append(t.lengths, make([]uint8, n-len(t.lengths))...)
	}
	t.lengths[it.answer] = it.bits
}

// fill enters items into the entries of a level that begin at first: the root, or a block that nobody reads yet.
func (t *trie) fill(words []uint32, level int, first uint32, items []item) error {
	end := levelBits(level)
	for i := 0; i < len(items); {
		it := &items[i]
		at := first + it.at(level)
		if it.bits <= end {
			t.spread(words, at, 1<<(end-it.bits), it.answer)
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
	if len(items) < t.least() {
		id, ok := t.tailPool.take()
		if !ok {
			return 0, errFull
		}
		t.tails[id] = newTail(&items[0], answer)
		return toTail | id, nil
	}
	id, ok := t.blockPool.take()
	if !ok {
		return 0, errFull
	}
	if int(id) >= len(t.counts) {
		t.counts = append(t.counts, 0)
	}
	t.counts[id] = uint32(len(items))
	t.spread(t.blocks, id<<8, 256, answer)
	return toBlock | id, t.fill(t.blocks, level, id<<8, items)
}

// spread enters an answer into a power of two of entries that nobody reads yet, and that begin at a multiple of it.
func (t *trie) spread(words []uint32, at, n, answer uint32) {
	if t.narrow {
		if n == 1 {
			put(words, true, at, answer)
			return
		}
		at, n, answer = at/2, n/2, answer|answer<<16
	}
	words = words[at:][:n]
	for i := range words {
		words[i] = answer
	}
}

// least is how many items a block is worth. A tail in its place would save one block of IPv4, but several of IPv6.
func (t *trie) least() int {
	if t.bits == 32 {
		return 1
	}
	return 2
}

// update brings the trie up to date with a prefix that has come, gone or changed: by is 1, -1, or 0. Its answer is what
// those addresses come to now for which it is, or was, the longest prefix. The trie knows enough of what it holds: what painted
// an entry by the length of the answer's prefixes, and what a block is worth by counting.
func (t *trie) update(it item, by int) error {
	if it.bits == 0 {
		t.base.Store(it.answer)
		return nil
	}
	if by >= 0 {
		t.learn(&it)
	}
	words, first := t.root, uint32(0)
	var poor struct { // the first block that is not worth it any more
		found bool
		words []uint32
		at    uint32
		level int
	}
	for level := 0; ; level++ {
		end := levelBits(level)
		at := first + it.at(level)
		if it.bits <= end {
			t.paint(words, at, 1<<(end-it.bits), it.bits, it.answer)
			break
		}
		e := get(words, t.narrow, at)
		if e&toBlock == 0 {
			if err := t.enter(words, at, level+1, it, by); err != nil {
				return err
			}
			break
		}
		id := e & entryID
		t.counts[id] += uint32(by)
		if !poor.found && int(t.counts[id]) < t.least() {
			poor.found, poor.words, poor.at, poor.level = true, words, at, level
		}
		words, first = t.blocks, id<<8
	}
	if poor.found {
		return t.shrink(poor.words, poor.at, poor.level+1, it.key)
	}
	return nil
}

// paint gives entries, with all that is under them, to an answer: those that have one of a prefix that is not longer.
func (t *trie) paint(words []uint32, at uint32, n int, bits uint8, answer uint32) {
	for i := at; i < at+uint32(n); i++ {
		switch e := get(words, t.narrow, i); {
		case e&toBlock != 0:
			t.paint(t.blocks, e&entryID<<8, 256, bits, answer)
		case e&toTail != 0:
			if x := &t.tails[e&entryID]; t.lengths[x.out] <= bits {
				atomic.StoreUint32(&x.out, answer)
			}
		case t.lengths[e] <= bits:
			put(words, t.narrow, i, answer)
		}
	}
}

// enter brings an entry that refers to no block up to date with an item longer than what leads to it.
func (t *trie) enter(words []uint32, at uint32, level int, it item, by int) error {
	answer := get(words, t.narrow, at)
	t.items = append(t.items[:0], it)
	if answer&toTail != 0 {
		x := &t.tails[answer&entryID]
		switch only := x.item(); {
		case only.key != it.key || only.bits != it.bits:
			t.items = append(t.items, only)
			slices.SortFunc(t.items, compareItems)
		case by < 0:
			t.replace(words, at, x.out)
			return nil
		default:
			atomic.StoreUint32(&x.in, it.answer)
			return nil
		}
		answer = x.out
	}
	e, err := t.subtree(t.items, level, answer)
	if err == nil {
		t.replace(words, at, e)
	}
	return err
}

// shrink replaces a block of the level by what serves for the item that is left of it, if one is. k leads to the block.
func (t *trie) shrink(words []uint32, at uint32, level int, k key) error {
	t.items = t.items[:0]
	e := t.remains(get(words, t.narrow, at)&entryID, level, k)
	if len(t.items) > 0 {
		var err error
		if e, err = t.subtree(t.items, level, e); err != nil {
			return err
		}
	}
	t.replace(words, at, e)
	return nil
}

// remains puts the one item of a block into t.items, if there is one, and returns the answer of all else there.
func (t *trie) remains(block uint32, level int, k key) (answer uint32) {
	before := uint32(toBlock | toTail) // no entry is both
	for i := range uint32(256) {
		e := get(t.blocks, t.narrow, block<<8|i)
		if e == before {
			continue
		}
		before = e
		switch {
		case e&toBlock != 0:
			t.remains(e&entryID, level+1, k.with(level, i))
		case e&toTail != 0:
			t.items = append(t.items, t.tails[e&entryID].item())
		case t.lengths[e] <= levelBits(level-1):
			answer = e
		case len(t.items) == 0:
			bits := t.lengths[e]
			t.items = append(t.items, item{k.with(level, i).masked(bits), bits, e})
		}
	}
	return answer
}

// replace stores an entry, and gives back what the old one referred to.
func (t *trie) replace(words []uint32, at, e uint32) {
	old := get(words, t.narrow, at)
	put(words, t.narrow, at, e)
	t.giveBack(old)
}

func (t *trie) giveBack(e uint32) {
	switch {
	case e&toTail != 0:
		t.tailPool.give(e & entryID)
	case e&toBlock != 0:
		for _, w := range t.block(e & entryID) {
			switch {
			case !t.narrow:
				t.giveBack(w)
			case w&(narrowBlock|narrowTail|toBlock|toTail) != 0:
				t.giveBack(widen(w & 0xffff))
				t.giveBack(widen(w >> 16))
			}
		}
		t.blockPool.give(e & entryID)
	}
}

// block is a block's words.
func (t *trie) block(id uint32) []uint32 {
	if t.narrow {
		return t.blocks[id<<7:][:128]
	}
	return t.blocks[id<<8:][:256]
}

// reclaim makes what changes have left unused available again. Every reader must have begun its present lookup after the
// last change.
func (t *trie) reclaim() {
	t.blockPool.reclaim()
	t.tailPool.reclaim()
}

// limbo is how much waits for reclaim.
func (t *trie) limbo() int { return len(t.blockPool.limbo) + len(t.tailPool.limbo) }
