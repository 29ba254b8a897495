package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// avx2 has masks in vectors: the highest bit of a lane selects it.
type avx2 struct{}

func (avx2) lanes() int             { return 8 }
// vector is zero: a gather keeps the lanes that it leaves alone, and would wait for whatever the register held.
func (avx2) vector() reg.VecVirtual {
	v := YMM()
	VPXOR(v, v, v)
	return v
}

func (avx2) broadcast(value reg.GPVirtual) reg.VecVirtual {
	x, v := XMM(), YMM()
	VMOVD(value, x)
	VPBROADCASTD(x, v)
	return v
}

func (avx2) load(m Mem) reg.VecVirtual {
	v := YMM()
	VMOVDQU(m, v)
	return v
}

func (avx2) store(v reg.VecVirtual, m Mem) { VMOVDQU(v, m) }

func (avx2) shiftRight(v reg.VecVirtual, n uint64) reg.VecVirtual {
	r := YMM()
	VPSRLD(Imm(n), v, r)
	return r
}

func (avx2) shiftLeft(v reg.VecVirtual, n uint64) reg.VecVirtual {
	r := YMM()
	VPSLLD(Imm(n), v, r)
	return r
}

func (avx2) and(a, b reg.VecVirtual) reg.VecVirtual {
	r := YMM()
	VPAND(a, b, r)
	return r
}

func (avx2) or(a, b reg.VecVirtual) reg.VecVirtual {
	r := YMM()
	VPOR(a, b, r)
	return r
}

func (avx2) all() any {
	v := YMM()
	VPCMPEQD(v, v, v)
	return v
}

func (avx2) set(v, bit reg.VecVirtual) any {
	r := YMM()
	VPAND(v, bit, r)
	VPCMPEQD(r, bit, r)
	return r
}

func (avx2) zero(v reg.VecVirtual) any {
	r := YMM()
	VPXOR(r, r, r)
	VPCMPEQD(r, v, r)
	return r
}

// gather clears the mask, which is not used any more.
func (avx2) gather(base reg.Register, index reg.VecVirtual, scale uint8, lanes any, into reg.VecVirtual) {
	VPGATHERDD(lanes.(reg.VecVirtual), Mem{Base: base, Index: index, Scale: scale}, into)
}

func (avx2) merge(lanes any, from, into reg.VecVirtual) {
	VPBLENDVB(lanes.(reg.VecVirtual), from, into, into)
}

func (avx2) jumpIfNone(lanes any, label string) {
	r := GP32()
	VPMOVMSKB(lanes.(reg.VecVirtual), r)
	TESTL(r, r)
	JEQ(LabelRef(label))
}

func (avx2) andNot(lanes, but any) any {
	r := YMM()
	VPANDN(lanes.(reg.VecVirtual), but.(reg.VecVirtual), r)
	return r
}
