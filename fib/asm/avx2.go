package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// Vectors are of 32-bit lanes. A mask is a vector too: the highest bit of a lane selects it.
const lanes = 8

// zeros is what a gather begins with: it keeps the lanes that its mask leaves alone, and would wait for whatever the register
// held.
func zeros() reg.VecVirtual {
	v := YMM()
	VPXOR(v, v, v)
	return v
}

func ones() reg.VecVirtual {
	v := YMM()
	VPCMPEQD(v, v, v)
	return v
}

func copied(v reg.VecVirtual) reg.VecVirtual {
	r := YMM()
	VMOVDQA(v, r)
	return r
}

func constant(value uint32) reg.VecVirtual {
	r := GP32()
	MOVL(U32(value), r)
	return broadcast(r)
}

func broadcast(value reg.GPVirtual) reg.VecVirtual {
	x, v := XMM(), YMM()
	VMOVD(value, x)
	VPBROADCASTD(x, v)
	return v
}

func load(m Mem) reg.VecVirtual {
	v := YMM()
	VMOVDQU(m, v)
	return v
}

func store(v reg.VecVirtual, m Mem) { VMOVDQU(v, m) }

func shiftRight(v reg.VecVirtual, n uint64) reg.VecVirtual {
	r := YMM()
	VPSRLD(Imm(n), v, r)
	return r
}

func shiftLeft(v reg.VecVirtual, n uint64) reg.VecVirtual {
	r := YMM()
	VPSLLD(Imm(n), v, r)
	return r
}

func and(a, b reg.VecVirtual) reg.VecVirtual {
	r := YMM()
	VPAND(a, b, r)
	return r
}

func or(a, b reg.VecVirtual) reg.VecVirtual {
	r := YMM()
	VPOR(a, b, r)
	return r
}

func isZero(v reg.VecVirtual) reg.VecVirtual {
	r := zeros()
	VPCMPEQD(r, v, r)
	return r
}

// gather loads the lanes of a mask, which it clears.
func gather(m Mem, mask, into reg.VecVirtual) { VPGATHERDD(mask, m, into) }

func merge(mask, from, into reg.VecVirtual) { VPBLENDVB(mask, from, into, into) }

// highest has a bit for each lane, its highest.
func highest(v reg.VecVirtual) reg.GPVirtual {
	r := GP32()
	VMOVMSKPS(v, r)
	return r
}
