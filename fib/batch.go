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

// inVectors rounds a number of lookups up to what vectors do at a time.
func inVectors(n int) uint64 { return uint64(n+15) &^ 15 }

func (t *trie) lookup4(addrs *[BatchMax]uint32, n int, found *Found) {
	if n == 0 || t.lookup4Vectors(addrs, inVectors(n), found) {
		return
	}
	if t.narrow {
		t.lookup4Narrow(addrs[:n], found)
	} else {
		t.lookup4Wide(addrs[:n], found)
	}
}

func (t *trie) lookup4Wide(addrs []uint32, found *Found) {
	root, blocks, base := t.root, t.blocks, t.base.Load()
	for i, a := range addrs {
		found[i] = atomic.LoadUint32(&root[a>>8])
	}
	for i, a := range addrs {
		e := found[i]
		if e-1 < referring-1 { // neither 0 nor referring
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

func (t *trie) lookup4Narrow(addrs []uint32, found *Found) {
	root, blocks, base := (*[1 << (rootBits - 1)]uint32)(t.root), t.blocks, t.base.Load()
	for i, a := range addrs {
		found[i] = atomic.LoadUint32(&root[a>>9]) >> (a >> 4 & 16) & 0xffff
	}
	for i, a := range addrs {
		e := found[i]
		if e-1 < narrowLimit-1 {
			continue
		}
		if e != 0 {
			j := e&(narrowLimit-1)<<8 | a&0xff
			e = atomic.LoadUint32(&blocks[j>>1]) >> (j & 1 * 16) & 0xffff
		}
		if e == 0 {
			e = base
		}
		found[i] = e
	}
}

// lookup6 goes down level by level with all addresses that have not come to an answer yet, so that their loads overlap.
func (t *trie) lookup6(addrs *[4][BatchMax]uint32, n int, found *Found) {
	if n == 0 {
		return
	}
	base := t.base.Load()
	var open [BatchMax]uint8
	left := 0
	var more [BatchMax / 16]uint16
	level := t.lookup6Vectors(addrs, inVectors(n), found, &more)
	if level == 0 {
		level = 1
		root := (*[1 << rootBits]uint32)(t.root)
		for i := range n {
			found[i] = atomic.LoadUint32(&root[addrs[0][i]>>(32-rootBits)])
		}
		for i := range n {
			if e := found[i]; e&referring != 0 {
				open[left&(BatchMax-1)] = uint8(i)
				left++
			} else if e == 0 {
				found[i] = base
			}
		}
	} else {
		for j, m := range more {
			for ; m != 0; m &= m - 1 { // also of addresses beyond n, which do no harm
				open[left&(BatchMax-1)] = uint8(16*j + bits.TrailingZeros16(m))
				left++
			}
		}
	}
	for ; left > 0; level++ {
		word, shift := &addrs[(level+2)/4&3], 24-(level+2)%4*8
		still := 0
		for _, i := range open[:left] {
			i &= BatchMax - 1
			e := found[i]
			if e&toTail != 0 {
				k := key{uint64(addrs[0][i])<<32 | uint64(addrs[1][i]), uint64(addrs[2][i])<<32 | uint64(addrs[3][i])}
				e = t.tails[e&entryID].answer(k)
			} else {
				e = atomic.LoadUint32(&t.blocks[e&entryID<<8|word[i]>>shift&0xff])
			}
			if e == 0 {
				e = base
			}
			found[i] = e
			if e&referring != 0 {
				open[still] = i
				still++
			}
		}
		left = still
	}
}
