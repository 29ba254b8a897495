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
		t.add(Step{Kind: "marks", Result: endings[how], Detail: "mark " + changeText(fmt.Sprintf("0x%x", f.key.Mark), fmt.Sprintf("0x%x", f.mark)) +
			", dscp " + changeText(dscpText(f.key.TOS>>2), dscpText(f.tos>>2))})
	}
}

// changeText is a value before and after.
func changeText(before, after string) string {
	if before == after {
		return "stays " + before
	}
	return before + " -> " + after
}

func (t *Trace) addStatement(s *Snapshot, st *statement, f *flow, bad *condition, depth int) {
	step := Step{Kind: "mark", Name: st.name, Chain: s.marks.chains[st.chain].name, Depth: depth}
	why := ""
	if bad != nil {
		why = conditionText(s, bad, f)
	} else {
		why = metConditionsText(s, st.match.conditions, f)
	}
	step.Result, step.Detail = matchText(bad == nil, st.match.not, why, func() string { return thenText(&s.marks, st.then, f) })
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
			text += fmt.Sprintf(" %s -> %s", dscpText(tos>>2), dscpText(then.DSCP))
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
	have, ok := c.valueOf(s, f)
	if !ok {
		return what + have
	}
	wanted := c.relation().not()
	if c.Not {
		wanted = strings.Replace(wanted, " not", "", 1)
	}
	return what + have + wanted + c.valuesText(s, f.key)
}

// metConditionsText lists conditions that the packet meets, as metText does.
func metConditionsText(s *Snapshot, list []condition, f *flow) string {
	parts := make([]string, len(list))
	for i := range list {
		parts[i] = metConditionText(s, &list[i], f)
	}
	return strings.Join(parts, ", ")
}

func metConditionText(s *Snapshot, c *condition, f *flow) string {
	have, _ := c.valueOf(s, f)
	text := c.Field.String() + " "
	if c.Not {
		return text + have + c.relation().not() + c.valuesText(s, f.key)
	}
	return text + c.relation().met(have, c.valuesText(s, f.key))
}

// valueOf is what the packet has in the field, or why it has nothing there.
func (c *condition) valueOf(s *Snapshot, f *flow) (have string, ok bool) {
	switch c.Field {
	case FieldFrom, FieldTo:
		addr := f.src
		if c.Field == FieldTo {
			addr = f.dst
		}
		if !c.families.has(f.key.Family) {
			return addr.String() + " is of another family", false
		}
		return addr.String(), true
	}
	x, ok := f.number(c.Field)
	if !ok {
		return absentText(c.Field, f), false
	}
	return numberText(s, f.key, c.Field, x), true
}

// relation is that of what a packet has to the values of the condition.
func (c *condition) relation() relation {
	switch {
	case len(c.Numbers) != 1 || c.Numbers[0].Lo != c.Numbers[0].Hi || c.Set != "":
		return among
	case c.Numbers[0].Mask != AllBits:
		return masked
	}
	return equal
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
func (c *condition) valuesText(s *Snapshot, k *packet.Key) string {
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
			list = append(list, numberText(s, k, c.Field, r.Lo))
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
	text := strings.Join(list, ", ")
	if len(list) > 1 {
		return "[" + text + "]" // as in a configuration: what follows a comma is another condition
	}
	return text
}

// numberText is a value of a field, of which the packet k has this or another, as people write it.
func numberText(s *Snapshot, k *packet.Key, field Field, x uint32) string {
	switch field {
	case FieldIngress:
		return s.ingressText(&packet.Key{Ingress: uint16(x)})
	case FieldGroup:
		return s.groupText(x)
	case FieldMark, FieldFlowLabel:
		return fmt.Sprintf("0x%x", x)
	case FieldTOS:
		return fmt.Sprintf("0x%02x", x)
	case FieldDSCP:
		return dscpText(uint8(x))
	case FieldICMPType:
		return namedText(packet.ICMPTypes(k.Family), uint8(x))
	case FieldICMPCode:
		if isUnreachable(k) {
			return namedText(packet.ICMPCodes(k.Family), uint8(x))
		}
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
	for bit := range 8 {
		flag := uint8(1) << bit
		switch {
		case mask&flag == 0:
		case value&flag == 0:
			list = append(list, "!"+packet.TCPFlags.Text(flag))
		default:
			list = append(list, packet.TCPFlags.Text(flag))
		}
	}
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, ",")
}
