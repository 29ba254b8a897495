//go:build amd64 && !race

package policy

import "golang.org/x/sys/cpu"

//go:generate go run ./asm -out rows_amd64.s -stubs rows_amd64.go -pkg policy

// vectors is the widest instruction set that matchers use here: avx512, avx2, or none.
var vectors = func() string {
	switch {
	case cpu.X86.HasAVX512F && cpu.X86.HasAVX512DQ:
		return "avx512"
	case cpu.X86.HasAVX2:
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
