package policy

import (
	"fmt"

	"weir/fib"
	"weir/policy/packet"
)

// mismatchText says how the packet fails a selector: what it has, and what the rule wants.
func mismatchText(s *Snapshot, r *rule, f *flow, bad Field) string {
	k, m := f.key, &r.Match
	switch bad {
	case FieldFrom:
		return fmt.Sprintf("from: %v is not in %v", f.src, m.From)
	case FieldTo:
		return fmt.Sprintf("to: %v is not in %v", f.dst, m.To)
	case FieldIngress:
		want := "lo"
		if !m.IngressLo {
			want = s.PortName(m.Ingress)
		}
		return fmt.Sprintf("iif: %s is not %s", s.ingressText(k), want)
	case FieldGroup:
		return fmt.Sprintf("iif-group: %s is not %s", s.groupText(f.group), s.groupText(m.Group))
	case FieldMark:
		return fmt.Sprintf("fwmark: 0x%x is not 0x%x/0x%x", f.mark, m.Mark, m.MarkMask)
	case FieldTOS:
		mask := uint8(tosMask)
		if k.Family == packet.IPv6 {
			mask = dscpMask
		}
		return fmt.Sprintf("tos: 0x%02x & 0x%02x is not 0x%02x", f.tos, mask, m.TOS)
	case FieldDSCP:
		if m.DSCPMask == 63 {
			return fmt.Sprintf("dscp: %d is not %d", f.tos>>2, m.DSCP)
		}
		return fmt.Sprintf("dscp: %d is not %d/0x%02x", f.tos>>2, m.DSCP, m.DSCPMask)
	case FieldProto:
		return fmt.Sprintf("proto: %s is not %s", protoText(k.Proto), protoText(m.Proto))
	case FieldSport:
		return "sport: " + s.portMismatchText(&m.Sport, f.sport, k)
	case FieldDport:
		return "dport: " + s.portMismatchText(&m.Dport, f.dport, k)
	case FieldFlowLabel:
		return fmt.Sprintf("flowlabel: 0x%x is not 0x%x/0x%x", k.FlowLabel, m.FlowLabel, m.FlowMask)
	}
	return conditionText(s, mismatch(r.beyond, f), f)
}

func (s *Snapshot) portMismatchText(m *PortMatch, port uint16, k *packet.Key) string {
	text := fmt.Sprint(port)
	switch {
	case !s.isWhole(k):
		text += " (a fragment)"
	case !hasPorts(k):
		text += " (" + protoText(k.Proto) + ")"
	}
	switch {
	case m.Kind == PortMask:
		return fmt.Sprintf("%s is not 0x%x/0x%x", text, m.Value, m.Mask)
	case m.Lo == m.Hi:
		return fmt.Sprintf("%s is not %d", text, m.Lo)
	}
	return fmt.Sprintf("%s is not in %d-%d", text, m.Lo, m.Hi)
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
	for _, n := range protoNames {
		if n.number == p {
			return n.name
		}
	}
	return fmt.Sprintf("protocol %d", p)
}
