//go:build !amd64 || race

package policy

// vectors is the widest instruction set that matchers use here: none.
const vectors = "none"

func (*matcher) scan(*classes, int, int, *[segmentWords]uint64) (segment int, some uint64) {
	panic("no vectors")
}
