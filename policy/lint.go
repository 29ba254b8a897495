package policy

import (
	"fmt"
	"slices"
)

// Lint is what Compile says about a policy that is right, and probably not what was meant: rules and statements that no
// packet gets to, or that change nothing, marks that nobody reads or sets, tables that nobody looks up. Each remark is
// true of every packet, so that what is remarked on can go without a change of any verdict; what cannot be shown that way is
// not remarked on. A packet's mark is 0 where it comes in.
//
// The rules are in lintrules.go, the mark program is in lintmarks.go, marks and their readers in lintbits.go, tables in
// linttables.go. All of it compares regions (lintregion.go).

// lintWorkMax bounds the comparisons among rules, and as many among statements: a second's worth.
const lintWorkMax = 1 << 26

func lint(r *report, s *Snapshot, order []int) {
	before := r.warnings
	r.warnings = nil
	rules, regions := lintRules(r, s, order)
	statements := lintMarks(r, s)
	lintBits(r, s, order, rules, statements)
	lintTables(r, s, regions)
	// What was not looked at comes first, so that a list which is cut short has it.
	r.warnings = slices.Concat(r.gaveUp, before, r.warnings)
}

// giveUp warns of what lint has not looked at.
func (a at) giveUp(what string) {
	e := a.err
	e.Msg = what
	a.report.gaveUp = append(a.report.gaveUp, &e)
}

// exclusion says why a region is empty.
func (a *region) exclusion(name func(Field) string) string {
	switch first, second := a.why[0], a.why[1]; {
	case second == FieldNone:
		return "its not leaves nothing"
	case first == FieldNone:
		return "no packet has its " + name(second)
	case first == second:
		return "its conditions on " + name(first) + " exclude each other"
	default:
		return "its " + name(first) + " and its " + name(second) + " exclude each other"
	}
}

// withBy names the rule, or the statement of the same chain, that a remark is about besides its own.
func (a at) withBy(i int) at {
	a.err.By = i
	return a
}

// culprits names what takes a packet before, for each family; where both are one, or there is but one family, that is all.
func culprits(what string, by [2]int, name func(int) string) string {
	switch {
	case by[0] < 0:
		return what + " " + name(by[1])
	case by[1] < 0 || by[0] == by[1]:
		return what + " " + name(by[0])
	}
	return fmt.Sprintf("%s %s in IPv4 and %[1]s %[3]s in IPv6", what, name(by[0]), name(by[1]))
}

// firstOf is one of the families' culprits.
func firstOf(by [2]int) int {
	if by[0] >= 0 {
		return by[0]
	}
	return by[1]
}

// ways says how these take the packets away.
func ways(by [2]int, how func(int) string) string {
	first := how(firstOf(by))
	if by[0] >= 0 && by[1] >= 0 {
		if second := how(by[1]); second != first {
			return first + " in IPv4, " + second + " in IPv6"
		}
	}
	return first
}

// hex writes VALUE/MASK of a mark.
func hex(value, mask uint32) string {
	if mask == AllBits {
		return fmt.Sprintf("0x%x", value)
	}
	return fmt.Sprintf("0x%x/0x%x", value, mask)
}

// chainNamed is the index of the chain in the policy.
func chainNamed(chains []Chain, name string) int {
	return slices.IndexFunc(chains, func(c Chain) bool { return c.Name == name })
}
