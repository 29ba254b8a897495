package policy

import "math/bits"

// markLint looks for statements that no packet gets to, or that set what is set. A packet gets to a statement of a chain
// only past all before it in the chain, and past those that end it only unmatched.
type markLint struct {
	report   *report
	s        *Snapshot
	chains   []int // by chain of the program: its index in the policy
	regions  *regions
	callers  [][]uint16   // by chain: statements that lead to it
	contexts [][2]*region // by chain and family: what of a packet is known there; nil: nothing
	changes  []changes    // by chain: what it and those that it leads to may change
	closed   [2][]bool    // by family and chain: no packet leaves it but by the end of the program
	idle     []bool       // by statement of the program: it has a remark, or what leads to it has
	work     lintWork
}

// changes are the bits of the mark and the DSCP, if it has them, and what they become.
type changes struct {
	mark, mask uint32
	hasDSCP    bool
	dscp       uint8
}

func (c *changes) add(then *Then) {
	switch then.Action {
	case MarkSet:
		c.mark, c.mask = c.mark&^then.Mask|then.Mark&then.Mask, c.mask|then.Mask
	case MarkDSCP:
		c.hasDSCP, c.dscp = true, then.DSCP
	}
}

// include reports that after c, o changes nothing.
func (c *changes) include(o *changes) bool {
	return o.mask&^c.mask == 0 && (c.mark^o.mark)&o.mask == 0 && (!o.hasDSCP || c.hasDSCP && c.dscp == o.dscp)
}

// Roles of statements in an index.
const (
	roleEnds uint64 = iota
	roleSets
)

// lintMarks returns which statements of the program it has remarked on.
func lintMarks(r *report, s *Snapshot) (idle []bool) {
	p := &s.marks
	if len(p.chains) == 0 {
		return nil
	}
	l := &markLint{report: r, s: s, callers: make([][]uint16, len(p.chains)),
		contexts: make([][2]*region, len(p.chains)), changes: make([]changes, len(p.chains)),
		idle: make([]bool, len(p.statements)), work: lintWork{lintWorkMax}}
	for i := range p.chains {
		l.chains = append(l.chains, chainNamed(r.policy.Marks, p.chains[i].name))
	}
	for i := range p.statements {
		if then := p.statements[i].last(); then != nil && (then.Action == MarkJump || then.Action == MarkGoto) {
			l.callers[then.Chain] = append(l.callers[then.Chain], uint16(i))
		}
	}
	l.regions = newRegions(s, false, &l.work)
	l.sumUp()
	for c := range p.chains { // one that leads to another comes first, if it is the only one
		if !l.chain(c) {
			r.chain(l.chains[c]).giveUp("from this chain on, statements that do nothing were not looked for: too many overlap")
			break
		}
	}
	return l.idle
}

// last is what may end the statement, or nil.
func (st *statement) last() *Then {
	if n := len(st.then); n > 0 && st.then[n-1].Action.ends() {
		return &st.then[n-1]
	}
	return nil
}

// sumUp finds out about chains what a jump to them means.
func (l *markLint) sumUp() {
	p := &l.s.marks
	known := make([]bool, len(p.chains))
	for f := range families {
		l.closed[f] = make([]bool, len(p.chains))
	}
	var visit func(c uint16)
	visit = func(c uint16) {
		if known[c] {
			return
		}
		known[c] = true // there are no cycles
		list := p.statements[p.chains[c].first:p.chains[c].end]
		for i := range list {
			for j := range list[i].then {
				then := &list[i].then[j]
				l.changes[c].add(then)
				if then.Action == MarkJump || then.Action == MarkGoto {
					visit(then.Chain)
					to := &l.changes[then.Chain]
					l.changes[c].mask |= to.mask
					l.changes[c].hasDSCP = l.changes[c].hasDSCP || to.hasDSCP
				}
			}
		}
		for f := range families {
			l.closed[f][c] = l.closes(list, f)
		}
	}
	visit(0)
}

// closes reports that every packet of the family that runs into the statements ends the program there.
func (l *markLint) closes(list []statement, f int) bool {
	for i := range list {
		st := &list[i]
		then := st.last()
		if then == nil || !st.match.families.has(families[f]) {
			continue
		}
		ends := l.ends(then, f)
		switch {
		case ends && len(st.match.conditions) == 0 && !st.match.not:
			return true
		case !ends && then.Action != MarkJump:
			return false
		}
	}
	return false
}

// ends reports that the action ends the program.
func (l *markLint) ends(then *Then, f int) bool {
	switch then.Action {
	case MarkAccept, MarkDrop, MarkReject:
		return true
	case MarkJump, MarkGoto:
		return l.closed[f][then.Chain]
	}
	return false
}

// chainWalk is how far a chain has been looked through.
type chainWalk struct {
	regions  [][2]region
	index    [2]*lintIndex
	changed  [32]int // by bit of the mark: the last statement that may have changed it, or -1
	restamps int     // the last statement that may have changed the DSCP, or -1
}

// unchanged reports that no statement behind e may have changed these.
func (w *chainWalk) unchanged(e int, mask uint32, dscp bool) bool {
	for ; mask != 0; mask &= mask - 1 {
		if w.changed[bits.TrailingZeros32(mask)] > e {
			return false
		}
	}
	return !dscp || w.restamps <= e
}

func (w *chainWalk) change(i int, c *changes) {
	for mask := c.mask; mask != 0; mask &= mask - 1 {
		w.changed[bits.TrailingZeros32(mask)] = i
	}
	if c.hasDSCP {
		w.restamps = i
	}
}

// chain remarks on the statements of a chain. It returns false where the work became too much.
func (l *markLint) chain(c int) bool {
	p := &l.s.marks
	list := p.statements[p.chains[c].first:p.chains[c].end]
	w := &chainWalk{regions: make([][2]region, len(list)), index: [2]*lintIndex{newLintIndex(), newLintIndex()}, restamps: -1}
	for i := range w.changed {
		w.changed[i] = -1
	}
	for i := range list {
		l.statement(c, w, list, i)
		if l.work.done() {
			return false
		}
	}
	return true
}

func (l *markLint) statement(c int, w *chainWalk, list []statement, i int) {
	st, at := &list[i], l.report.statement(l.chains[c], i)
	ended, set, alive := [2]int{-1, -1}, [2]int{-1, -1}, false
	idle, everything := true, true
	elsewhere := false // it is what leads to the chain that excludes packets
	var dead *region
	for f := range families {
		context := l.contexts[c][f]
		if !st.match.families.has(families[f]) || context != nil && context.empty { // then what leads here has its remark
			l.lead(c, st, &region{empty: true}, f)
			continue
		}
		w.regions[i][f] = l.regions.ofStatement(&st.match, f)
		a := w.regions[i][f]
		if !a.empty && !a.not && context != nil {
			a.intersect(context)
			elsewhere = a.empty
		}
		switch {
		case a.empty:
			dead = &a
		case !idle:
			alive = true
		default:
			alive = true
			if ended[f] = l.ender(w, list, &a, i, f); ended[f] >= 0 {
				everything = everything && w.regions[ended[f]][f].everything()
			} else {
				set[f] = l.setter(w, list, &a, i, f)
				idle = set[f] >= 0
			}
		}
		l.lead(c, st, &w.regions[i][f], f)
	}
	if l.work.done() {
		return
	}
	l.enter(w, st, i)
	name := func(i int) string { return list[i].name }
	how := func(i int) string { return list[i].last().Action.String() }
	by, again := firstOf(ended), firstOf(set)
	l.idle[int(l.s.marks.chains[c].first)+i] = idle
	switch {
	case !alive && dead == nil:
	case !alive && st.match.not && len(st.match.conditions) == 0: // checkMatch has it
	case !alive && elsewhere:
		at.warnf("never matches: its %v and the %v of what leads to chain %s exclude each other; remove it",
			dead.why[0], dead.why[1], l.s.marks.chains[c].name)
	case !alive:
		at.warnf("never matches: %s; remove it", dead.exclusion(Field.String))
	case !idle:
	case again >= 0 && by >= 0:
		at.withBy(by).warnf("changes nothing: the packets of one family are taken first by %s, and for the others the same is set before by %s; remove it",
			culprits("statement", ended, name), culprits("statement", set, name))
	case again >= 0:
		at.withBy(again).warnf("changes nothing: for all that it matches, the same is set before by %s; remove it", culprits("statement", set, name))
	case everything:
		at.withBy(by).warnf("is never reached: every packet is taken first by %s, to %s; move it up, or remove it",
			culprits("statement", ended, name), ways(ended, how))
	default:
		at.withBy(by).warnf("is shadowed: all that it matches is taken first by %s, to %s; move it up, or remove it",
			culprits("statement", ended, name), ways(ended, how))
	}
}

// lead gives the chain that only this statement leads to what is known of packets there.
func (l *markLint) lead(c int, st *statement, a *region, f int) {
	then := st.last()
	if then == nil || then.Action != MarkJump && then.Action != MarkGoto || len(l.callers[then.Chain]) != 1 {
		return
	}
	known := &region{}
	if !a.not {
		known.intersect(a)
	}
	if context := l.contexts[c][f]; context != nil {
		known.intersect(context)
	}
	l.contexts[then.Chain][f] = known
}

// enter makes statement i known to those behind it.
func (l *markLint) enter(w *chainWalk, st *statement, i int) {
	var own changes
	for j := range st.then {
		own.add(&st.then[j])
	}
	then := st.last()
	if then != nil && (then.Action == MarkJump || then.Action == MarkGoto) {
		own.mask |= l.changes[then.Chain].mask
		own.hasDSCP = own.hasDSCP || l.changes[then.Chain].hasDSCP
	}
	w.change(i, &own)
	for f := range families {
		a := &w.regions[i][f]
		switch {
		case !st.match.families.has(families[f]) || a.empty:
		case then == nil && len(st.then) > 0:
			w.index[f].add(i, roleSets, a)
		case then != nil && (then.Action != MarkJump || l.closed[f][then.Chain]):
			w.index[f].add(i, roleEnds, a)
		}
	}
}

// ender is an earlier statement of the chain that lets no packet of statement i, whose region is a, through to it, or -1.
func (l *markLint) ender(w *chainWalk, list []statement, a *region, i, f int) int {
	return w.index[f].find(a, roleEnds, &l.work, func(e int) bool { return l.met(w, a, e, f) })
}

// setter is an earlier statement of the chain that has set what statement i would set, or -1.
func (l *markLint) setter(w *chainWalk, list []statement, a *region, i, f int) int {
	if list[i].last() != nil || len(list[i].then) == 0 {
		return -1
	}
	var own changes
	for j := range list[i].then {
		own.add(&list[i].then[j])
	}
	return w.index[f].find(a, roleSets, &l.work, func(e int) bool {
		var before changes
		for j := range list[e].then {
			before.add(&list[e].then[j])
		}
		l.work.left -= 4
		return before.include(&own) && w.unchanged(e, own.mask, own.hasDSCP) && l.met(w, a, e, f)
	})
}

// met reports that every packet of region a, at the statement that is being looked at, has matched statement e where it
// met it. Had it not, then e would have changed nothing, and what lies between does not change what e asks for: so it
// would not be in the region either.
func (l *markLint) met(w *chainWalk, a *region, e, f int) bool {
	b := &w.regions[e][f]
	if !l.work.spend(a, b) || !a.subset(b) {
		return false
	}
	var mask uint32
	for i := range b.clauses {
		if c := &b.clauses[i]; c.dim == dimMark {
			mask |= c.bits()
		}
	}
	return w.unchanged(e, mask, b.dims&(1<<dimDSCP) != 0)
}
