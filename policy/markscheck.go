package policy

import (
	"slices"
	"strings"

	"weir/policy/packet"
)

// mainChain is the index of the chain that the mark program begins with, or -1.
func mainChain(chains []Chain) int {
	return chainNamed(chains, MainChain)
}

func checkMarks(r *report) {
	chains := r.policy.Marks
	names := map[string]bool{}
	statements, targets := 0, true
	for i := range chains {
		c, at := &chains[i], r.chain(i)
		if c.Name == "" {
			at.errorf("no name")
		} else if names[c.Name] {
			at.errorf("a second chain of this name")
		}
		names[c.Name] = true
		statements += len(c.Statements)
		own := map[string]bool{}
		for j := range c.Statements {
			st, at := &c.Statements[j], r.statement(i, j)
			if st.Name == "" {
				at.errorf("no name")
			} else if own[st.Name] {
				at.errorf("a second statement of this name")
			}
			own[st.Name] = true
			checkMatch(at, &st.Match)
			targets = checkThen(at, st.Then, len(chains)) && targets
		}
	}
	if statements > MaxStatements {
		r.nowhere().errorf("%d statements of marks, at most %d", statements, MaxStatements)
		return
	}
	if targets {
		checkChains(r)
	}
}

func checkMatch(at at, m *Match) {
	if m.Family != 0 && m.Family != packet.IPv4 && m.Family != packet.IPv6 {
		at.errorf("unknown family %d", m.Family)
		return
	}
	if m.Not && len(m.Conditions) == 0 {
		at.warnf("not of nothing: it never matches")
	}
	n := len(at.report.errors)
	checkConditions(at, m.Conditions)
	if len(at.report.errors) > n {
		return
	}
	families := m.families()
	if families == 0 {
		at.errorf("conditions of both families: no packet has both")
	}
	for i := range m.Conditions {
		if c := &m.Conditions[i]; c.Field == FieldTOS && families.has(packet.IPv4) {
			for _, x := range c.Numbers {
				if x.Hi&^tosMask != 0 {
					at.errorf("tos 0x%02x: in IPv4 it is tos & 0x1c that is compared; use dscp, or family: ipv6", x.Hi)
				}
			}
		}
	}
}

func checkConditions(at at, list []Condition) {
	for i := range list {
		c := &list[i]
		addresses := c.Field == FieldFrom || c.Field == FieldTo
		switch {
		case c.Field == FieldNone || c.Field >= fieldEnd:
			at.errorf("unknown field %d", c.Field)
		case addresses && (len(c.Prefixes) == 0 || len(c.Numbers) > 0), !addresses && (len(c.Numbers) == 0 || len(c.Prefixes) > 0):
			at.errorf("%v: a condition has prefixes for addresses, numbers for everything else, and at least one", c.Field)
		}
		for _, p := range c.Prefixes {
			if !p.IsValid() || p != p.Masked() {
				at.errorf("%v: %v is not a prefix", c.Field, p)
			}
		}
		for _, x := range c.Numbers {
			switch {
			case x.Lo > x.Hi:
				at.errorf("%v: range %d-%d is empty", c.Field, x.Lo, x.Hi)
			case c.Field < fieldEnd && x.Hi > fields[c.Field].limit:
				at.errorf("%v: %d is above %d", c.Field, x.Hi, fields[c.Field].limit)
			case x.Hi&^x.Mask != 0 && x.Lo == x.Hi:
				at.errorf("%v: bits 0x%x of the value are outside of the mask", c.Field, x.Hi&^x.Mask)
			}
		}
	}
}

// checkThen returns whether all chains that are gone to are in range.
func checkThen(at at, list []Then, chains int) (targets bool) {
	targets = true
	for i := range list {
		switch then := &list[i]; {
		case then.Action >= markActionEnd:
			at.errorf("unknown action %d", then.Action)
		case then.Action == MarkDSCP && then.DSCP > 63:
			at.errorf("dscp %d: it has six bits", then.DSCP)
		case (then.Action == MarkJump || then.Action == MarkGoto) && int(then.Chain) >= chains:
			at.errorf("%v to chain %d of %d", then.Action, then.Chain, chains)
			targets = false
		case then.Action.ends() && i < len(list)-1:
			at.errorf("nothing follows %v in a statement", then.Action)
		}
	}
	return targets
}

// chainGraph is the chains and the jumps and gotos from one to another.
type chainGraph struct {
	report *report
	state  []chainState
	path   []uint16
	cyclic bool
}

// chainState is what is known of a chain.
type chainState struct {
	visited bool
	onPath  bool
	depth   int // jumps that it may need the stack for
	tries   int // statements that a packet may have to try from its beginning to its end, at most MaxTries+1
}

// checkChains reports cycles, and if there are none, what takes too many jumps or too many tries, and chains that
// nothing leads to.
func checkChains(r *report) {
	chains := r.policy.Marks
	g := chainGraph{report: r, state: make([]chainState, len(chains))}
	main := mainChain(chains)
	if main >= 0 {
		g.visit(uint16(main))
	}
	for i := range chains {
		if g.state[i].visited {
			continue
		}
		if main < 0 {
			r.chain(i).warnf("never runs: there is no chain %s", MainChain)
		} else {
			r.chain(i).warnf("never runs: nothing leads to it from %s", MainChain)
		}
		g.visit(uint16(i)) // for cycles
	}
	if g.cyclic || main < 0 {
		return
	}
	if n := g.state[main].depth; n > MaxJumps {
		r.chain(main).errorf("jumps %d deep, at most %d", n, MaxJumps)
	}
	if g.state[main].tries > MaxTries {
		r.chain(main).errorf("a packet may have to try more than %d statements: jumps lead to the same chains again and again", MaxTries)
	}
}

func (g *chainGraph) visit(i uint16) *chainState {
	state := &g.state[i]
	if state.onPath {
		g.cyclic = true
		from := slices.Index(g.path, i)
		g.report.chain(int(i)).errorf("chains go in a circle: %s", g.arrows(append(slices.Clone(g.path[from:]), i)))
		return state
	}
	if state.visited {
		return state
	}
	state.visited, state.onPath = true, true
	g.path = append(g.path, i)
	list := g.report.policy.Marks[i].Statements
	for j := len(list) - 1; j >= 0; j-- { // from the end: after a goto, either the target is tried or the rest is
		for _, then := range list[j].Then {
			switch then.Action {
			case MarkJump:
				to := g.visit(then.Chain)
				state.depth = max(state.depth, to.depth+1)
				state.tries += to.tries
			case MarkGoto:
				to := g.visit(then.Chain)
				state.depth = max(state.depth, to.depth)
				state.tries = max(state.tries, to.tries)
			}
		}
		state.tries = min(state.tries+1, MaxTries+1)
	}
	g.path = g.path[:len(g.path)-1]
	state.onPath = false
	return state
}

func (g *chainGraph) arrows(chains []uint16) string {
	names := make([]string, len(chains))
	for i, c := range chains {
		names[i] = g.report.policy.Marks[c].Name
	}
	return strings.Join(names, " → ")
}
