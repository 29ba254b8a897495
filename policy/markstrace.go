package policy

import (
	"fmt"
	"strings"

	"weir/policy/packet"
)

// Steps of the mark program, as those of Trace.

func (t *Trace) statement(s *Snapshot, st *statement, f *flow, bad *condition, depth int) {
	if t != nil {
		t.addStatement(s, st, f, bad, depth)
	}
}

func (t *Trace) skipStatement(p *program, st *statement, depth int) {
	if t != nil {
		only := 4
		if st.match.families == familyBit(packet.IPv6) {
			only = 6
		}
		t.add(Step{Kind: "mark", Name: st.name, Chain: p.chains[st.chain].name, Depth: depth, Result: "skipped", Detail: fmt.Sprintf("is for IPv%d", only)})
	}
}

func (t *Trace) back(p *program, from, to uint16, depth int) {
	if t != nil {
		t.add(Step{Kind: "mark", Chain: p.chains[to].name, Depth: depth, Result: "back", Detail: "from " + p.chains[from].name})
	}
}

// marked records how the packet leaves the program.
func (t *Trace) marked(f *flow, how ending) {
	if t != nil {
		t.add(Step{Kind: "marks", Result: endings[how],
			Detail: fmt.Sprintf("mark 0x%x -> 0x%x, tos 0x%02x -> 0x%02x", f.key.Mark, f.mark, f.key.TOS, f.tos)})
	}
}

func (t *Trace) addStatement(s *Snapshot, st *statement, f *flow, bad *condition, depth int) {
	step := Step{Kind: "mark", Name: st.name, Chain: s.marks.chains[st.chain].name, Depth: depth}
	why := "all selectors are met"
	if bad != nil {
		why = conditionText(s, bad, f)
	}
	switch matches := (bad == nil) != st.match.not; {
	case !matches && st.match.not:
		step.Result, step.Detail = "no-match", "not: "+why
	case !matches:
		step.Result, step.Detail = "no-match", why
	case st.match.not:
		step.Result, step.Detail = "matched", thenText(&s.marks, st.then, f)+" (not: "+why+")"
	default:
		step.Result, step.Detail = "matched", thenText(&s.marks, st.then, f)
	}
	t.add(step)
}

// thenText says what the actions of a statement do to the packet as it is.
func thenText(p *program, list []Then, f *flow) string {
	var parts []string
	mark, tos := f.mark, f.tos
	for i := range list {
		then := &list[i]
		text := then.Action.String()
		switch then.Action {
		case MarkSet:
			after := mark&^then.Mask | then.Mark&then.Mask
			text += fmt.Sprintf(" 0x%x -> 0x%x", mark, after)
			mark = after
		case MarkDSCP:
			text += fmt.Sprintf(" %d -> %d", tos>>2, then.DSCP)
			tos = then.DSCP<<2 | tos&^dscpMask
		case MarkJump, MarkGoto:
			text += " " + p.chains[then.Chain].name
		}
		parts = append(parts, text)
	}
	if len(parts) == 0 {
		return "nothing to do"
	}
	return strings.Join(parts, ", ")
}

// conditionText says how the packet fails a condition: what it has, and what the condition wants.
func conditionText(s *Snapshot, c *condition, f *flow) string {
	what := c.Field.String() + ": "
	wanted := " is not "
	if c.Not {
		wanted = " is "
	}
	var have string
	switch c.Field {
	case FieldFrom, FieldTo:
		addr := f.src
		if c.Field == FieldTo {
			addr = f.dst
		}
		if !c.families.has(f.key.Family) {
			return what + fmt.Sprintf("%v is of another family", addr)
		}
		have, wanted = addr.String(), wanted+"in "
	default:
		x, ok := f.number(c.Field)
		if !ok {
			return what + absentText(c.Field, f)
		}
		have = numberText(s, c.Field, x)
		if len(c.Numbers) > 1 || c.Numbers[0].Lo != c.Numbers[0].Hi || c.Set != "" {
			wanted += "in "
		}
	}
	return what + have + wanted + c.valuesText(s)
}

// absentText says why the packet does not have a field.
func absentText(field Field, f *flow) string {
	switch {
	case field == FieldGroup:
		return "the router's own packets came in on no port"
	case field == FieldFlowLabel:
		return "IPv4 has none"
	case !f.l4:
		return "a later fragment has none"
	}
	return protoText(f.key.Proto) + " has none"
}

// valuesText lists what the condition has values of, as far as that can be read.
func (c *condition) valuesText(s *Snapshot) string {
	if c.Set != "" {
		return "$" + c.Set
	}
	const readable = 6
	var list []string
	for _, p := range c.Prefixes {
		list = append(list, p.String())
	}
	for _, r := range c.Numbers {
		switch {
		case r.Lo == r.Hi && r.Mask == AllBits:
			list = append(list, numberText(s, c.Field, r.Lo))
		case r.Lo == r.Hi && c.Field == FieldTCPFlags:
			list = append(list, tcpFlagsText(uint8(r.Lo), uint8(r.Mask)))
		case r.Lo == r.Hi:
			list = append(list, fmt.Sprintf("0x%x/0x%x", r.Lo, r.Mask))
		case r.Mask == AllBits:
			list = append(list, fmt.Sprintf("%d-%d", r.Lo, r.Hi))
		default:
			list = append(list, fmt.Sprintf("%d-%d/0x%x", r.Lo, r.Hi, r.Mask))
		}
	}
	if more := len(list) - readable; more > 0 {
		list = append(list[:readable], fmt.Sprintf("%d more", more))
	}
	return strings.Join(list, ", ")
}

// numberText is a value of a field as people write it.
func numberText(s *Snapshot, field Field, x uint32) string {
	switch field {
	case FieldIngress:
		return s.ingressText(&packet.Key{Ingress: uint16(x)})
	case FieldGroup:
		return s.groupText(x)
	case FieldMark, FieldFlowLabel:
		return fmt.Sprintf("0x%x", x)
	case FieldTOS:
		return fmt.Sprintf("0x%02x", x)
	case FieldProto:
		return protoText(uint8(x))
	case FieldTCPFlags:
		return tcpFlagsText(uint8(x), uint8(x))
	case FieldFragment:
		if int(x) < len(fragmentNames) {
			return fragmentNames[x]
		}
	}
	return fmt.Sprint(x)
}

// tcpFlagsText names the flags that mask has: plain if value has them too, else with an exclamation mark.
func tcpFlagsText(value, mask uint8) string {
	var list []string
	for bit, name := range tcpFlagNames {
		switch {
		case mask&(1<<bit) == 0:
		case value&(1<<bit) == 0:
			list = append(list, "!"+name)
		default:
			list = append(list, name)
		}
	}
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, ",")
}
