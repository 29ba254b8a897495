package policy

import "math/bits"

// lintIndex finds among regions of one family those that may contain another one, without a look at all. Regions of one
// shape, that is with a single value in the same dimensions and with prefixes of the same lengths, are in one map by those
// values, since a region inside has the same values, or longer prefixes (tuple space search). What a shape does not have,
// as ranges and sets, is compared region by region.
type lintIndex struct {
	shapes []shapeIndex
	places map[shape]int
	nots   map[uint64][]int32 // regions with not, by role
}

// shape is what regions are looked up by.
type shape struct {
	singles  uint32 // bits of the dimensions with a single value
	from, to int16  // free bits of the prefix, or -1
	mark     uint32 // mask of the mark
}

type shapeIndex struct {
	shape
	found map[uint64][]int32
}

func newLintIndex() *lintIndex {
	return &lintIndex{places: map[shape]int{}, nots: map[uint64][]int32{}}
}

func shapeOf(a *region) shape {
	s := shape{from: -1, to: -1}
	for i := range a.limits {
		l := &a.limits[i]
		switch l.dim {
		case dimFrom, dimTo:
			if free, ok := l.spans[0].block(); ok && len(l.spans) == 1 {
				if l.dim == dimFrom {
					s.from = int16(free)
				} else {
					s.to = int16(free)
				}
			}
		default:
			if _, ok := l.spans.single(); ok {
				s.singles |= 1 << l.dim
			}
		}
	}
	for i := range a.clauses {
		if r, ok := a.clauses[i].masked(); ok && a.clauses[i].dim == dimMark {
			s.mark = r.Mask
		}
	}
	return s
}

// key is what a region that one of the shape and the role contains has in common with that; ok is false where there can
// be none. Regions without anything in common may have equal keys.
func (s *shape) key(a *region, role uint64) (key uint64, ok bool) {
	key = hashStep(0, role)
	for _, address := range [...]struct {
		dim  dimension
		free int16
	}{{dimFrom, s.from}, {dimTo, s.to}} {
		if address.free < 0 {
			continue
		}
		l := a.at(address.dim)
		if l == nil {
			return 0, false
		}
		x := l.spans[0].lo.clear(int(address.free))
		key = hashStep(hashStep(key, x.hi), x.lo)
	}
	for rest := s.singles; rest != 0; rest &= rest - 1 {
		l := a.at(dimension(bits.TrailingZeros32(rest)))
		if l == nil {
			return 0, false
		}
		x, single := l.spans.single()
		if !single {
			return 0, false
		}
		key = hashStep(key, x.lo)
	}
	if s.mark == 0 {
		return key, true
	}
	for i := range a.clauses {
		if r, ok := a.clauses[i].masked(); ok && a.clauses[i].dim == dimMark && s.mark&^r.Mask == 0 {
			return hashStep(key, uint64(r.Lo&s.mark)), true
		}
	}
	return 0, false
}

// hashStep is a step of a hash.
func hashStep(h, x uint64) uint64 {
	hi, lo := bits.Mul64(h^x^0x9e3779b97f4a7c15, 0xd6e8feb86659fd93)
	return hi ^ lo
}

// add enters a region that is not empty, as number i. Regions of other roles are not found with it.
func (x *lintIndex) add(i int, role uint64, a *region) {
	if a.not {
		x.nots[role] = append(x.nots[role], int32(i))
		return
	}
	s := shapeOf(a)
	at, ok := x.places[s]
	if !ok {
		at = len(x.shapes)
		x.places[s] = at
		x.shapes = append(x.shapes, shapeIndex{s, map[uint64][]int32{}})
	}
	key, _ := s.key(a, role)
	x.shapes[at].found[key] = append(x.shapes[at].found[key], int32(i))
}

// find calls is with the numbers of regions of the role that may contain a, until it returns true. It returns that
// number, or -1; any where the work is done.
func (x *lintIndex) find(a *region, role uint64, work *lintWork, is func(i int) bool) int {
	for i := range x.shapes {
		s := &x.shapes[i]
		work.left--
		key, ok := s.key(a, role)
		if !ok {
			continue
		}
		for _, at := range s.found[key] {
			if work.done() || is(int(at)) {
				return int(at)
			}
		}
	}
	for _, at := range x.nots[role] {
		if work.done() || is(int(at)) {
			return int(at)
		}
	}
	return -1
}

// lintWork is how much lint may still do. A unit is a few nanoseconds.
type lintWork struct{ left int }

func (w *lintWork) done() bool { return w.left < 0 }

// spend is for work on two regions, and reports whether it may be done.
func (w *lintWork) spend(a, b *region) bool {
	w.left -= a.cost() + b.cost()
	return !w.done()
}
