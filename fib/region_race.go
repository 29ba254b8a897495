//go:build race

package fib

// region is memory of the Go heap here, since the race detector sees no other.
type region struct {
	words []uint32
	huge  bool
}

// blocksMax is small, since the detector marks all of it.
const (
	blocksMax = 1 << 13
	tailsMax  = 1 << 13
)

func newRegion(n int, _ bool) (*region, error) { return &region{words: make([]uint32, n)}, nil }
