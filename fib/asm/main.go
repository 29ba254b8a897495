// Command asm writes the vector forms of package fib's lookups: gather_amd64.s and the Go declarations beside it. Run it
// by `go generate ./fib`.
package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// The layout of trie entries, as in trie.go.
const (
	narrowID        = 1<<15 - 1
	entryID         = 1<<30 - 1
	levelsInVectors = 5 // of IPv6, behind the root: as far as /64
)

func main() {
	ConstraintExpr("!race")
	lookup4("lookup4NarrowAVX512", "16-bit entries, 16 addresses a step", true, avx512{})
	lookup4("lookup4WideAVX512", "32-bit entries, 16 addresses a step", false, avx512{})
	lookup6("lookup6AVX512", "16 addresses a step", avx512{})
	lookup4("lookup4NarrowAVX2", "16-bit entries, 8 addresses a step", true, avx2{})
	lookup4("lookup4WideAVX2", "32-bit entries, 8 addresses a step", false, avx2{})
	Generate()
}

// vectors is what the two instruction sets do alike. Vectors are of 32-bit lanes; a mask selects lanes.
type vectors interface {
	lanes() int
	vector() reg.VecVirtual
	broadcast(value reg.GPVirtual) reg.VecVirtual
	load(m Mem) reg.VecVirtual
	store(v reg.VecVirtual, m Mem)
	shiftRight(v reg.VecVirtual, n uint64) reg.VecVirtual
	shiftLeft(v reg.VecVirtual, n uint64) reg.VecVirtual
	and(a, b reg.VecVirtual) reg.VecVirtual
	or(a, b reg.VecVirtual) reg.VecVirtual
	all() any                      // mask of all lanes
	set(v, bit reg.VecVirtual) any // lanes that have the one bit
	zero(v reg.VecVirtual) any     // lanes that are 0
	gather(base reg.Register, index reg.VecVirtual, scale uint8, lanes any, into reg.VecVirtual)
	merge(lanes any, from, into reg.VecVirtual) // into takes from's lanes
	jumpIfNone(lanes any, label string)
	andNot(lanes any, but any) any
}

// lookup4 generates func(root, blocks *uint32, base uint32, addrs, found *uint32, n uint64).
func lookup4(name, how string, narrow bool, v vectors) {
	TEXT(name, NOSPLIT, "func(root, blocks *uint32, base uint32, addrs, found *uint32, n uint64)")
	Pragma("noescape")
	Doc(name + " is lookup4 for " + how + ". n is a multiple of 16, at most BatchMax.")
	root, blocks := Load(Param("root"), GP64()), Load(Param("blocks"), GP64())
	addrs, found := Load(Param("addrs"), GP64()), Load(Param("found"), GP64())
	n := Load(Param("n"), GP64())
	base := v.broadcast(Load(Param("base"), GP32()).(reg.GPVirtual))
	low := constant(v, 0xff)
	scale, flag, id := uint8(4), constant(v, 1<<31), constant(v, entryID)
	half := id
	if narrow {
		scale, flag, id, half = 2, constant(v, 1<<15), constant(v, narrowID), constant(v, 0xffff)
	}
	Label("loop")
	a := v.load(Mem{Base: addrs})
	e := v.vector()
	v.gather(root, v.shiftRight(a, 8), scale, v.all(), e)
	if narrow {
		e = v.and(e, half)
	}
	deeper := v.set(e, flag)
	v.jumpIfNone(deeper, "shallow")
	{
		index := v.or(v.shiftLeft(v.and(e, id), 8), v.and(a, low))
		d := v.vector()
		v.gather(blocks, index, scale, deeper, d)
		if narrow {
			d = v.and(d, half)
		}
		v.merge(v.set(e, flag), d, e)
	}
	Label("shallow")
	v.merge(v.zero(e), base, e)
	v.store(e, Mem{Base: found})
	step(v, n, addrs, found)
	RET()
}

// lookup6 generates func(root, blocks *uint32, base uint32, w0, w1, found *uint32, left *uint16, n uint64).
func lookup6(name, how string, v avx512) {
	TEXT(name, NOSPLIT, "func(root, blocks *uint32, base uint32, w0, w1, found *uint32, left *uint16, n uint64)")
	Pragma("noescape")
	Doc(name+" is lookup6 as far as /64, "+how+". w0 and w1 are the first two 32-bit words of the addresses. What is",
		"found may still refer to a tail or a block behind it: left has a bit for each such address, a word a step. n is a multiple",
		"of 16, at most BatchMax.")
	root, blocks := Load(Param("root"), GP64()), Load(Param("blocks"), GP64())
	left := Load(Param("left"), GP64())
	w0, w1, found := Load(Param("w0"), GP64()), Load(Param("w1"), GP64()), Load(Param("found"), GP64())
	n := Load(Param("n"), GP64())
	base := v.broadcast(Load(Param("base"), GP32()).(reg.GPVirtual))
	low, flag, tail, id := constant(v, 0xff), constant(v, 1<<31), constant(v, 1<<30), constant(v, entryID)
	Label("loop")
	a, b := v.load(Mem{Base: w0}), v.load(Mem{Base: w1})
	e := v.vector()
	v.gather(root, v.shiftRight(a, 8), 4, v.all(), e)
	for level := 1; level <= levelsInVectors; level++ {
		deeper := v.andNot(v.set(e, flag), v.set(e, tail))
		v.jumpIfNone(deeper, "reached")
		rest := a
		if level > 1 {
			if shift := uint64(32 - 8*(level-1)); shift > 0 {
				rest = v.shiftRight(b, shift)
			} else {
				rest = b
			}
		}
		index := v.or(v.shiftLeft(v.and(e, id), 8), v.and(rest, low))
		v.gather(blocks, index, 4, deeper, e)
	}
	Label("reached")
	v.merge(v.zero(e), base, e)
	v.store(e, Mem{Base: found})
	still := GP32()
	KMOVW(v.set(e, flag).(reg.OpmaskVirtual), still)
	MOVW(still.As16(), Mem{Base: left})
	ADDQ(Imm(2), left)
	step(v, n, w0, w1, found)
	RET()
}

// step goes on to the next addresses, if there are any.
func step(v vectors, n reg.Register, pointers ...reg.Register) {
	for _, p := range pointers {
		ADDQ(Imm(uint64(4*v.lanes())), p)
	}
	SUBQ(Imm(uint64(v.lanes())), n)
	JNE(LabelRef("loop"))
	VZEROUPPER()
}

func constant(v vectors, value uint32) reg.VecVirtual {
	r := GP32()
	MOVL(U32(value), r)
	return v.broadcast(r)
}
