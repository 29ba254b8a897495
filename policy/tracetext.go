package policy

import (
	"fmt"
	"strings"

	"weir/fib"
	"weir/policy/packet"
)

// mismatchText says how the packet fails a selector: what it has, and what the rule wants.
func mismatchText(s *Snapshot, r *rule, f *flow, bad Field) string {
	if bad > FieldFlowLabel {
		return conditionText(s, mismatch(r.beyond, f), f)
	}
	have, want, is := selectorText(s, r, f, bad)
	return selectorName(bad) + ": " + have + is.not() + want
}

// relation is how what a packet has in a field relates to what is wanted there.
type relation uint8

const (
	equal  relation = iota // to one value
	masked                 // to one value, under a mask
	among                  // a range, a prefix or several values
)

func (r relation) not() string {
	if r == among {
		return " is not in "
	}
	return " is not "
}

// met is a value that relates to what was wanted.
func (r relation) met(have, want string) string {
	switch r {
	case masked:
		return have + " is " + want
	case among:
		return have + " in " + want
	}
	return have
}

// metText lists the selectors of a rule that the packet meets all of, with what it has and, where that may be one of
// several values, what the rule wants. It is empty where every packet does.
func metText(s *Snapshot, r *rule, f *flow) string {
	var parts []string
	for _, field := range r.Match.fields() {
		have, want, is := selectorText(s, r, f, field)
		parts = append(parts, selectorName(field)+" "+is.met(have, want))
	}
	for i := range r.beyond {
		parts = append(parts, metConditionText(s, &r.beyond[i], f))
	}
	return strings.Join(parts, ", ")
}

// selectorName is the key of a rule's selector.
func selectorName(f Field) string {
	if f == FieldMark {
		return "fwmark"
	}
	return f.String()
}

// fields are those that the selector asks something of, without Beyond, in the order in which mismatch tries them.
func (m *Selector) fields() (list []Field) {
	for _, f := range [...]struct {
		field Field
		asked bool
	}{
		{FieldFrom, m.From.IsValid()}, {FieldTo, m.To.IsValid()}, {FieldIngress, m.HasIngress}, {FieldGroup, m.HasGroup},
		{FieldMark, m.HasMark}, {FieldTOS, m.HasTOS}, {FieldDSCP, m.HasDSCP}, {FieldProto, m.HasProto},
		{FieldSport, m.Sport.Kind != PortAny}, {FieldDport, m.Dport.Kind != PortAny}, {FieldFlowLabel, m.HasFlow},
	} {
		if f.asked {
			list = append(list, f.field)
		}
	}
	return list
}

// selectorText is what the packet has in a field, what the rule wants, and how the two relate.
func selectorText(s *Snapshot, r *rule, f *flow, field Field) (have, want string, is relation) {
	k, m := f.key, &r.Match
	switch field {
	case FieldFrom:
		return f.src.String(), m.From.String(), among
	case FieldTo:
		return f.dst.String(), m.To.String(), among
	case FieldIngress:
		return s.ingressText(k), s.ingressText(&packet.Key{Ingress: m.ingress()}), equal
	case FieldGroup:
		return s.groupText(f.group), s.groupText(m.Group), equal
	case FieldMark:
		want, is = maskedText(m.Mark, m.MarkMask, AllBits)
		return fmt.Sprintf("0x%x", f.mark), want, is
	case FieldTOS:
		mask := uint8(tosMask)
		if k.Family == packet.IPv6 {
			mask = dscpMask
		}
		return fmt.Sprintf("0x%02x & 0x%02x", f.tos, mask), fmt.Sprintf("0x%02x", m.TOS), masked
	case FieldDSCP:
		want, is = dscpText(m.DSCP), equal
		if m.DSCPMask != 63 {
			want, is = fmt.Sprintf("%d/0x%02x", m.DSCP, m.DSCPMask), masked
		}
		return dscpText(f.tos >> 2), want, is
	case FieldProto:
		return protoText(k.Proto), protoText(m.Proto), equal
	case FieldSport:
		want, is = m.Sport.text()
		return s.portText(f.sport, k), want, is
	case FieldDport:
		want, is = m.Dport.text()
		return s.portText(f.dport, k), want, is
	}
	want, is = maskedText(m.FlowLabel, m.FlowMask, flowLabelMax)
	return fmt.Sprintf("0x%x", k.FlowLabel), want, is
}

// maskedText is a value with its mask, unless that has all bits of the field.
func maskedText(value, mask, all uint32) (string, relation) {
	if mask == all {
		return fmt.Sprintf("0x%x", value), equal
	}
	return fmt.Sprintf("0x%x/0x%x", value, mask), masked
}

// portText is a port as a rule sees it, and why that is 0 where the packet has none for rules.
func (s *Snapshot) portText(port uint16, k *packet.Key) string {
	text := fmt.Sprint(port)
	switch {
	case !s.isWhole(k):
		text += " (a fragment)"
	case !hasPorts(k):
		text += " (" + protoText(k.Proto) + ")"
	}
	return text
}

func (m *PortMatch) text() (string, relation) {
	switch {
	case m.Kind == PortMask:
		return fmt.Sprintf("0x%x/0x%x", m.Value, m.Mask), masked
	case m.Lo == m.Hi:
		return fmt.Sprint(m.Lo), equal
	}
	return fmt.Sprintf("%d-%d", m.Lo, m.Hi), among
}

// actionText says what a rule does that matched.
func actionText(s *Snapshot, r *rule, f *flow) string {
	switch r.Action {
	case RuleLookup:
		return "lookup " + s.TableName(r.Table)
	case RuleGoto:
		if r.jump[familyIndex(f.key.Family)] == None {
			return fmt.Sprintf("goto %d, which is not there: goes on", r.Goto)
		}
		return fmt.Sprintf("goto %d", r.Goto)
	}
	return r.Action.String()
}

// String is the word of ip-rule(8) for the action.
func (a RuleAction) String() string {
	if int(a) < len(ruleActions) {
		return ruleActions[a]
	}
	return "unknown"
}

var ruleActions = [...]string{"lookup", "goto", "nop", "blackhole", "unreachable", "prohibit"}

// routeText says what a route does.
func routeText(s *Snapshot, r *fib.Route) string {
	text := ""
	switch {
	case r.Action == fib.Lookup:
		text = "lookup " + s.TableName(r.Target)
	case r.Action != fib.Unicast:
		text = r.Action.String()
	case len(r.Hops) == 1:
		text = hopText(s, &r.Hops[0])
	default:
		text = fmt.Sprintf("%d next hops", len(r.Hops))
	}
	if r.TOS != 0 {
		text += fmt.Sprintf(" tos 0x%02x", r.TOS)
	}
	if r.Metric != 0 {
		text += fmt.Sprintf(" metric %d", r.Metric)
	}
	return text
}

func hopText(s *Snapshot, h *fib.NextHop) string {
	if h.OnLink() {
		return "on link at " + s.PortName(h.Port)
	}
	return fmt.Sprintf("via %v at %s", h.Gateway, s.PortName(h.Port))
}

// onMissText says what a miss of the table leads to.
func onMissText(s *Snapshot, t *table) string {
	switch t.onMiss {
	case MissUnreachable:
		return "unreachable"
	case MissProhibit:
		return "prohibit"
	case MissBlackhole:
		return "blackhole"
	case MissLookup:
		return "lookup " + s.TableName(t.target)
	}
	return "falls through"
}

// ingressText is the name of the port that the packet came in on, or lo for one of the router's own.
func (s *Snapshot) ingressText(k *packet.Key) string {
	if k.Ingress == LocalOutput {
		return "lo"
	}
	return s.PortName(k.Ingress)
}

// groupText is the name of an interface group, or its number where no port gives it one.
func (s *Snapshot) groupText(group uint32) string {
	if group == 0 {
		return "none"
	}
	for i := range s.Ports {
		if s.Ports[i].Group == group && s.Ports[i].GroupName != "" {
			return s.Ports[i].GroupName
		}
	}
	return fmt.Sprint(group)
}

func protoText(p uint8) string {
	if text := packet.Protocols.Text(p); text != "" {
		return text
	}
	return fmt.Sprintf("protocol %d", p)
}

// dscpText is a code point by name, if it has one; 0 is plain.
func dscpText(dscp uint8) string {
	if dscp == 0 {
		return "0"
	}
	return namedText(packet.DSCPs, dscp)
}
