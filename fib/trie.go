package fib

import (
	"net/netip"
	"sync/atomic"
	"unsafe"
)

// trie is the array form of one family's prefixes: what a worker looks up. The first 24 bits of an address index the
// root, every further 8 bits a block of 256 entries (for IPv4 that is DIR-24-8, one block deep). An entry is the
// answer for all addresses that lead to it, or refers to the block, or the tail, that knows more. So a lookup touches one
// line for most of the Internet's IPv4 addresses, and two for the rest; of its IPv6 addresses mostly three or four.
//
// One writer changes it in place, entry by entry, each by one atomic store; what an entry refers to is complete before it is
// stored. A lookup that runs meanwhile thus comes to the answer from before the change or to the one after it. What a
// change leaves unused may still be read by lookups under way, and is used again after reclaim only.
//
// Entry 0 means the answer of the default route, which base has. Nothing is painted for it, so that the pages of a sparse
// root stay unwritten: they are all the kernel's one page of zeros, and a small table is small.
type trie struct {
	narrow bool          // entries of 16 bits: an answer or a tail in 14 of them, or a block in 15
	bits   uint8         // of an address: 32 or 128
	base   atomic.Uint32 // answer of the default route
	root   []uint32      // words, of one entry or, narrow, two
	blocks []uint32      // the same
	tails  []tail        // IPv6 only

	// The writer's.
	rootRegion, blockRegion, tailRegion *region
	blockPool, tailPool                 pool
	lengths                             []uint8  // of prefixes, by answer
	counts                              []uint32 // items under a block
	items                               []item   // scratch
}

// tail stands for a block under which there is one prefix alone: addresses that match it have one answer, all others in
// reach the other. It saves the blocks of long prefixes that stand alone. Two fill a line of the cache.
type tail struct {
	key              key
	in, out          uint32
	ignoreHi, ignore uint8 // low bits of the key's words that do not matter
	_                [6]byte
}

// Entries, in the form that get returns and put takes. Narrow ones have the same bits on top, and fewer below them.
const (
	toBlock = 1 << 31
	toTail  = 1 << 30
	entryID = toTail - 1 // an answer, or the number of a block or tail

	narrowBlock = toBlock >> 16
	narrowTail  = toTail >> 16
	narrowID    = narrowTail - 1
)

const (
	rootBits     = 24
	narrowLimit  = narrowTail  // answers, and tails, of narrow tries
	narrowBlocks = narrowBlock // their blocks
	wideLimit    = 1 << 22     // blocks, and tails, of others: 4 GiB of address space
)

// key is an address with its first bit on top. IPv4 addresses are the upper 32 bits.
type key struct{ hi, lo uint64 }

func keyOf(a netip.Addr) key {
	if a.Is4() {
		b := a.As4()
		return key{hi: uint64(b[0])<<56 | uint64(b[1])<<48 | uint64(b[2])<<40 | uint64(b[3])<<32}
	}
	b := a.As16()
	var k key
	for i := range 8 {
		k.hi, k.lo = k.hi<<8|uint64(b[i]), k.lo<<8|uint64(b[8+i])
	}
	return k
}

// masked is the key with nothing behind its first bits.
func (k key) masked(bits uint8) key {
	if bits <= 64 {
		return key{hi: k.hi &^ (^uint64(0) >> bits)}
	}
	return key{k.hi, k.lo &^ (^uint64(0) >> (bits - 64))}
}

// at is the key's index among the entries of a level: 0 is the root, level n the block behind n steps.
func (k key) at(level int) uint32 {
	switch {
	case level == 0:
		return uint32(k.hi >> (64 - rootBits))
	case level < 6: // bytes 3 to 7
		return uint32(k.hi >> (40 - 8*level) & 0xff)
	}
	return uint32(k.lo >> (104 - 8*level) & 0xff)
}

// with is the key with another index among the entries of a level, of a block.
func (k key) with(level int, i uint32) key {
	if level < 6 {
		shift := 40 - 8*level
		k.hi = k.hi&^(0xff<<shift) | uint64(i)<<shift
	} else {
		shift := 104 - 8*level
		k.lo = k.lo&^(0xff<<shift) | uint64(i)<<shift
	}
	return k
}

// levelBits is how many bits of an address lead to an entry of the level.
func levelBits(level int) uint8 { return uint8(rootBits + 8*level) }

func get(words []uint32, narrow bool, i uint32) uint32 {
	if !narrow {
		return atomic.LoadUint32(&words[i])
	}
	return widen(atomic.LoadUint32(&words[i>>1]) >> (i & 1 * 16) & 0xffff)
}

// widen returns a narrow entry as a wide one.
func widen(e uint32) uint32 {
	if e < narrowBlock {
		return e&narrowID | e&narrowTail<<16
	}
	return e&(narrowBlock-1) | toBlock
}

// put stores an entry. There is one writer, so that the other half of a word cannot change meanwhile.
func put(words []uint32, narrow bool, i, e uint32) {
	if narrow {
		shift := i & 1 * 16
		half := e&(narrowBlock-1) | e>>16&(narrowBlock|narrowTail)
		i >>= 1
		e = words[i]&^(0xffff<<shift) | half<<shift
	}
	atomic.StoreUint32(&words[i], e)
}

func newTail(it *item, out uint32) tail {
	t := tail{key: it.key, in: it.answer, out: out, ignore: 128 - it.bits}
	if it.bits < 64 {
		t.ignoreHi = 64 - it.bits
	}
	return t
}

func (t *tail) answer(k key) uint32 {
	if (k.hi^t.key.hi)>>t.ignoreHi|(k.lo^t.key.lo)>>t.ignore == 0 {
		return atomic.LoadUint32(&t.in)
	}
	return atomic.LoadUint32(&t.out)
}

func (t *tail) item() item { return item{t.key, 128 - t.ignore, t.in} }

// newTrie makes an empty trie. Huge pages serve a table that fills the root.
func newTrie(bits uint8, narrow, huge bool) (*trie, error) {
	t := &trie{bits: bits, narrow: narrow, lengths: make([]uint8, 1)}
	root, blocks, tails, perWord := 1<<rootBits, wideLimit, wideLimit, 1
	if narrow {
		blocks, tails, perWord = narrowBlocks, narrowLimit, 2
	}
	if onHeap {
		blocks, tails = min(blocks, 1<<16), min(tails, 1<<16)
	}
	if bits == 32 {
		tails = 0 // one block would be all that a tail saves
	}
	t.blockPool.limit, t.tailPool.limit = uint32(blocks), uint32(tails)
	var err error
	if t.rootRegion, err = newRegion(root/perWord, huge); err != nil {
		return nil, err
	}
	if t.blockRegion, err = newRegion(blocks*256/perWord, huge); err != nil {
		return nil, err
	}
	t.root, t.blocks = t.rootRegion.words, t.blockRegion.words
	if tails > 0 {
		if t.tailRegion, err = newRegion(tails*int(tailSize/4), huge); err != nil {
			return nil, err
		}
		t.tails = unsafe.Slice((*tail)(unsafe.Pointer(&t.tailRegion.words[0])), tails)
	}
	return t, nil
}

// roomy reports whether there is room for another eighth of blocks and tails.
func (t *trie) roomy() bool {
	roomy := func(p *pool) bool { return p.used() <= int(p.limit-p.limit/8) }
	return roomy(&t.blockPool) && roomy(&t.tailPool)
}

// pool gives out numbers. Those that come back wait until no reader can know them any more.
type pool struct {
	next, limit uint32 // next was never given out
	free        []uint32
	limbo       []uint32 // given back since the last reclaim
}

func (p *pool) take() (uint32, bool) {
	if n := len(p.free); n > 0 {
		id := p.free[n-1]
		p.free = p.free[:n-1]
		return id, true
	}
	if p.next == p.limit {
		return 0, false
	}
	p.next++
	return p.next - 1, true
}

func (p *pool) give(id uint32) { p.limbo = append(p.limbo, id) }

func (p *pool) reclaim() {
	p.free = append(p.free, p.limbo...)
	p.limbo = p.limbo[:0]
}

// used is how many are given out.
func (p *pool) used() int { return int(p.next) - len(p.free) - len(p.limbo) }

const tailSize = unsafe.Sizeof(tail{})
