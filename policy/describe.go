package policy

import (
	"fmt"
	"strings"

	"weir/fib"
	"weir/policy/packet"
)

// RuleText says which packets rule i is for and what it does, as ip-rule(8) would: "not from 10.0.0.0/8 iif em0
// lookup x".
func (s *Snapshot) RuleText(i uint16) string {
	r := &s.rules[i]
	m := &r.Match
	var b words
	if r.Not {
		b.add("not")
	}
	if m.Family != 0 && !m.From.IsValid() && !m.To.IsValid() && !m.HasFlow {
		b.add("family", familyText(m.Family))
	}
	blank := anyPacket(r.family)
	for _, field := range m.fields() {
		if _, want, _ := selectorText(s, r, blank, field); field != FieldTOS || m.TOS != 0 {
			b.add(selectorName(field), want)
		}
	}
	for j := range r.beyond {
		b.add(r.beyond[j].Field, r.beyond[j].valuesText(s, blank.key))
	}
	if len(b) == 0 || r.Not && len(b) == 1 {
		b.add("from all")
	}
	switch r.Action {
	case RuleLookup:
		b.add("lookup", s.TableName(r.Table))
	case RuleGoto:
		b.add("goto", r.Goto)
	default:
		b.add(r.Action)
	}
	if r.SuppressPrefixLength >= 0 {
		b.add("suppress-prefixlength", r.SuppressPrefixLength)
	}
	if r.HasSuppressGroup {
		b.add("suppress-ifgroup", s.groupText(r.SuppressGroup))
	}
	return b.String()
}

// StatementText says which packets statement i of the mark program is for and what it does with them: "proto tcp
// dport 80 mark 0x10/0xff".
func (s *Snapshot) StatementText(i uint16) string {
	st := &s.marks.statements[i]
	var b words
	if st.match.not {
		b.add("not")
	}
	implied := bothFamilies
	for j := range st.match.conditions {
		c := &st.match.conditions[j]
		switch {
		case len(c.Prefixes) > 0:
			implied &= c.families
		case c.Field == FieldFlowLabel:
			implied &= familyBit(packet.IPv6)
		}
	}
	for _, family := range families {
		if st.match.families == familyBit(family) && st.match.families != implied {
			b.add("family", familyText(family))
		}
	}
	blank := anyPacket(0)
	if only := st.match.families; only == familyBit(packet.IPv4) || only == familyBit(packet.IPv6) {
		blank = anyPacket(families[only>>1])
	}
	for j := range st.match.conditions {
		c := &st.match.conditions[j]
		what := c.Field.String()
		if c.Not {
			what += " not"
		}
		b.add(what, c.valuesText(s, blank.key))
	}
	for j := range st.then {
		switch then := &st.then[j]; then.Action {
		case MarkSet:
			mark, _ := maskedText(then.Mark, then.Mask, AllBits)
			b.add("mark", mark)
		case MarkDSCP:
			b.add("dscp", dscpText(then.DSCP))
		case MarkJump, MarkGoto:
			b.add(then.Action, s.marks.chains[then.Chain].name)
		default:
			b.add(then.Action)
		}
	}
	return b.String()
}

// RouteText says what a route does, as ip-route(8) would: "via 192.0.2.9 at em0 metric 5".
func (s *Snapshot) RouteText(r *fib.Route) string {
	if len(r.Hops) < 2 {
		return routeText(s, r)
	}
	var b words
	for i := range r.Hops {
		b.add(hopText(s, &r.Hops[i]), "weight", max(1, r.Hops[i].Weight))
	}
	return b.String()
}

// OnMissText says what a miss of table i leads to.
func (s *Snapshot) OnMissText(i uint16) string { return onMissText(s, &s.tables[i]) }

// anyPacket is one of the family, 0 being either, for texts that are about no packet in particular.
func anyPacket(family uint8) *flow { return &flow{key: &packet.Key{Family: family}} }

// words are joined by spaces.
type words []string

func (w *words) add(parts ...any) {
	for _, p := range parts {
		*w = append(*w, fmt.Sprint(p))
	}
}

func (w words) String() string { return strings.Join(w, " ") }

func familyText(family uint8) string { return fmt.Sprintf("ipv%d", family) }
