//go:build amd64 && !race

package policy

import (
	"math/rand/v2"
	"testing"

	"golang.org/x/sys/cpu"
)

// widths are the instruction sets that there are here, and plain Go.
func widths() []string {
	switch vectors {
	case "avx512":
		return []string{"avx512", "avx2", "none"}
	case "avx2":
		return []string{"avx2", "none"}
	}
	return []string{"none"}
}

// setVectors has matchers that are made from now on use an instruction set, until the test ends.
func setVectors(t *testing.T, width string) {
	was := vectors
	vectors = width
	t.Cleanup(func() { vectors = was })
}

// TestScans holds both vector forms to plain code.
func TestScans(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	const segments, distinct = 5, 40
	for range 5000 {
		m := matcher{facets: make([]facet, 1+rng.IntN(facetsMax)), rows: make([]uint64, distinct*segmentWords), entries: make([]uint64, 100*segments)}
		for i := range m.rows {
			if rng.IntN(distinct) != 0 {
				m.rows[i] = rng.Uint64() | rng.Uint64() | rng.Uint64()
			}
		}
		for i := range m.entries {
			m.entries[i] = rng.Uint64N(distinct)*segmentWords<<rowShift | rng.Uint64N(1<<rowShift)
		}
		var class classes
		for i := range m.facets {
			class[i] = uint32(rng.IntN(100)) * segments
		}
		at := rng.IntN(segments)
		segment, some, words := segments, uint64(0), [segmentWords]uint64{}
		for s := at; s < segments && some == 0; s++ {
			for w := range words {
				words[w] = ^uint64(0)
				for i := range m.facets {
					words[w] &= m.rows[m.entries[int(class[i])+s]>>rowShift+uint64(w)]
				}
				if words[w] != 0 {
					some |= 1 << w
					segment = s
				}
			}
		}
		for name, scan := range map[string]func(*uint64, *uint32, uint64, *uint64, uint64, uint64, *uint64) (uint64, uint64){"AVX-512": scanAVX512, "AVX2": scanAVX2} {
			if name == "AVX-512" && vectors != "avx512" || !cpu.X86.HasAVX2 {
				continue
			}
			var got [segmentWords]uint64
			gotSegment, gotSome := scan(&m.entries[0], &class[0], uint64(len(m.facets)), &m.rows[0], uint64(at), segments, &got[0])
			if int(gotSegment) != segment || gotSome != some || some != 0 && got != words {
				t.Fatalf("%s: segment %d, words %x: %x, want %d, %x: %x", name, gotSegment, gotSome, got, segment, some, words)
			}
		}
	}
}
