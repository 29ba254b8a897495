// Command asm writes the vector forms of package fib's lookups: gather_amd64.s and the Go declarations beside it. Run it
// by `go generate ./fib`.
//
// They are of AVX2. With AVX-512 and gathers of 16 lanes the same took as long for IPv6 and a tenth to a half longer for IPv4 on
// EPYC (Zen 4), which makes the loads of a gather one by one, whatever its width.
package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func main() {
	ConstraintExpr("!race")
	lookup("lookup4Narrow", "w0, found *uint32, n uint64", true, 1, 4)
	lookup("lookup4Wide", "w0, found *uint32, n uint64", false, 1, 4)
	lookup("lookup6Narrow", "w0, w1, found *uint32, open *uint64, n uint64", true, 5, 8)
	lookup("lookup6Wide", "w0, w1, found *uint32, open *uint64, n uint64", false, 5, 8)
	Generate()
}

// program is one lookup. Its narrow entries are gathered with the 16 bits before them, so that they are the upper half of a
// lane; either way a lane's highest bit, which is what AVX2 masks by, says that it refers to a block.
type program struct {
	levels       int // of blocks
	root, blocks reg.Register
	low          reg.VecVirtual
	id           reg.VecVirtual // of a block, narrow
	words        []reg.Register
	found        reg.Register
	open         reg.Register // IPv6
	answer       reg.VecVirtual
	narrow       bool
	scale        uint8
	disp         int
}

// lookup generates a function that looks up as many vectors at a time as given while there are so many, and then two at a time.
// All of them go down a level before any goes down the next. A gather is some 40 operations within the CPU, which sees only some
// hundred ahead: what waits for one must not stand before others that could load meanwhile. (Vectors together, of 64 IPv6
// addresses in the Internet's table, and the time of rte_fib6: one 1.12, two 0.92, four 0.75, eight 0.57; of IPv4: eight are too
// many, for four fill the CPU.)
func lookup(name, parameters string, narrow bool, levels, together int) {
	TEXT(name, NOSPLIT, "func(root, blocks *uint32, base uint32, "+parameters+")")
	Pragma("noescape")
	doc(name, narrow, levels)
	p := &program{levels: levels, narrow: narrow, scale: 4}
	p.root, p.blocks = Load(Param("root"), GP64()), Load(Param("blocks"), GP64())
	p.words = append(p.words, Load(Param("w0"), GP64()))
	if levels > 1 {
		p.words = append(p.words, Load(Param("w1"), GP64()))
		p.open = Load(Param("open"), GP64())
	}
	p.found = Load(Param("found"), GP64())
	n := Load(Param("n"), GP64())
	p.answer = broadcast(Load(Param("base"), GP32()).(reg.GPVirtual))
	p.low = constant(0xff)
	if narrow {
		p.scale, p.disp, p.id = 2, -2, constant(0x7fff00)
	}
	for _, vectors := range []int{together, 2} {
		label := fmt.Sprint("by", vectors*lanes)
		Label(label)
		CMPQ(n, U32(uint32(vectors*lanes)))
		JLT(LabelRef(label + "end"))
		p.step(vectors, label+"reached")
		SUBQ(U32(uint32(vectors*lanes)), n)
		JMP(LabelRef(label))
		Label(label + "end")
	}
	VZEROUPPER()
	RET()
}

func doc(name string, narrow bool, levels int) {
	entries := "32-bit entries"
	if narrow {
		entries = "16-bit entries"
	}
	if levels == 1 {
		Doc(name + " is lookup4 for " + entries + ". n is a multiple of 16, at most BatchMax.")
		return
	}
	Doc(name+" is lookup6 for "+entries+", as far as /64. w0 and w1 are the first two 32-bit words of the addresses. What",
		"is found may still refer to a tail, or a block behind /64: open has a bit for each such address. n is a multiple of 16, at",
		"most BatchMax.")
}

// step looks up the addresses of some vectors, and goes on to the next ones.
func (p *program) step(vectors int, reached string) {
	at := func(words reg.Register, i int) Mem { return Mem{Base: words, Disp: 4 * lanes * i} }
	e := make([]reg.VecVirtual, vectors)
	for i := range e {
		e[i] = zeros()
		gather(Mem{Base: p.root, Index: shiftRight(load(at(p.words[0], i)), 8), Scale: p.scale, Disp: p.disp}, ones(), e[i])
	}
	for level := 1; level <= p.levels; level++ {
		deeper := e[0]
		for _, v := range e[1:] {
			deeper = or(deeper, v)
		}
		some := highest(deeper)
		TESTL(some, some)
		JEQ(LabelRef(reached))
		for i := range e {
			index := or(p.block(e[i]), p.octet(load(at(p.words[(level+2)/4], i)), (level+2)%4))
			gather(Mem{Base: p.blocks, Index: index, Scale: p.scale, Disp: p.disp}, copied(e[i]), e[i])
		}
	}
	Label(reached)
	for i := range e {
		if p.open != nil {
			MOVB(highest(or(e[i], shiftLeft(e[i], 1))).As8(), Mem{Base: p.open, Disp: i}) // blocks and tails
		}
		if p.narrow {
			e[i] = shiftRight(e[i], 16)
		}
		merge(isZero(e[i]), p.answer, e[i])
		store(e[i], at(p.found, i))
	}
	for _, words := range append(p.words[:len(p.words):len(p.words)], p.found) {
		ADDQ(U32(uint32(4*lanes*vectors)), words)
	}
	if p.open != nil {
		ADDQ(U32(uint32(vectors)), p.open)
	}
}

// block is where the block of an entry begins among all entries of blocks.
func (p *program) block(e reg.VecVirtual) reg.VecVirtual {
	if p.narrow {
		return and(shiftRight(e, 8), p.id)
	}
	return shiftLeft(e, 8) // there are fewer than 1<<24 blocks
}

// octet is one of a word's four.
func (p *program) octet(word reg.VecVirtual, i int) reg.VecVirtual {
	if i < 3 {
		word = shiftRight(word, uint64(24-8*i))
	}
	if i > 0 {
		word = and(word, p.low)
	}
	return word
}
