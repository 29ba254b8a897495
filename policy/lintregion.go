package policy

import "slices"

// dimension is something that a region is limited in. Every packet has a value in each, so that one region lies within
// another if it does so in each dimension. A condition on a field that some packets do not have, as ports, limits the
// protocol and the fragment besides.
type dimension uint8

const (
	dimFrom dimension = iota
	dimTo
	dimIngress // of groups too
	dimDSCP    // of TOS too
	dimProto
	dimFragment
	dimSport
	dimDport
	dimICMPType
	dimICMPCode
	dimTCPFlags
	dimLength
	dimTTL
	dimFlow // by clauses alone, as the mark
	dimMark
)

// fieldDimension is where a condition's numbers are those of a dimension.
var fieldDimension = [fieldEnd]dimension{
	FieldFrom: dimFrom, FieldTo: dimTo, FieldIngress: dimIngress, FieldMark: dimMark, FieldDSCP: dimDSCP, FieldProto: dimProto,
	FieldSport: dimSport, FieldDport: dimDport, FieldFlowLabel: dimFlow, FieldICMPType: dimICMPType, FieldICMPCode: dimICMPCode,
	FieldTCPFlags: dimTCPFlags, FieldLength: dimLength, FieldTTL: dimTTL, FieldFragment: dimFragment,
}

// limit says that a dimension's values are in a set.
type limit struct {
	dim   dimension
	by    Field // the selector that says so, for people
	spans spans
}

// region is the packets of one family that a rule or a statement matches: those within all limits and clauses, or with
// not all others. It is exactly those; only the comparisons of regions may miss something.
type region struct {
	empty   bool
	why     [2]Field // of an empty one: the selectors that exclude each other
	not     bool
	dims    uint32 // bits of the limits
	limits  []limit
	clauses []clause
}

// everything reports that the region is all packets of the family.
func (a *region) everything() bool { return !a.empty && !a.not && len(a.limits)+len(a.clauses) == 0 }

func (a *region) at(d dimension) *limit {
	if a.dims&(1<<d) == 0 {
		return nil
	}
	for i := range a.limits {
		if a.limits[i].dim == d {
			return &a.limits[i]
		}
	}
	return nil
}

// contradict makes the region empty, on account of two selectors, the first of which may be none.
func (a *region) contradict(first, second Field) {
	if !a.empty {
		a.empty, a.why = true, [2]Field{first, second}
	}
}

func (a *region) limit(d dimension, by Field, to spans) {
	if l := a.at(d); l != nil {
		both := l.spans.intersect(to)
		switch {
		case len(both) == 0:
			a.contradict(l.by, by)
		case !both.equal(l.spans):
			l.spans, l.by = both, by
		}
		return
	}
	if len(to) == 0 {
		a.contradict(FieldNone, by)
		return
	}
	a.dims |= 1 << d
	a.limits = append(a.limits, limit{d, by, to})
}

func (a *region) clause(c clause) {
	switch {
	case c.everything() && c.not:
		a.contradict(FieldNone, c.by)
		return
	case c.everything():
		return
	}
	c.positive()
	for i := range a.clauses {
		o := &a.clauses[i]
		if o.dim != c.dim {
			continue
		}
		if o.disjoint(&c) {
			a.contradict(o.by, c.by)
			return
		}
		if r, ok := o.masked(); ok {
			if q, ok := c.masked(); ok { // not disjoint, so they agree where they meet
				v, m := r.Lo|q.Lo, r.Mask|q.Mask
				o.ranges = []Range{{v, v, m}}
				return
			}
		}
	}
	a.clauses = append(a.clauses, c)
}

// cost is a measure of the work that a comparison with the region may take.
func (a *region) cost() int {
	n := 1
	for i := range a.limits {
		n += len(a.limits[i].spans)
	}
	for i := range a.clauses {
		n += len(a.clauses[i].ranges)
	}
	return n
}

// subset reports whether every packet of a is in b. It may miss that, and is never wrong.
func (a *region) subset(b *region) bool {
	switch {
	case a.empty || b.everything():
		return true
	case b.empty:
		return false
	case a.not && b.not:
		return b.conjunctionSubset(a)
	case b.not:
		return a.conjunctionDisjoint(b)
	case a.not:
		return false
	}
	return a.conjunctionSubset(b)
}

// disjoint reports whether no packet is in both. It may miss that, and is never wrong.
func (a *region) disjoint(b *region) bool {
	switch {
	case a.empty || b.empty:
		return true
	case a.not && b.not:
		return false
	case a.not:
		return b.conjunctionSubset(a)
	case b.not:
		return a.conjunctionSubset(b)
	}
	return a.conjunctionDisjoint(b)
}

// conjunctionSubset is subset without regard to not.
func (a *region) conjunctionSubset(b *region) bool {
	if b.dims&^a.dims != 0 {
		return false
	}
	for i := range b.limits {
		if l := &b.limits[i]; !a.at(l.dim).spans.subset(l.spans) {
			return false
		}
	}
	for i := range b.clauses {
		c := &b.clauses[i]
		if !slices.ContainsFunc(a.clauses, func(o clause) bool { return o.dim == c.dim && o.subset(c) }) {
			return false
		}
	}
	return true
}

func (a *region) conjunctionDisjoint(b *region) bool {
	for i := range b.limits {
		if l := a.at(b.limits[i].dim); l != nil && l.spans.disjoint(b.limits[i].spans) {
			return true
		}
	}
	for i := range b.clauses {
		c := &b.clauses[i]
		if slices.ContainsFunc(a.clauses, func(o clause) bool { return o.dim == c.dim && o.disjoint(c) }) {
			return true
		}
	}
	return false
}

// intersect limits a by b, neither of which may have not. The mark and the DSCP of b are left out: statements between the
// two may change them.
func (a *region) intersect(b *region) {
	a.limits, a.clauses = slices.Clone(a.limits), slices.Clone(a.clauses)
	if b.empty {
		a.contradict(b.why[0], b.why[1])
	}
	for i := range b.limits {
		if l := &b.limits[i]; l.dim != dimDSCP {
			a.limit(l.dim, l.by, l.spans)
		}
	}
	for i := range b.clauses {
		if c := &b.clauses[i]; c.dim != dimMark {
			a.clause(*c)
		}
	}
}
