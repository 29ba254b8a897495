package policy

// markBits knows which marks a packet can have, whatever way it takes through the mark program: 0, and what any
// statements make of that one after the other.
type markBits struct {
	sets   []Then // MarkSet, without repetition
	ones   uint32 // bits that one of them sets
	byMask map[uint32]map[uint32]bool
	left   int
	gaveUp bool
}

// markValuesMax bounds the values under one mask.
const markValuesMax = 4096

// lintBits remarks on marks that nothing reads, and on conditions on marks that nothing makes, except on rules and
// statements that are idle anyway.
func lintBits(r *report, s *Snapshot, order []int, rules, statements []bool) {
	p := &s.marks
	read := uint32(0)
	for i := range s.rules {
		if m := &s.rules[i].Match; m.HasMark {
			read |= m.MarkMask
		}
	}
	b := &markBits{byMask: map[uint32]map[uint32]bool{}, left: lintWorkMax}
	seen := map[Then]bool{}
	for i := range p.statements {
		st := &p.statements[i]
		for j := range st.match.conditions {
			if c := &st.match.conditions[j]; c.Field == FieldMark {
				for _, x := range c.Numbers {
					read |= x.Mask
				}
			}
		}
		for _, then := range st.then {
			set := Then{Action: MarkSet, Mark: then.Mark & then.Mask, Mask: then.Mask}
			if then.Action == MarkSet && !seen[set] {
				seen[set] = true
				b.sets, b.ones = append(b.sets, set), b.ones|set.Mark
			}
		}
	}
	for i := range p.chains {
		chain := chainNamed(r.policy.Marks, p.chains[i].name)
		for j := p.chains[i].first; j < p.chains[i].end; j++ {
			st, at := &p.statements[j], r.statement(chain, int(j-p.chains[i].first))
			if statements[j] {
				continue
			}
			for k := range st.then {
				if then := &st.then[k]; then.Action == MarkSet && then.Mask&read == 0 {
					at.warnf("nothing reads the mark %s that it sets: no rule and no statement looks at these bits; add one that does, or remove it",
						hex(then.Mark&then.Mask, then.Mask))
				}
			}
			for k := range st.match.conditions {
				c := &st.match.conditions[k]
				if c.Field == FieldMark && !c.Not && !st.match.not && !b.meets(c.Numbers) {
					at.warnf("never matches: nothing sets the mark that it asks for, %s; add a statement that does, or remove it", c.valuesText(s, anyPacket(0).key))
				}
			}
		}
	}
	for i := range s.rules {
		rule := &s.rules[i]
		if m := &rule.Match; m.HasMark && !rule.Not && !rules[i] {
			value := m.Mark & m.MarkMask
			if !b.meets([]Range{{value, value, m.MarkMask}}) {
				r.rule(order[i]).warnf("never matches: nothing sets the fwmark that it asks for, %s; add a statement of marks that does, or remove it",
					hex(value, m.MarkMask))
			}
		}
	}
	if b.gaveUp {
		r.nowhere().giveUp("marks that nothing sets were looked for bit by bit only: too many values can be set")
	}
}

// meets reports whether a packet may have a mark in one of the ranges.
func (b *markBits) meets(ranges []Range) bool {
	for _, r := range ranges {
		if r.Lo == 0 {
			return true
		}
		if r.Lo == r.Hi && r.Lo&^b.ones != 0 {
			continue
		}
		values := b.values(r.Mask)
		if values == nil {
			return true
		}
		if r.Lo == r.Hi && values[r.Lo] {
			return true
		}
		if r.Lo < r.Hi && b.between(values, r) {
			return true
		}
	}
	return false
}

// between reports whether one of the values is in the range, or there may be.
func (b *markBits) between(values map[uint32]bool, r Range) bool {
	if b.left -= len(values); b.left < 0 {
		b.gaveUp = true
		return true
	}
	for x := range values {
		if r.Lo <= x && x <= r.Hi {
			return true
		}
	}
	return false
}

// values are the marks under a mask, or nil where they are too many.
func (b *markBits) values(mask uint32) map[uint32]bool {
	if values, ok := b.byMask[mask]; ok {
		return values
	}
	values, list := map[uint32]bool{0: true}, []uint32{0}
	var under []Then
	seen := map[Then]bool{}
	for i := range b.sets {
		if set := (Then{Mark: b.sets[i].Mark & mask, Mask: b.sets[i].Mask & mask}); !seen[set] {
			seen[set] = true
			under = append(under, set)
		}
	}
	b.left -= len(b.sets)
	for n := 0; n < len(list) && values != nil; n++ { // list grows
		b.left -= len(under)
		for _, set := range under {
			if x := list[n]&^set.Mask | set.Mark; !values[x] {
				values[x] = true
				list = append(list, x)
			}
		}
		if len(list) > markValuesMax || b.left < 0 {
			values, b.gaveUp = nil, true
		}
	}
	b.byMask[mask] = values
	return values
}
