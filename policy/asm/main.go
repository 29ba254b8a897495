// Command asm writes the vector forms of what package policy's matchers do: rows_amd64.s and the Go declarations
// beside it. Run it by `go generate ./policy`.
package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// The layout of rows and entries, as in matcher.go.
const (
	segmentWords = 16
	rowShift     = 16
)

// The layout of lines and lanes, as in homes.go.
const (
	lineSize   = 64
	linesAhead = 4

	packetsAhead = 6 // whose lines are fetched, of the first lists
	listsAhead   = 2

	lanesFirst = 32
	lanesCount = 48
	lanesMatch = 64
	lanesNext  = 96
	lanesShift = 7 // their size

	listShift = 2
)

func main() {
	ConstraintExpr("!race")
	scan("scanAVX512", avx512{})
	scan("scanAVX2", avx2{})
	matchLines("matchLinesAVX512", avx512{})
	matchLines("matchLinesAVX2", avx2{})
	ranks("ranksAVX512", avx512{})
	ranks("ranksAVX2", avx2{})
	fewRanks()
	Generate()
}

// vectors is what the two instruction sets do alike. Vectors are of 64-bit words.
type vectors interface {
	words() int
	vector() reg.VecVirtual
	load(m Mem, v reg.VecVirtual)
	store(v reg.VecVirtual, m Mem)
	and(m Mem, v reg.VecVirtual)
	some(v reg.VecVirtual) reg.GPVirtual // a bit for each word that is not zero

	broadcast(m Mem, v reg.VecVirtual) // of a number of 32 bits, to all
	gather(base reg.Register, index, to reg.VecVirtual)
	take(x, bound, next, at reg.VecVirtual) // makes at next where x >= bound, as unsigned numbers of 32 bits; it may change bound

	within(v, span reg.VecVirtual) // of 16 numbers of 16 bits each: sets the carry if none is more than its span, which it may change
}

// scan generates func(entries *uint64, class *uint32, n uint64, rows *uint64, at, end uint64, words *uint64) (segment, some uint64).
func scan(name string, v vectors) {
	TEXT(name, NOSPLIT, "func(entries *uint64, class *uint32, n uint64, rows *uint64, at, end uint64, words *uint64) (segment, some uint64)")
	Pragma("noescape")
	Doc(name+" makes words the AND of the rows that n classes, at least one, have in the first segment from at to before end where that is not zero,",
		"and returns the segment, and a bit for each word that is not zero. Without such a segment it returns end, and 0.")
	entries, class := Load(Param("entries"), GP64()), Load(Param("class"), GP64())
	n, rows := Load(Param("n"), GP64()), Load(Param("rows"), GP64())
	at, end := Load(Param("at"), GP64()), Load(Param("end"), GP64())
	out := Load(Param("words"), GP64())
	entry, i, all := GP64(), GP64(), GP32()
	row := func(part int) Mem {
		return Mem{Base: rows, Index: entry, Scale: 8}.Offset(part * v.words() * 8)
	}
	find := func() { // the row of class i in the segment
		MOVL(Mem{Base: class, Index: i, Scale: 4}, entry.As32())
		ADDQ(at, entry)
		MOVQ(Mem{Base: entries, Index: entry, Scale: 8}, entry)
		SHRQ(Imm(rowShift), entry)
	}
	var sums []reg.VecVirtual
	for range segmentWords / v.words() {
		sums = append(sums, v.vector())
	}
	Label("segment")
	XORL(all, all)
	CMPQ(at, end)
	JGE(LabelRef("done"))
	XORL(i.As32(), i.As32())
	find()
	for part, sum := range sums {
		v.load(row(part), sum)
	}
	JMP(LabelRef("next"))
	Label("facet")
	find()
	for part, sum := range sums {
		v.and(row(part), sum)
	}
	Label("next")
	INCQ(i)
	CMPQ(i, n)
	JLT(LabelRef("facet"))
	for part, sum := range sums {
		bits := v.some(sum)
		if part > 0 {
			SHLL(Imm(uint64(part*v.words())), bits)
		}
		ORL(bits, all)
	}
	JNE(LabelRef("found"))
	INCQ(at)
	JMP(LabelRef("segment"))
	Label("found")
	for part, sum := range sums {
		v.store(sum, Mem{Base: out}.Offset(part*v.words()*8))
	}
	Label("done")
	VZEROUPPER()
	Store(at, ReturnIndex(0))
	Store(all.As64(), ReturnIndex(1))
	RET()
}

// matchLines generates func(lines *uint16, items *uint32, lanes *uint16, now *uint8, n, lists uint64).
func matchLines(name string, v vectors) {
	TEXT(name, NOSPLIT, "func(lines *uint16, items *uint32, lanes *uint16, now *uint8, n uint64, lists uint64)")
	Pragma("noescape")
	Doc(name+" finds for n packets, at least one, whose numbers are in now, which lines they match in their lists, of which there is at least one, and the next item of each.",
		"It reads lines in fours, the last of a list too.")
	lines, items, lanes := Load(Param("lines"), GP64()), Load(Param("items"), GP64()), Load(Param("lanes"), GP64())
	now, n, lists := Load(Param("now"), GP64()), Load(Param("n"), GP64()), Load(Param("lists"), GP64())
	values, x, span := YMM(), YMM(), YMM()
	packet, list, at, count, done, ahead := GP64(), GP64(), GP64(), GP64(), GP64(), GP64()
	match, bits := GP64(), GP64()
	Label("packet")
	MOVBQZX(Mem{Base: now}, packet)
	SHLQ(Imm(lanesShift), packet)
	ADDQ(lanes, packet)
	VMOVDQU(Mem{Base: packet}, values)
	CMPQ(n, Imm(packetsAhead))
	JLE(LabelRef("near"))
	MOVBQZX(Mem{Base: now, Disp: packetsAhead}, ahead)
	SHLQ(Imm(lanesShift), ahead)
	ADDQ(lanes, ahead)
	for i := range listsAhead {
		MOVL(Mem{Base: ahead, Disp: lanesFirst + i*4}, at.As32())
		SHLQ(Imm(6), at)
		PREFETCHT0(Mem{Base: lines, Index: at, Scale: 1})
		PREFETCHT0(Mem{Base: lines, Index: at, Scale: 1, Disp: lineSize})
	}
	Label("near")
	XORQ(list, list)
	Label("list")
	MOVL(Mem{Base: packet, Disp: lanesFirst, Index: list, Scale: 4}, at.As32())
	MOVL(Mem{Base: packet, Disp: lanesCount, Index: list, Scale: 4}, count.As32())
	SHLQ(Imm(6), at)
	ADDQ(lines, at)
	XORQ(match, match)
	XORQ(done, done)
	Label("lines")
	XORL(bits.As32(), bits.As32())
	for i := linesAhead - 1; i >= 0; i-- {
		VPSUBW(Mem{Base: at, Disp: i * lineSize}, values, x)
		VMOVDQU(Mem{Base: at, Disp: i*lineSize + lineSize/2}, span)
		v.within(x, span)
		ADCL(bits.As32(), bits.As32())
	}
	SHLXQ(done, bits, bits)
	ORQ(bits, match)
	ADDQ(U32(linesAhead*lineSize), at)
	ADDQ(Imm(linesAhead), done)
	CMPQ(done, count)
	JLT(LabelRef("lines"))
	BZHIQ(count, match, match)
	MOVQ(match, Mem{Base: packet, Disp: lanesMatch, Index: list, Scale: 8})
	XORL(done.As32(), done.As32()) // the place of the next item, or else 0
	MOVL(Mem{Base: packet, Disp: lanesFirst, Index: list, Scale: 4}, at.As32())
	TZCNTQ(match, bits)
	LEAL(Mem{Base: at, Index: bits, Scale: 1, Disp: 1}, at.As32())
	TESTQ(match, match)
	CMOVQNE(at, done)
	MOVL(Mem{Base: items, Index: done, Scale: 4}, at.As32())
	SHLQ(Imm(listShift), at)
	ORQ(list, at)
	MOVQ(at, Mem{Base: packet, Disp: lanesNext, Index: list, Scale: 8})
	INCQ(list)
	CMPQ(list, lists)
	JLT(LabelRef("list"))
	INCQ(now)
	DECQ(n)
	JNE(LabelRef("packet"))
	VZEROUPPER()
	RET()
}

// ranks generates func(column *uint32, n uint64, bounds, root, steps *uint32).
func ranks(name string, v vectors) {
	TEXT(name, NOSPLIT, "func(column *uint32, n uint64, bounds *uint32, root *uint32, steps *uint32)")
	Pragma("noescape")
	Doc(name + " replaces n numbers, and those behind them up to a multiple of 16, by the indices of the last bounds up to them. n is at least 1, and steps are a rankSteps.")
	column, n := Load(Param("column"), GP64()), Load(Param("n"), GP64())
	bounds, root, steps := Load(Param("bounds"), GP64()), Load(Param("root"), GP64()), Load(Param("steps"), GP64())
	base, most, last, offset := v.vector(), v.vector(), v.vector(), v.vector()
	x, at, bound, next := v.vector(), v.vector(), v.vector(), v.vector()
	shift, half := XMM(), GP64()
	v.broadcast(Mem{Base: steps}, base)
	v.broadcast(Mem{Base: steps, Disp: 4}, most)
	v.broadcast(Mem{Base: steps, Disp: 8}, last)
	VMOVD(Mem{Base: steps, Disp: 12}, shift)
	Label("some")
	v.load(Mem{Base: column}, x)
	VPMAXUD(base, x, at)
	VPSUBD(base, at, at)
	VPSRLD(shift, at, next)
	VPMINUD(most, next, next)
	v.gather(root, next, at)
	LEAQ(Mem{Base: steps, Disp: 16}, half)
	Label("half")
	v.broadcast(Mem{Base: half}, offset)
	VPADDD(offset, at, next)
	v.gather(bounds, next, bound)
	v.take(x, bound, next, at)
	ADDQ(Imm(4), half)
	CMPL(Mem{Base: half}, Imm(0))
	JNE(LabelRef("half"))
	VPMINUD(last, at, at)
	v.store(at, Mem{Base: column})
	ADDQ(Imm(uint64(v.words()*8)), column)
	SUBQ(Imm(uint64(v.words()*2)), n)
	JG(LabelRef("some"))
	VZEROUPPER()
	RET()
}

// fewRanks generates func(column *uint32, n uint64, bounds, last *uint32).
func fewRanks() {
	TEXT("fewRanksAVX512", NOSPLIT, "func(column *uint32, n uint64, bounds *uint32, last *uint32)")
	Pragma("noescape")
	Doc("fewRanksAVX512 is ranksAVX512 for 32 bounds, the last of which nothing need reach, that are searched in two registers.")
	column, n := Load(Param("column"), GP64()), Load(Param("n"), GP64())
	bounds, most := Load(Param("bounds"), GP64()), Load(Param("last"), GP64())
	lower, upper, last := ZMM(), ZMM(), ZMM()
	VMOVDQU32(Mem{Base: bounds}, lower)
	VMOVDQU32(Mem{Base: bounds, Disp: 64}, upper)
	VPBROADCASTD(Mem{Base: most}, last)
	var halves []reg.VecVirtual
	for half := uint32(16); half > 0; half /= 2 {
		v, x := ZMM(), GP32()
		MOVL(U32(half), x)
		VPBROADCASTD(x, v)
		halves = append(halves, v)
	}
	x, at, next, bound, k := ZMM(), ZMM(), ZMM(), ZMM(), K()
	Label("some")
	VMOVDQU32(Mem{Base: column}, x)
	VPXORD(at, at, at)
	for _, half := range halves {
		VPADDD(half, at, next)
		VMOVDQA32(next, bound)
		VPERMI2D(upper, lower, bound)
		VPCMPUD(Imm(5), bound, x, k)
		VMOVDQA32(next, k, at)
	}
	VPMINUD(last, at, at)
	VMOVDQU32(at, Mem{Base: column})
	ADDQ(Imm(64), column)
	SUBQ(Imm(16), n)
	JG(LabelRef("some"))
	VZEROUPPER()
	RET()
}

type avx512 struct{}

func (avx512) words() int                    { return 8 }
func (avx512) vector() reg.VecVirtual        { return ZMM() }
func (avx512) load(m Mem, v reg.VecVirtual)  { VMOVDQU64(m, v) }
func (avx512) store(v reg.VecVirtual, m Mem) { VMOVDQU64(v, m) }
func (avx512) and(m Mem, v reg.VecVirtual)   { VPANDQ(m, v, v) }

func (avx512) within(v, span reg.VecVirtual) {
	k := K()
	VPCMPUW(Imm(2), span, v, k)
	KORTESTW(k, k)
}

func (avx512) broadcast(m Mem, v reg.VecVirtual) { VPBROADCASTD(m, v) }

func (avx512) gather(base reg.Register, index, to reg.VecVirtual) {
	k := K()
	KXNORW(k, k, k)
	VPGATHERDD(Mem{Base: base, Index: index, Scale: 4}, k, to)
}

func (avx512) take(x, bound, next, at reg.VecVirtual) {
	k := K()
	VPCMPUD(Imm(5), bound, x, k)
	VMOVDQA32(next, k, at)
}

func (avx512) some(v reg.VecVirtual) reg.GPVirtual {
	k, some := K(), GP32()
	VPTESTMQ(v, v, k)
	KMOVB(k, some)
	return some
}

type avx2 struct{}

func (avx2) words() int                    { return 4 }
func (avx2) vector() reg.VecVirtual        { return YMM() }
func (avx2) load(m Mem, v reg.VecVirtual)  { VMOVDQU(m, v) }
func (avx2) store(v reg.VecVirtual, m Mem) { VMOVDQU(v, m) }
func (avx2) and(m Mem, v reg.VecVirtual)   { VPAND(m, v, v) }

func (avx2) within(v, span reg.VecVirtual) {
	all := GP32()
	VPMINUW(span, v, span)
	VPCMPEQW(span, v, span)
	VPMOVMSKB(span, all)
	ADDL(Imm(1), all)
}

func (avx2) broadcast(m Mem, v reg.VecVirtual) { VPBROADCASTD(m, v) }

func (avx2) gather(base reg.Register, index, to reg.VecVirtual) {
	all := YMM()
	VPCMPEQD(all, all, all)
	VPGATHERDD(all, Mem{Base: base, Index: index, Scale: 4}, to)
}

func (avx2) take(x, bound, next, at reg.VecVirtual) {
	VPMAXUD(bound, x, bound)
	VPCMPEQD(bound, x, bound)
	VPBLENDVB(bound, next, at, at)
}

func (avx2) some(v reg.VecVirtual) reg.GPVirtual {
	zero, some := YMM(), GP32()
	VPXOR(zero, zero, zero)
	VPCMPEQQ(zero, v, zero)
	VMOVMSKPD(zero, some)
	XORL(Imm(0xf), some)
	return some
}
