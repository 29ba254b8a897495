//go:build !amd64 || race

package fib

// There are no vectors here.

func hasVectors() bool { return false }

func (t *trie) vector4(*[BatchMax]uint32, uint64, *Found) {}

func (t *trie) vector6(*[4][BatchMax]uint32, uint64, *Found) (open uint64) { return 0 }
