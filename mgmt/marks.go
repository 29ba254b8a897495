package mgmt

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strings"

	"weir/policy"
	"weir/policy/packet"
)

var (
	statementKeys = section{name: "marks", keys: []string{"name", "match", "then"}}
	matchKeys     = section{name: "match", keys: []string{
		"not", "from", "to", "iif", "iif-group", "mark", "fwmark", "tagged", "tos", "dscp", "proto", "sport", "dport", "flowlabel", "family",
		"icmp-type", "icmp-code", "tcp-flags", "length", "ttl", "fragment",
	}}
	thenKeys = section{name: "then", keys: []string{"mark", "tag", "dscp", "jump", "goto"}}
)

// decodeMarks reads the mark program: first what its chains are called, then their statements.
func (d *decoder) decodeMarks(n *node, p *path) {
	d.entries(n, p, "chain names to lists of statements", func(k key, _ *node, p *path) {
		if wrong := checkName(k.text); wrong != "" {
			d.errorf(k.at, p, "%s", wrong)
		}
		if len(d.policy.Marks) >= policy.MaxChains {
			d.errorf(k.at, p, "more than %d chains", policy.MaxChains)
			return
		}
		d.names.chains[k.text] = uint16(len(d.policy.Marks))
		d.policy.Marks = append(d.policy.Marks, policy.Chain{Name: k.text})
		d.places.chains = append(d.places.chains, k.at)
		d.places.statements = append(d.places.statements, nil)
	})
	for i := range n.keys {
		name := n.keys[i].text
		chain, ok := d.names.chains[name]
		if ok && d.places.chains[chain] == n.keys[i].at { // not a double
			d.decodeChain(chain, &n.items[i], p.to(name))
		}
	}
}

func (d *decoder) decodeChain(chain uint16, n *node, p *path) {
	c := &d.policy.Marks[chain]
	names := map[string]spot{}
	var contents []string // of statements without a name; empty for the others
	d.list(n, p, "statements", func(_ int, v *node, p *path) {
		if len(c.Statements) >= policy.MaxStatements {
			d.errorf(v.at, p, "more than %d statements", policy.MaxStatements)
			return
		}
		st, content := d.decodeStatement(names, v, p)
		c.Statements = append(c.Statements, st)
		d.places.statements[chain] = append(d.places.statements[chain], v.at)
		contents = append(contents, content)
	})
	for i, content := range contents {
		if content != "" {
			c.Statements[i].Name = statementName(names, content)
		}
	}
}

// statementName names a statement after its content, as generateName does a rule.
func statementName(names map[string]spot, content string) string {
	base := fmt.Sprintf("s-%x", sha256.Sum256([]byte(content)))[:10]
	name := base
	for i := 2; ; i++ {
		if _, taken := names[name]; !taken {
			break
		}
		name = fmt.Sprintf("%s-%d", base, i)
	}
	names[name] = spot{}
	return name
}

// decodeStatement reads a statement; content is empty if it has a name.
func (d *decoder) decodeStatement(names map[string]spot, n *node, p *path) (st policy.Statement, content string) {
	named, does := false, false
	ok := d.fields(n, p, &statementKeys, func(k key, v *node, p *path) {
		switch k.text {
		case "name":
			named = true
			st.Name = d.statementName(names, v, p)
		case "match":
			st.Match = d.decodeMatch(v, p)
		case "then":
			does = true
			st.Then = d.decodeThen(v, p)
		}
	})
	if ok {
		d.required(n, p, "then", does)
	}
	if !named {
		content = contentOf(n)
	}
	return st, content
}

func (d *decoder) statementName(names map[string]spot, v *node, p *path) string {
	text, ok := d.text(v, p, "a name")
	if !ok {
		return ""
	}
	if wrong := checkName(text); wrong != "" {
		d.errorf(v.at, p, "%s; found %s", wrong, v)
		return ""
	}
	if first, taken := names[text]; taken {
		d.errorf(v.at, p, "%s is the name of the statement at %s already", text, d.position(first))
		return ""
	}
	names[text] = v.at
	return text
}

// contentOf is a text that two values share only if they say the same, whatever the order of their keys.
func contentOf(n *node) string {
	var parts []string
	switch n.kind {
	case scalar:
		return fmt.Sprintf("%q", n.text)
	case mapping:
		for i := range n.keys {
			parts = append(parts, fmt.Sprintf("%q:", n.keys[i].text)+contentOf(&n.items[i]))
		}
		slices.Sort(parts)
		return "{" + strings.Join(parts, ",") + "}"
	case sequence:
		for i := range n.items {
			parts = append(parts, contentOf(&n.items[i]))
		}
		return "[" + strings.Join(parts, ",") + "]"
	}
	return "~"
}

// decodeMatch reads what a statement asks of a packet. ICMP names come last: what they mean depends on the others.
func (d *decoder) decodeMatch(n *node, p *path) (m policy.Match) {
	type value struct {
		name string
		v    *node
		p    *path
	}
	var icmp []value
	d.fields(n, p, &matchKeys, func(k key, v *node, p *path) {
		switch k.text {
		case "not":
			m.Not, _ = d.boolean(v, p)
		case "family":
			m.Family = d.decodeFamilies(v, p)
		case "icmp-type", "icmp-code":
			icmp = append(icmp, value{k.text, v, p})
		default:
			if c, ok := d.decodeCondition(k.text, 0, v, p); ok {
				m.Conditions = append(m.Conditions, c)
			}
		}
	})
	version := matchVersion(&m)
	for _, i := range icmp {
		if c, ok := d.decodeCondition(i.name, version, i.v, i.p); ok {
			m.Conditions = append(m.Conditions, c)
		}
	}
	return m
}

// matchVersion is the family whose ICMP a match speaks of, 0 where it may be either.
func matchVersion(m *policy.Match) uint8 {
	var protos []policy.Range
	family := m.Family
	for i := range m.Conditions {
		c := &m.Conditions[i]
		if c.Field == policy.FieldProto && !c.Not {
			protos = c.Numbers
		}
		if len(c.Prefixes) > 0 && family == 0 {
			family = familyOf(c.Prefixes[0].Addr())
			for _, p := range c.Prefixes {
				if familyOf(p.Addr()) != family {
					family = 0
					break
				}
			}
		}
	}
	return versionOf(protos, family)
}

// decodeFamilies reads the families of a match: one, a list, or {not: …}. It returns 0 for both.
func (d *decoder) decodeFamilies(v *node, p *path) uint8 {
	not := false
	if v.kind == mapping {
		inner := (*node)(nil)
		d.fields(v, p, &notKeys, func(_ key, v *node, _ *path) { inner = v })
		d.required(v, p, "not", inner != nil)
		if inner == nil {
			return 0
		}
		not, v, p = true, inner, p.to("not")
	}
	items := []node{*v}
	if v.kind == sequence {
		items = v.items
	}
	has := map[uint8]bool{}
	for i := range items {
		if f, ok := d.family(&items[i], p); ok {
			has[f] = true
		} else {
			return 0
		}
	}
	four, six := has[packet.IPv4] != not, has[packet.IPv6] != not
	switch {
	case four && !six:
		return packet.IPv4
	case six && !four:
		return packet.IPv6
	case !four:
		d.errorf(v.at, p, "no family is left, so nothing could match")
	}
	return 0
}

// decodeThen reads what a statement does.
func (d *decoder) decodeThen(n *node, p *path) (list []policy.Then) {
	d.list(n, p, "actions", func(i int, v *node, p *path) {
		if i > 0 && len(list) > 0 {
			switch last := list[len(list)-1].Action; last {
			case policy.MarkSet, policy.MarkDSCP:
			default:
				d.errorf(v.at, p, "nothing follows %v in a statement; what comes next is a statement of its own", last)
				return
			}
		}
		if then, ok := d.decodeAction(v, p); ok {
			list = append(list, then)
		}
	})
	return list
}

// endings are the actions of one word.
var endings = map[string]policy.MarkAction{
	"accept": policy.MarkAccept, "drop": policy.MarkDrop, "reject": policy.MarkReject, "return": policy.MarkReturn,
}

func (d *decoder) decodeAction(v *node, p *path) (then policy.Then, ok bool) {
	if v.kind != mapping {
		if v.kind == scalar && slices.Contains(thenKeys.keys, v.text) {
			d.errorf(v.at, p, "%s needs a value: {%s: …}", v.text, v.text)
			return then, false
		}
		word, ok := d.word(v, p, "accept", "drop", "reject", "return", "{mark: VALUE/MASK}", "{tag: NAME}", "{dscp: DSCP}", "{jump: CHAIN}", "{goto: CHAIN}")
		return policy.Then{Action: endings[word]}, ok
	}
	if len(v.keys) != 1 {
		d.errorf(v.at, p, "an action is one key and its value; a statement does several as a list")
		return then, false
	}
	d.fields(v, p, &thenKeys, func(k key, v *node, p *path) {
		switch k.text {
		case "mark":
			then.Action = policy.MarkSet
			var mark masked
			mark, ok = d.newMark(v, p)
			then.Mark, then.Mask = mark.value, mark.mask
		case "tag":
			then.Action = policy.MarkSet
			var mark masked
			mark, ok = d.tag(v, p)
			then.Mark, then.Mask = mark.value, mark.mask
		case "dscp":
			then.Action = policy.MarkDSCP
			then.DSCP, ok = d.newDSCP(v, p)
		case "jump", "goto":
			then.Action = policy.MarkJump
			if k.text == "goto" {
				then.Action = policy.MarkGoto
			}
			then.Chain, ok = d.chain(v, p)
		}
	})
	return then, ok
}

// newMark reads the mark that packets get.
func (d *decoder) newMark(v *node, p *path) (masked, bool) {
	m, _, ok := d.plainMark(v, p)
	if ok && m.mask == 0 {
		d.errorf(v.at, p, "mask 0 marks nothing")
		return m, false
	}
	return m, ok
}

// newDSCP reads the DSCP that packets get.
func (d *decoder) newDSCP(v *node, p *path) (dscp uint8, ok bool) {
	text, ok := d.text(v, p, "a DSCP")
	if !ok {
		return 0, false
	}
	m, wrong := parseDSCP(text)
	if wrong != "" || m.mask != 0x3f {
		d.errorf(v.at, p, "expected a DSCP from 0 to 63, or a name such as ef, af11 or cs1, found %s", v)
		return 0, false
	}
	return uint8(m.value), true
}

// chain resolves the name of a chain.
func (d *decoder) chain(v *node, p *path) (uint16, bool) {
	text, ok := d.text(v, p, "the name of a chain")
	if !ok {
		return 0, false
	}
	index, ok := d.names.chains[text]
	if !ok {
		d.errorf(v.at, p, "no chain is called %s%s", clip(text), d.suggest(text, maps.Keys(d.names.chains)))
	}
	return index, ok
}
