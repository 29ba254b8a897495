//go:build amd64 && !race

package policy

import (
	"golang.org/x/sys/cpu"

	"weir/fib"
)

//go:generate go run ./asm -out rows_amd64.s -stubs rows_amd64.go -pkg policy

// vectors is the widest instruction set that matchers use here: avx512, avx2, or none.
var vectors = func() string {
	switch {
	case cpu.X86.HasAVX512F && cpu.X86.HasAVX512DQ && cpu.X86.HasAVX512BW && cpu.X86.HasAVX512VL && cpu.X86.HasBMI2:
		return "avx512"
	case cpu.X86.HasAVX2 && cpu.X86.HasBMI2:
		return "avx2"
	}
	return "none"
}()

// scan looks by vectors for the first segment from at to before end, in which the rows of a packet have something in common,
// and puts that into words. It returns the segment, or end, and a bit for each word that is not zero. There must be
// vectors, facets, and whole rows.
func (m *matcher) scan(class *classes, at, end int, words *[segmentWords]uint64) (segment int, some uint64) {
	var found uint64
	if vectors == "avx512" {
		found, some = scanAVX512(&m.entries[0], &class[0], uint64(len(m.facets)), &m.rows[0], uint64(at), uint64(end), &words[0])
	} else {
		found, some = scanAVX2(&m.entries[0], &class[0], uint64(len(m.facets)), &m.rows[0], uint64(at), uint64(end), &words[0])
	}
	return int(found), some
}

// matchLines finds which lines some packets match in their lists. There must be vectors, and a packet.
func matchLines(h *homes, l *lanes, now []uint8) {
	if vectors == "avx512" {
		matchLinesAVX512(&h.lines[0].lo[0], &h.items[0], &l.values[0], &now[0], uint64(len(now)), uint64(len(h.lists)))
	} else {
		matchLinesAVX2(&h.lines[0].lo[0], &h.items[0], &l.values[0], &now[0], uint64(len(now)), uint64(len(h.lists)))
	}
}

// ranks replaces the first n values of a column, at least one, by their ranks, and what is behind them by anything. There must be
// vectors.
func (c *facet) ranks(column *[fib.BatchMax]uint32, n int) {
	switch {
	case vectors == "avx512" && c.steps.last < ranksFew:
		fewRanksAVX512(&column[0], uint64(n), &c.narrow[0], &c.steps.last)
	case vectors == "avx512":
		ranksAVX512(&column[0], uint64(n), &c.narrow[0], &c.root[0], &c.steps.base)
	default:
		ranksAVX2(&column[0], uint64(n), &c.narrow[0], &c.root[0], &c.steps.base)
	}
}
