//go:build amd64 && !race

package fib

import "golang.org/x/sys/cpu"

//go:generate go run ./asm -out gather_amd64.s -stubs gather_amd64.go -pkg fib

func hasVectors() bool { return cpu.X86.HasAVX2 }

// vector4 looks up n addresses, a multiple of 16.
func (t *trie) vector4(addrs *[BatchMax]uint32, n uint64, found *Found) {
	if t.narrow {
		lookup4Narrow(&t.root[0], &t.blocks[0], t.base.Load(), &addrs[0], &found[0], n)
	} else {
		lookup4Wide(&t.root[0], &t.blocks[0], t.base.Load(), &addrs[0], &found[0], n)
	}
}

// vector6 goes down to /64 with n addresses, a multiple of 16. open has the bits of those that have not come to an answer
// by then: what is found for them refers to a tail, or to a block behind six steps.
func (t *trie) vector6(addrs *[4][BatchMax]uint32, n uint64, found *Found) (open uint64) {
	if t.narrow {
		lookup6Narrow(&t.root[0], &t.blocks[0], t.base.Load(), &addrs[0][0], &addrs[1][0], &found[0], &open, n)
	} else {
		lookup6Wide(&t.root[0], &t.blocks[0], t.base.Load(), &addrs[0][0], &addrs[1][0], &found[0], &open, n)
	}
	return open
}
