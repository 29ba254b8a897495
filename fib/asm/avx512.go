package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// avx512 has masks in registers of their own.
type avx512 struct{}

func (avx512) lanes() int             { return 16 }
// vector is zero: a gather keeps the lanes that it leaves alone, and would wait for whatever the register held.
func (avx512) vector() reg.VecVirtual {
	v := ZMM()
	VPXORD(v, v, v)
	return v
}

func (avx512) broadcast(value reg.GPVirtual) reg.VecVirtual {
	v := ZMM()
	VPBROADCASTD(value, v)
	return v
}

func (avx512) load(m Mem) reg.VecVirtual {
	v := ZMM()
	VMOVDQU32(m, v)
	return v
}

func (avx512) store(v reg.VecVirtual, m Mem) { VMOVDQU32(v, m) }

func (avx512) shiftRight(v reg.VecVirtual, n uint64) reg.VecVirtual {
	r := ZMM()
	VPSRLD(Imm(n), v, r)
	return r
}

func (avx512) shiftLeft(v reg.VecVirtual, n uint64) reg.VecVirtual {
	r := ZMM()
	VPSLLD(Imm(n), v, r)
	return r
}

func (avx512) and(a, b reg.VecVirtual) reg.VecVirtual {
	r := ZMM()
	VPANDD(a, b, r)
	return r
}

func (avx512) or(a, b reg.VecVirtual) reg.VecVirtual {
	r := ZMM()
	VPORD(a, b, r)
	return r
}

func (avx512) all() any {
	k := K()
	KXNORW(k, k, k)
	return k
}

func (avx512) set(v, bit reg.VecVirtual) any {
	k := K()
	VPTESTMD(bit, v, k)
	return k
}

func (avx512) zero(v reg.VecVirtual) any {
	k := K()
	VPTESTNMD(v, v, k)
	return k
}

// gather clears the mask, which is not used any more.
func (avx512) gather(base reg.Register, index reg.VecVirtual, scale uint8, lanes any, into reg.VecVirtual) {
	VPGATHERDD(Mem{Base: base, Index: index, Scale: scale}, lanes.(reg.OpmaskVirtual), into)
}

func (avx512) merge(lanes any, from, into reg.VecVirtual) {
	VMOVDQA32(from, lanes.(reg.OpmaskVirtual), into)
}

func (avx512) jumpIfNone(lanes any, label string) {
	k := lanes.(reg.OpmaskVirtual)
	KORTESTW(k, k)
	JEQ(LabelRef(label))
}

func (avx512) andNot(lanes, but any) any {
	k := K()
	KANDNW(lanes.(reg.OpmaskVirtual), but.(reg.OpmaskVirtual), k)
	return k
}
