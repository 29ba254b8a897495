package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"weir/policy/packet"
)

// linuxDefaults are the rules that Linux begins with (see DefaultRules), as rules of a policy come to be the same.
var linuxDefaults = []LinuxRule{
	{Family: packet.IPv4, Priority: 0, Table: TableLocal, SuppressPrefixLength: -1},
	{Family: packet.IPv4, Priority: 32766, Table: TableMain, SuppressPrefixLength: -1},
	{Family: packet.IPv4, Priority: 32767, Table: TableDefault, SuppressPrefixLength: -1},
	{Family: packet.IPv6, Priority: 0, Table: TableLocal, SuppressPrefixLength: -1},
	{Family: packet.IPv6, Priority: 32766, Table: TableMain, SuppressPrefixLength: -1},
}

// linuxRules are the rules of both families, in the order of the walk. What is left out of it is as good as a rule that
// does nothing, and where a goto would land on such a one, there is one.
func linuxRules(r *report) []LinuxRule {
	var list [2][]LinuxRule
	var landings [2]map[uint32]bool // priorities of rules left out or left to the kernel
	for f := range landings {
		landings[f] = map[uint32]bool{}
	}
	for _, i := range walkOrder(r.policy.Rules) {
		rule := &r.policy.Rules[i]
		selectors, not, why := linuxSelectors(r.policy, rule)
		if why != "" {
			r.rule(i).warnf("kernel routes: left out, since Linux has no rules %s: there packets go on with the next rule", why)
		}
		only, _ := rule.Match.family()
		for f, family := range families {
			if only != 0 && only != family {
				continue
			}
			landings[f][rule.Priority] = true
			for _, m := range selectors {
				if l := newLinuxRule(r.policy, rule, &m, not, family); !slices.Contains(linuxDefaults, l) {
					list[f] = append(list[f], l)
				}
			}
		}
	}
	for f, family := range families {
		list[f] = land(list[f], family, landings[f])
	}
	return slices.Concat(list[0], list[1])
}

// land adds a rule that does nothing wherever a goto leads to a rule of the policy that is not in the list.
func land(list []LinuxRule, family uint8, there map[uint32]bool) []LinuxRule {
	for _, d := range linuxDefaults {
		if d.Family == family {
			delete(there, d.Priority) // the kernel's own is there
		}
	}
	for i := range list {
		delete(there, list[i].Priority)
	}
	for i := range list {
		if target := list[i].Goto; list[i].Action == RuleGoto && there[target] {
			delete(there, target)
			list = append(list, LinuxRule{Family: family, Priority: target, Action: RuleNop, SuppressPrefixLength: -1})
		}
	}
	slices.SortStableFunc(list, func(a, b LinuxRule) int { return int(int64(a.Priority) - int64(b.Priority)) })
	return list
}

func newLinuxRule(p *Policy, r *Rule, m *Selector, not bool, family uint8) LinuxRule {
	l := LinuxRule{Family: family, Priority: r.Priority, Not: not, From: m.From, To: m.To, Mark: m.Mark, MarkMask: m.MarkMask,
		TOS: m.TOS, HasDSCP: m.HasDSCP, DSCP: m.DSCP, DSCPMask: m.DSCPMask, Proto: m.Proto, Sport: m.Sport, Dport: m.Dport,
		FlowLabel: m.FlowLabel, FlowMask: m.FlowMask, Action: r.Action, SuppressPrefixLength: -1}
	switch {
	case m.HasIngress && m.IngressLo:
		l.Ingress = "lo"
	case m.HasIngress:
		l.Ingress = p.Ports[m.Ingress].Name
	}
	switch r.Action {
	case RuleLookup:
		l.Table = p.Tables[r.Table].ID
		l.SuppressPrefixLength, l.HasSuppressGroup = r.SuppressPrefixLength, r.HasSuppressGroup
		if r.HasSuppressGroup {
			l.SuppressGroup = r.SuppressGroup
		}
	case RuleGoto:
		l.Goto = r.Goto
	}
	return l
}

// linuxSelectors are those of rules that in Linux together match what the rule does: one, or more where it is by group, or
// none where nothing matches; not negates each. If Linux has no such rules, why says so: they are none "by icmp-type".
func linuxSelectors(p *Policy, r *Rule) (list []Selector, not bool, why string) {
	m := normalSelector(r.Match)
	if r.Action == RuleLookup && p.Tables[r.Table].Key == BySource {
		return nil, false, fmt.Sprintf("to tables keyed by source, as %s is", p.Tables[r.Table].Name)
	}
	if len(m.Beyond) > 0 {
		var names []string
		for i := range m.Beyond {
			names = append(names, m.Beyond[i].Field.String())
		}
		return nil, false, "by " + strings.Join(names, ", ")
	}
	switch {
	case m.HasTOS && m.HasDSCP:
		return nil, false, "by tos and dscp at once"
	case m.HasProto && m.Proto == 0:
		return nil, false, "by protocol 0"
	case !m.Sport.inLinux() || !m.Dport.inLinux():
		return nil, false, "by port 0 or 65535"
	case !m.HasGroup:
		return []Selector{m}, r.Not, ""
	}
	for i := range p.Ports {
		if p.Ports[i].Group == m.Group && (!m.HasIngress || !m.IngressLo && m.Ingress == uint16(i)) {
			of := m
			of.HasGroup, of.HasIngress, of.IngressLo, of.Ingress = false, true, false, uint16(i)
			list = append(list, of)
		}
	}
	switch {
	case r.Not && len(list) > 1:
		return nil, false, "that negate several ports, which iif-group is there"
	case r.Not && len(list) == 0: // true of everything
		return []Selector{{}}, false, ""
	}
	return list, r.Not, ""
}

// normalSelector leaves out conditions that are always true, and bits that do not count.
func normalSelector(m Selector) Selector {
	if m.Mark &= m.MarkMask; !m.HasMark || m.MarkMask == 0 {
		m.HasMark, m.Mark, m.MarkMask = false, 0, 0
	}
	if !m.HasTOS || m.TOS == 0 {
		m.HasTOS, m.TOS = false, 0
	}
	if m.DSCP &= m.DSCPMask; !m.HasDSCP || m.DSCPMask == 0 {
		m.HasDSCP, m.DSCP, m.DSCPMask = false, 0, 0
	}
	if !m.HasProto {
		m.Proto = 0
	}
	if m.FlowLabel &= m.FlowMask; !m.HasFlow || m.FlowMask == 0 {
		m.HasFlow, m.FlowLabel, m.FlowMask = false, 0, 0
	}
	m.Sport, m.Dport = m.Sport.normal(), m.Dport.normal()
	m.From, m.To = normalPrefix(m.From), normalPrefix(m.To)
	return m
}

func normalPrefix(p netip.Prefix) netip.Prefix {
	if !p.IsValid() || p.Bits() == 0 {
		return netip.Prefix{}
	}
	return p.Masked()
}

// normal is the match in its one form.
func (p PortMatch) normal() PortMatch {
	switch {
	case p.Kind == PortRange && (p.Lo > 0 || p.Hi < 0xffff):
		return PortMatch{Kind: PortRange, Lo: p.Lo, Hi: p.Hi}
	case p.Kind == PortMask && p.Mask == 0xffff:
		return PortMatch{Kind: PortRange, Lo: p.Value, Hi: p.Value}
	case p.Kind == PortMask && p.Mask != 0:
		return PortMatch{Kind: PortMask, Value: p.Value & p.Mask, Mask: p.Mask}
	}
	return PortMatch{}
}

// inLinux reports whether a rule can ask for these ports (fib_rule_port_range_valid in include/net/fib_rules.h, which a
// masked value passes as a range of one).
func (p *PortMatch) inLinux() bool {
	switch p.Kind {
	case PortRange:
		return p.Lo != 0 && p.Hi != 0xffff
	case PortMask:
		return p.Value != 0 && p.Value != 0xffff
	}
	return true
}
