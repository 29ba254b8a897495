package mgmt

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"

	"weir/policy"
	"weir/policy/packet"
)

var ruleKeys = section{name: "rules", keys: []string{
	"name", "priority", "not", "from", "to", "iif", "iif-group", "fwmark", "tagged", "tos", "dscp", "proto", "sport", "dport",
	"flowlabel", "family",
	"icmp-type", "icmp-code", "tcp-flags", "length", "ttl", "fragment", "lookup", "goto", "action", "suppress-prefixlength", "suppress-ifgroup",
}}

// addDefaultRules adds the rules that Linux starts with. They come before rules of the same priority, since they are
// older.
func (d *decoder) addDefaultRules() {
	d.policy.Rules = policy.DefaultRules(tableLocal, tableMain, tableDefault)
	d.places.rules, d.places.items = make([]spot, len(d.policy.Rules)), make([]int, len(d.policy.Rules))
}

// decodeRules reads the rules behind the default ones, names those that have no name, and brings all into the order
// of the walk, so that the index of a rule here is its index in the snapshot.
func (d *decoder) decodeRules(n *node, p *path) {
	for i := range d.policy.Rules {
		d.names.rules[d.policy.Rules[i].Name] = spot{}
	}
	var contents []string // of rules without a name, by rule; empty for the others
	first := len(d.policy.Rules)
	d.list(n, p, "rules", func(item int, v *node, p *path) {
		if len(d.policy.Rules) >= policy.MaxRules {
			d.errorf(v.at, p, "more than %d rules", policy.MaxRules)
			return
		}
		r, content, ok := d.decodeRule(v, p)
		if !ok {
			return
		}
		d.policy.Rules = append(d.policy.Rules, r)
		d.places.rules = append(d.places.rules, v.at)
		d.places.items = append(d.places.items, item)
		contents = append(contents, content)
	})
	for i, content := range contents {
		if content != "" {
			d.policy.Rules[first+i].Name = d.generateName(content, d.policy.Rules[first+i].Priority)
		}
	}

	order := make([]int, len(d.policy.Rules))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Compare(d.policy.Rules[a].Priority, d.policy.Rules[b].Priority)
	})
	rules, places, items := make([]policy.Rule, len(order)), make([]spot, len(order)), make([]int, len(order))
	for i, j := range order {
		rules[i], places[i], items[i] = d.policy.Rules[j], d.places.rules[j], d.places.items[j]
	}
	d.policy.Rules, d.places.rules, d.places.items = rules, places, items
}

// generateName names a rule after its content, so that its counters survive commits that do not change it.
func (d *decoder) generateName(content string, priority uint32) string {
	base := fmt.Sprintf("%d-%x", priority, sha256.Sum256([]byte(content)))[:len(fmt.Sprint(priority))+9]
	name := base
	for i := 2; ; i++ {
		if _, taken := d.names.rules[name]; !taken {
			break
		}
		name = fmt.Sprintf("%s-%d", base, i)
	}
	d.names.rules[name] = spot{}
	return name
}

// draftRule is a rule while its section is read.
type draftRule struct {
	policy.Rule
	given   map[string]place
	content []string // key and text of each field, for the generated name
	icmp    []icmpValue
}

// icmpValue is an ICMP type or code, whose name means what the protocol says.
type icmpValue struct {
	key string
	v   *node
	p   *path
}

// decodeRule reads a rule; content is empty if the rule has a name.
func (d *decoder) decodeRule(n *node, p *path) (rule policy.Rule, content string, ok bool) {
	errors := d.found.errors
	r := &draftRule{Rule: policy.Rule{SuppressPrefixLength: -1}, given: make(map[string]place, 8)}
	if !d.fields(n, p, &ruleKeys, func(k key, v *node, p *path) {
		r.given[k.text] = place{v.at, p}
		r.content = append(r.content, k.text+" "+v.text)
		if strings.HasPrefix(v.text, "$") && k.text != "name" {
			d.errorf(v.at, p, "a rule takes one value; named sets are for statements of marks")
			return
		}
		d.decodeRuleField(r, k.text, v, p)
	}) {
		return policy.Rule{}, "", false
	}
	for _, i := range r.icmp {
		d.decodeRuleBeyond(r, i.key, i.v, i.p)
	}
	d.required(n, p, "priority", r.has("priority"))
	d.checkRuleAction(r, n, p)
	d.checkRuleFamily(r)
	if r.has("tagged") && r.has("fwmark") {
		d.errorAt(r, "tagged", "a rule has one of fwmark and tagged, which is a name for it")
	}
	if r.has("tos") && r.has("dscp") {
		d.errorAt(r, "tos", "a rule has one of tos and dscp, as in Linux")
	}
	if d.found.errors != errors {
		return policy.Rule{}, "", false
	}
	if !r.has("name") {
		slices.Sort(r.content)
		content = strings.Join(r.content, "\n")
	}
	return r.Rule, content, true
}

func (r *draftRule) has(key string) bool {
	_, ok := r.given[key]
	return ok
}

// errorAt reports a problem with the value of a key that the rule has.
func (d *decoder) errorAt(r *draftRule, key, format string, args ...any) {
	at := r.given[key]
	d.errorf(at.at, at.p, format, args...)
}

func (d *decoder) decodeRuleField(r *draftRule, key string, v *node, p *path) {
	m := &r.Match
	switch key {
	case "name":
		d.decodeRuleName(r, v, p)
	case "priority":
		priority, _ := d.number(v, p, 0, math.MaxUint32)
		r.Priority = uint32(priority)
	case "not":
		r.Not, _ = d.boolean(v, p)
	case "from":
		m.From = d.selectorPrefix(v, p)
	case "to":
		m.To = d.selectorPrefix(v, p)
	case "iif":
		if v.text == "lo" {
			m.HasIngress, m.IngressLo = true, true
			return
		}
		m.Ingress, m.HasIngress = d.port(v, p)
	case "iif-group":
		m.Group, m.HasGroup = d.group(v, p)
	case "fwmark":
		if mark, ok := d.mark(v, p); ok {
			m.Mark, m.MarkMask, m.HasMark = mark.value, mark.mask, true
		}
	case "tagged":
		mark, ok := d.tag(v, p)
		m.Mark, m.MarkMask, m.HasMark = mark.value, mark.mask, ok
	case "tos":
		tos, ok := d.number(v, p, 0, 0xff)
		m.TOS, m.HasTOS = uint8(tos), ok
		switch {
		case ok && tos == 0:
			d.errorf(v.at, p, "tos 0 is no condition in Linux; dscp: 0 is one")
		case ok && tos&3 != 0:
			d.errorf(v.at, p, "the lower two bits of %#x are ECN, which routing ignores", tos)
		}
	case "dscp":
		if text, ok := d.text(v, p, "a DSCP"); ok {
			dscp, wrong := parseDSCP(text)
			if wrong != "" {
				d.errorf(v.at, p, "%s, found %s", wrong, v)
				return
			}
			m.DSCP, m.DSCPMask, m.HasDSCP = uint8(dscp.value), uint8(dscp.mask), true
		}
	case "proto":
		if text, ok := d.text(v, p, "a protocol"); ok {
			if m.Proto, m.HasProto = parseProtocol(text); !m.HasProto {
				d.errorf(v.at, p, "expected a protocol by name or number (0 to 255), found %s%s", v, d.suggest(text, packet.Protocols.All()))
			}
		}
	case "sport":
		m.Sport = d.selectorPorts(v, p)
	case "dport":
		m.Dport = d.selectorPorts(v, p)
	case "flowlabel":
		if text, ok := d.text(v, p, "a flow label"); ok {
			flow, _, wrong := parseMasked(text, 0xfffff)
			if wrong != "" {
				d.errorf(v.at, p, "%s, found %s", wrong, v)
				return
			}
			m.FlowLabel, m.FlowMask, m.HasFlow = flow.value, flow.mask, true
		}
	case "family":
		if family, ok := d.family(v, p); ok {
			m.Family = family
		}
	case "icmp-type", "icmp-code":
		r.icmp = append(r.icmp, icmpValue{key, v, p})
	case "tcp-flags", "length", "ttl", "fragment":
		d.decodeRuleBeyond(r, key, v, p)
	case "lookup":
		r.Action = policy.RuleLookup
		r.Table, _ = d.table(v, p)
	case "goto":
		target, _ := d.number(v, p, 0, math.MaxUint32)
		r.Action, r.Goto = policy.RuleGoto, uint32(target)
	case "action":
		switch word, _ := d.word(v, p, "nop", "blackhole", "unreachable", "prohibit"); word {
		case "nop":
			r.Action = policy.RuleNop
		case "blackhole":
			r.Action = policy.RuleBlackhole
		case "unreachable":
			r.Action = policy.RuleUnreachable
		case "prohibit":
			r.Action = policy.RuleProhibit
		}
	case "suppress-prefixlength":
		if length, ok := d.number(v, p, 0, 128); ok {
			r.SuppressPrefixLength = int(length)
		}
	case "suppress-ifgroup":
		r.SuppressGroup, r.HasSuppressGroup = d.group(v, p)
	}
}

// decodeRuleBeyond reads a selector that rules in Linux do not have. As with the others, a rule has one value of it.
func (d *decoder) decodeRuleBeyond(r *draftRule, key string, v *node, p *path) {
	m := &r.Match
	var protos []policy.Range
	if m.HasProto {
		protos = []policy.Range{{Lo: uint32(m.Proto), Hi: uint32(m.Proto)}}
	}
	family := m.Family
	for _, prefix := range []netip.Prefix{m.From, m.To} {
		if prefix.IsValid() {
			family = familyOf(prefix.Addr())
		}
	}
	if number, ok := d.decodeNumber(key, versionOf(protos, family), v, p); ok {
		m.Beyond = append(m.Beyond, policy.Condition{Field: selectors[key], Numbers: []policy.Range{number}})
	}
}

// family reads the name of a family.
func (d *decoder) family(v *node, p *path) (family uint8, ok bool) {
	word, ok := d.word(v, p, "ipv4", "ipv6")
	if word == "ipv6" {
		return packet.IPv6, ok
	}
	return packet.IPv4, ok
}

func (d *decoder) decodeRuleName(r *draftRule, v *node, p *path) {
	text, ok := d.text(v, p, "a name")
	if !ok {
		return
	}
	if wrong := checkName(text); wrong != "" {
		d.errorf(v.at, p, "%s; found %s", wrong, v)
		return
	}
	if first, taken := d.names.rules[text]; taken {
		if first == (spot{}) {
			d.errorf(v.at, p, "%s is the name of a default rule", text)
		} else {
			d.errorf(v.at, p, "%s is the name of the rule at %s already", text, d.position(first))
		}
		return
	}
	d.names.rules[text] = v.at
	r.Name = text
}

func (d *decoder) selectorPrefix(v *node, p *path) netip.Prefix {
	text, ok := d.text(v, p, "a prefix")
	if !ok {
		return netip.Prefix{}
	}
	prefix, wrong := parsePrefix(text)
	if wrong != "" {
		d.errorf(v.at, p, "%s", withFound(wrong, v.String()))
	}
	return prefix
}

func (d *decoder) selectorPorts(v *node, p *path) policy.PortMatch {
	text, ok := d.text(v, p, "a port")
	if !ok {
		return policy.PortMatch{}
	}
	ports, wrong := parsePorts(text)
	if wrong != "" {
		d.errorf(v.at, p, "%s", withFound(wrong, v.String()))
	}
	return ports
}

// checkRuleAction checks that a rule does one thing, and that what belongs to lookup stands with it.
func (d *decoder) checkRuleAction(r *draftRule, n *node, p *path) {
	actions := 0
	for _, key := range []string{"lookup", "goto", "action"} {
		if !r.has(key) {
			continue
		}
		if actions++; actions > 1 {
			d.errorAt(r, key, "a rule has one of lookup, goto and action")
		}
	}
	if actions == 0 {
		d.errorf(n.at, p, "rule does nothing: it needs one of lookup, goto and action")
	}
	for _, key := range []string{"suppress-prefixlength", "suppress-ifgroup"} {
		if r.has(key) && !r.has("lookup") {
			d.errorAt(r, key, "%s belongs to lookup", key)
		}
	}
	if r.has("goto") && r.has("priority") && r.Goto <= r.Priority {
		d.errorAt(r, "goto", "goto goes forward: to a priority above %d", r.Priority)
	}
}

// checkRuleFamily checks that a rule's selectors speak of one family, so that some packet can match.
func (d *decoder) checkRuleFamily(r *draftRule) {
	family, by := uint8(0), ""
	for _, key := range []string{"family", "from", "to", "flowlabel"} {
		f := uint8(0)
		switch m := &r.Match; {
		case key == "family":
			f = m.Family
		case key == "from" && m.From.IsValid():
			f = familyOf(m.From.Addr())
		case key == "to" && m.To.IsValid():
			f = familyOf(m.To.Addr())
		case key == "flowlabel" && m.HasFlow:
			f = packet.IPv6
		}
		switch {
		case f == 0:
		case family == 0:
			family, by = f, key
		case f != family:
			d.errorAt(r, key, "%s is %s and %s is %s: no packet is both", key, familyName(f), by, familyName(family))
			return
		}
	}
	r.Match.Family = family
	if m := &r.Match; m.HasTOS && family != packet.IPv6 && m.TOS > 0x1c {
		d.errorAt(r, "tos", "an IPv4 rule compares the bits 0x1c of the TOS only; use dscp, or family: ipv6")
	}
	if r.SuppressPrefixLength > 32 && family == packet.IPv4 {
		d.errorAt(r, "suppress-prefixlength", "an IPv4 prefix length is at most 32")
	}
}
