//go:build !amd64 || race

package policy

import "weir/fib"

// vectors is the widest instruction set that matchers use here: none.
const vectors = "none"

func (*matcher) scan(*classes, int, int, *[segmentWords]uint64) (segment int, some uint64) {
	panic("no vectors")
}

func matchLines(*homes, *lanes, []uint8) { panic("no vectors") }

func (*facet) ranks(*[fib.BatchMax]uint32, int) { panic("no vectors") }
