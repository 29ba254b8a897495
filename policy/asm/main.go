// Command asm writes the vector forms of the AND of package policy's bit vectors: rows_amd64.s and the Go declarations
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

func main() {
	ConstraintExpr("!race")
	scan("scanAVX512", avx512{})
	scan("scanAVX2", avx2{})
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

type avx512 struct{}

func (avx512) words() int                    { return 8 }
func (avx512) vector() reg.VecVirtual        { return ZMM() }
func (avx512) load(m Mem, v reg.VecVirtual)  { VMOVDQU64(m, v) }
func (avx512) store(v reg.VecVirtual, m Mem) { VMOVDQU64(v, m) }
func (avx512) and(m Mem, v reg.VecVirtual)   { VPANDQ(m, v, v) }

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

func (avx2) some(v reg.VecVirtual) reg.GPVirtual {
	zero, some := YMM(), GP32()
	VPXOR(zero, zero, zero)
	VPCMPEQQ(zero, v, zero)
	VMOVMSKPD(zero, some)
	XORL(Imm(0xf), some)
	return some
}
