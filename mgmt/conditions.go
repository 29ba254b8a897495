package mgmt

import (
	"strings"

	"weir/policy"
	"weir/policy/packet"
)

// selectors are the conditions of a statement by key. Those beyond rules in Linux are also selectors of a rule.
var selectors = map[string]policy.Field{
	"from": policy.FieldFrom, "to": policy.FieldTo, "iif": policy.FieldIngress, "iif-group": policy.FieldGroup,
	"fwmark": policy.FieldMark, "mark": policy.FieldMark, "tagged": policy.FieldMark, "tos": policy.FieldTOS,
	"dscp": policy.FieldDSCP, "proto": policy.FieldProto, "sport": policy.FieldSport, "dport": policy.FieldDport,
	"flowlabel": policy.FieldFlowLabel, "icmp-type": policy.FieldICMPType, "icmp-code": policy.FieldICMPCode,
	"tcp-flags": policy.FieldTCPFlags, "length": policy.FieldLength, "ttl": policy.FieldTTL, "fragment": policy.FieldFragment,
}

var notKeys = section{name: "not", keys: []string{"not"}}

// decodeCondition reads what a statement asks of a field: a value, a list of values of which one must be met, $set for
// the members of a set, also in a list, or {not: …} around one of these.
func (d *decoder) decodeCondition(name string, version uint8, v *node, p *path) (policy.Condition, bool) {
	errors := d.found.errors
	c := policy.Condition{Field: selectors[name]}
	if v.kind == mapping {
		inner, innerPath := (*node)(nil), p
		d.fields(v, p, &notKeys, func(_ key, v *node, p *path) { inner, innerPath = v, p })
		d.required(v, p, "not", inner != nil)
		if inner == nil {
			return c, false
		}
		c.Not, v, p = true, inner, innerPath
	}
	switch {
	case v.kind == sequence && len(v.items) == 0:
		d.errorf(v.at, p, "the list is empty, so nothing could match")
	case v.kind == sequence:
		for i := range v.items {
			d.decodeValue(&c, name, version, &v.items[i], p.at(i))
		}
	default:
		d.decodeValue(&c, name, version, v, p)
		if set, ok := strings.CutPrefix(v.text, "$"); ok {
			c.Set = set
		}
	}
	return c, d.found.errors == errors
}

// decodeValue adds one value, or the members of a set, to a condition.
func (d *decoder) decodeValue(c *policy.Condition, name string, version uint8, v *node, p *path) {
	if set, ok := strings.CutPrefix(v.text, "$"); ok && v.kind == scalar {
		switch name {
		case "iif", "iif-group", "tagged", "tcp-flags", "fragment":
			d.errorf(v.at, p, "%s takes names, and a set has prefixes or numbers", name)
		default:
			d.addSet(c, set, fieldLimit(c.Field), v, p)
		}
		return
	}
	if c.Field == policy.FieldFrom || c.Field == policy.FieldTo {
		if prefix := d.selectorPrefix(v, p); prefix.IsValid() {
			c.Prefixes = append(c.Prefixes, prefix)
		}
		return
	}
	if r, ok := d.decodeNumber(name, version, v, p); ok {
		c.Numbers = append(c.Numbers, r)
	}
}

// fieldLimit is the largest number that a field can have.
func fieldLimit(f policy.Field) uint32 {
	switch f {
	case policy.FieldMark:
		return policy.AllBits
	case policy.FieldDSCP:
		return 0x3f
	case policy.FieldSport, policy.FieldDport, policy.FieldLength:
		return 0xffff
	case policy.FieldFlowLabel:
		return 0xfffff
	}
	return 0xff
}

// decodeNumber reads one value of a field that is a number, in the words of its selector.
func (d *decoder) decodeNumber(name string, version uint8, v *node, p *path) (r policy.Range, ok bool) {
	field := selectors[name]
	limit := fieldLimit(field)
	exactly := func(n uint32, ok bool) (policy.Range, bool) {
		return policy.Range{Lo: n, Hi: n, Mask: policy.AllBits}, ok
	}
	switch name {
	case "iif":
		if v.text == "lo" {
			return exactly(uint32(policy.LocalOutput), true)
		}
		port, ok := d.port(v, p)
		return exactly(uint32(port), ok)
	case "iif-group":
		return exactly(d.group(v, p))
	case "fwmark", "mark":
		mark, _, ok := d.plainMark(v, p)
		return maskRange(mark, limit), ok
	case "tagged":
		mark, ok := d.tag(v, p)
		return maskRange(mark, limit), ok
	}
	text, ok := d.text(v, p, valueWords[name])
	if !ok {
		return r, false
	}
	var wrong string
	var m masked
	switch name {
	case "tos":
		var n uint64
		n, ok = d.number(v, p, 0, 0xff)
		if ok && n&3 != 0 {
			wrong = "the lower two bits of a TOS are ECN, which routing ignores"
		}
		r, _ = exactly(uint32(n), true)
	case "dscp":
		m, wrong = parseDSCP(text)
		r = maskRange(m, limit)
	case "proto":
		proto, known := parseProtocol(text)
		if !known {
			d.errorf(v.at, p, "expected a protocol by name or number (0 to 255), found %s%s", v, d.suggest(text, packet.Protocols.All()))
		}
		return exactly(uint32(proto), known)
	case "sport", "dport":
		var ports policy.PortMatch
		ports, wrong = parsePorts(text)
		r = policy.Range{Lo: uint32(ports.Lo), Hi: uint32(ports.Hi), Mask: policy.AllBits}
		if ports.Kind == policy.PortMask {
			r = maskRange(masked{uint32(ports.Value), uint32(ports.Mask)}, limit)
		}
	case "flowlabel":
		m, _, wrong = parseMasked(text, limit)
		r = maskRange(m, limit)
	case "icmp-type", "icmp-code":
		return d.decodeICMP(name, version, text, v, p)
	case "tcp-flags":
		m, wrong = parseTCPFlags(text)
		r = maskRange(m, limit)
	case "length", "ttl":
		r, wrong = parseRange(text, limit)
	case "fragment":
		word, known := d.word(v, p, "none", "first", "later")
		return exactly(map[string]uint32{"first": uint32(packet.FragmentFirst), "later": uint32(packet.FragmentLater)}[word], known)
	}
	if wrong != "" {
		d.errorf(v.at, p, "%s", withFound(wrong, v.String()))
	}
	return r, ok && wrong == ""
}

// valueWords say what a value of a selector is, where something else was found.
var valueWords = map[string]string{
	"tos": "a TOS", "dscp": "a DSCP", "proto": "a protocol", "sport": "a port", "dport": "a port", "flowlabel": "a flow label",
	"icmp-type": "an ICMP type", "icmp-code": "an ICMP code", "tcp-flags": "TCP flags", "length": "a length", "ttl": "a TTL",
	"fragment": "none, first or later",
}

// maskRange is VALUE/MASK, of which a mask of all the field's bits is the number itself.
func maskRange(m masked, all uint32) policy.Range {
	v := m.value & m.mask
	if m.mask == all {
		return policy.Range{Lo: v, Hi: v, Mask: policy.AllBits}
	}
	return policy.Range{Lo: v, Hi: v, Mask: m.mask}
}

// versionOf is the family whose names of ICMP types and codes a selector means, as far as its neighbours tell: by the
// protocol, and else by the family. 0 is either.
func versionOf(protos []policy.Range, family uint8) uint8 {
	is := func(proto uint8) bool {
		return len(protos) == 1 && protos[0].Lo == uint32(proto) && protos[0].Hi == uint32(proto)
	}
	switch {
	case is(packet.ProtoICMP):
		return packet.IPv4
	case is(packet.ProtoICMPv6):
		return packet.IPv6
	}
	return family
}

// decodeICMP reads an ICMP type or code by name or number. Names mean different numbers in ICMP and ICMPv6.
func (d *decoder) decodeICMP(name string, version uint8, text string, v *node, p *path) (r policy.Range, ok bool) {
	names := packet.ICMPTypes
	if name == "icmp-code" {
		names = packet.ICMPCodes
	}
	if r, wrong := parseRange(text, 0xff); wrong == "" {
		return r, true
	}
	n4, in4 := names(packet.IPv4).Number(text)
	n6, in6 := names(packet.IPv6).Number(text)
	n := n4
	switch {
	case version == packet.IPv4 && in4, version == 0 && in4 && !in6:
	case version == packet.IPv6 && in6, version == 0 && in6 && (!in4 || n4 == n6):
		n = n6
	case version == 0 && in4:
		d.errorf(v.at, p, "%s is %d in ICMP and %d in ICMPv6: add proto: icmp or proto: icmpv6", clip(text), n4, n6)
		return r, false
	case version == packet.IPv4 && in6:
		d.errorf(v.at, p, "%s is of ICMPv6, and proto or family say ICMP", clip(text))
		return r, false
	case version == packet.IPv6 && in4:
		d.errorf(v.at, p, "%s is of ICMP, and proto or family say ICMPv6", clip(text))
		return r, false
	default:
		known := func(yield func(string) bool) {
			for _, family := range []uint8{packet.IPv4, packet.IPv6} {
				for text := range names(family).All() {
					if (version == 0 || version == family) && !yield(text) {
						return
					}
				}
			}
		}
		d.errorf(v.at, p, "expected %s by name or number (0 to 255), found %s%s", valueWords[name], v, d.suggest(text, known))
		return r, false
	}
	return policy.Range{Lo: uint32(n), Hi: uint32(n), Mask: policy.AllBits}, true
}
