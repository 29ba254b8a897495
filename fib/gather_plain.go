//go:build !amd64 || race

package fib

// There are no vectors here.

func (t *trie) lookup4Vectors(*[BatchMax]uint32, uint64, *Found) (ok bool) { return false }

func (t *trie) lookup6Vectors(*[4][BatchMax]uint32, uint64, *Found, *[BatchMax / 16]uint16) (level int) {
	return 0
}
