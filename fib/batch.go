package fib

import (
	"math/bits"
	"sync/atomic"
)

// BatchMax is the most lookups of one call.
const BatchMax = 64

// Found are the answers of a batch of lookups, by number: the table's At has them.
type Found [BatchMax]uint32

// HasArrays reports whether the table has array forms, which Lookup4 and Lookup6 need.
func (t *Table) HasArrays() bool { return t.arrays.Load() != nil }

// Array is the array forms of a table as a reader has them for a batch: lookups and the answers that they come to.
type Array struct {
	a *arrays
}

// Array returns the array forms; ok is false if the table has none.
func (t *Table) Array() (Array, bool) {
	a := t.arrays.Load()
	return Array{a}, a != nil
}

// Answers are the answers that lookups have come to by now, by number. Load them after the lookups.
func (a Array) Answers() []*Answer { return *a.a.answers.list.Load() }

// Lookup4 finds the longest prefixes of the first n IPv4 addresses. 0 is none. What else addrs holds does not matter.
func (a Array) Lookup4(addrs *[BatchMax]uint32, n int, found *Found) {
	a.a.tries[0].lookup4(addrs, n, found)
}

// Lookup6 finds the longest prefixes of the first n IPv6 addresses, whose four 32-bit words stand in four arrays.
func (a Array) Lookup6(addrs *[4][BatchMax]uint32, n int, found *Found) {
	a.a.tries[1].lookup6(addrs, n, found)
}

// vectors is whether lookups use vector instructions. A test does without.
var vectors = hasVectors()

// inVectors rounds a number of lookups up to what vectors do at a time.
func inVectors(n int) uint64 { return uint64(n+15) &^ 15 }

func (t *trie) lookup4(addrs *[BatchMax]uint32, n int, found *Found) {
	switch {
	case n == 0:
	case vectors:
		t.vector4(addrs, inVectors(n), found)
	case t.narrow:
		t.plain4Narrow(addrs[:n], found[:n])
	default:
		t.plain4Wide(addrs[:n], found[:n])
	}
}

func (t *trie) plain4Wide(addrs, found []uint32) {
	found = found[:len(addrs)]
	root, blocks, base := t.root, t.blocks, t.base.Load()
	for i, a := range addrs {
		found[i] = atomic.LoadUint32(&root[a>>8])
	}
	for i, a := range addrs {
		e := found[i]
		if e-1 < toBlock-1 { // neither 0 nor a block
			continue
		}
		if e != 0 {
			e = atomic.LoadUint32(&blocks[e&entryID<<8|a&0xff])
		}
		if e == 0 {
			e = base
		}
		found[i] = e
	}
}

func (t *trie) plain4Narrow(addrs, found []uint32) {
	found = found[:len(addrs)]
	root, blocks, base := (*[1 << (rootBits - 1)]uint32)(t.root), t.blocks, t.base.Load()
	for i, a := range addrs {
		found[i] = atomic.LoadUint32(&root[a>>9]) >> (a >> 4 & 16) & 0xffff
	}
	for i, a := range addrs {
		e := found[i]
		if e-1 < narrowBlock-1 {
			continue
		}
		if e != 0 {
			j := e&(narrowBlock-1)<<8 | a&0xff
			e = atomic.LoadUint32(&blocks[j>>1]) >> (j & 1 * 16) & 0xffff
		}
		if e == 0 {
			e = base
		}
		found[i] = e
	}
}

func (t *trie) lookup6(addrs *[4][BatchMax]uint32, n int, found *Found) {
	switch {
	case n == 0:
	case vectors:
		open := t.vector6(addrs, inVectors(n), found)
		if open == 0 {
			return
		}
		for m := open; t.narrow && m != 0; m &= m - 1 {
			i := bits.TrailingZeros64(m) & (BatchMax - 1)
			found[i] = widen(found[i])
		}
		t.deeper6(addrs, found, 6, open)
	default:
		t.deeper6(addrs, found, 1, t.root6(&addrs[0], n, found))
	}
}

// root6 is the first step of plain lookups. open has the bits of the addresses that have not come to an answer by it.
func (t *trie) root6(addrs *[BatchMax]uint32, n int, found *Found) (open uint64) {
	base := t.base.Load()
	for i, a := range addrs[:n] {
		e := get(t.root, t.narrow, a>>(32-rootBits))
		if e == 0 {
			e = base
		}
		found[i] = e
		if e > entryID {
			open |= 1 << i
		}
	}
	return open
}

// deeper6 goes down from a level on with the addresses whose bits are in open, level by level, so that their loads overlap.
func (t *trie) deeper6(addrs *[4][BatchMax]uint32, found *Found, level int, open uint64) {
	for ; open != 0; level++ {
		word, shift := &addrs[(level+2)/4&3], 24-(level+2)%4*8
		for m := open; m != 0; m &= m - 1 {
			i := bits.TrailingZeros64(m) & (BatchMax - 1)
			e := found[i]
			if e&toTail != 0 {
				k := key{uint64(addrs[0][i])<<32 | uint64(addrs[1][i]), uint64(addrs[2][i])<<32 | uint64(addrs[3][i])}
				e = t.tails[e&entryID].answer(k)
			} else {
				e = get(t.blocks, t.narrow, e&entryID<<8|word[i]>>shift&0xff)
			}
			if e == 0 {
				e = t.base.Load()
			}
			found[i] = e
			if e <= entryID {
				open &^= 1 << i
			}
		}
	}
}
