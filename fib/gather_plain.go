//go:build !amd64 || race

package fib

// Vectors is the widest instruction set that lookups of whole batches use here: none.
const Vectors = "none"

func (t *trie) lookup4Vectors(*[BatchMax]uint32, uint64, *Found) (ok bool) { return false }

func (t *trie) lookup6Vectors(*[4][BatchMax]uint32, uint64, *Found, *[BatchMax / 16]uint16) (level int) {
	return 0
}
