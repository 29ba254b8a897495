//go:build amd64 && !race

package fib

import "golang.org/x/sys/cpu"

//go:generate go run ./asm -out gather_amd64.s -stubs gather_amd64.go -pkg fib

// vectors is the widest instruction set that lookups of whole batches use here: avx512, avx2, or none.
var vectors = func() string {
	switch {
	case cpu.X86.HasAVX512F && cpu.X86.HasAVX512VL && cpu.X86.HasAVX512BW && cpu.X86.HasAVX512DQ:
		return "avx512"
	case cpu.X86.HasAVX2:
		return "avx2"
	}
	return "none"
}()

// lookup4Vectors looks up n addresses, a multiple of 16, by vectors; ok is false where there are none.
func (t *trie) lookup4Vectors(addrs *[BatchMax]uint32, n uint64, found *Found) (ok bool) {
	root, blocks, base := &t.root[0], &t.blocks[0], t.base.Load()
	switch {
	case vectors == "none":
		return false
	case vectors == "avx512" && t.narrow:
		lookup4NarrowAVX512(root, blocks, base, &addrs[0], &found[0], n)
	case vectors == "avx512":
		lookup4WideAVX512(root, blocks, base, &addrs[0], &found[0], n)
	case t.narrow:
		lookup4NarrowAVX2(root, blocks, base, &addrs[0], &found[0], n)
	default:
		lookup4WideAVX2(root, blocks, base, &addrs[0], &found[0], n)
	}
	return true
}

// lookup6Vectors goes down to /64 by vectors, and reports at which level the plain code goes on, with the addresses whose bits
// are in left. AVX2 is left alone here: its
// gathers of five levels took 41 to 66 ns a lookup in a full table where plain code took 31 to 47 (EPYC, 64 lookups).
func (t *trie) lookup6Vectors(addrs *[4][BatchMax]uint32, n uint64, found *Found, left *[BatchMax / 16]uint16) (level int) {
	if vectors != "avx512" {
		return 0
	}
	lookup6AVX512(&t.root[0], &t.blocks[0], t.base.Load(), &addrs[0][0], &addrs[1][0], &found[0], &left[0], n)
	return 6
}
