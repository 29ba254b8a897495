package policy

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"weir/policy/packet"
)

// Filter selects packets, for whoever watches them. It is made for one snapshot, whose ports it knows by index. Any number
// of goroutines may use it.
type Filter struct {
	snapshot   *Snapshot
	conditions []condition
	parsedOnly bool // a condition asks for more than the port
}

// filterFields are the words of a filter; they are those that describe a packet, and a rule's dscp.
var filterFields = [...]struct {
	name  string
	field Field
}{
	{"iif", FieldIngress}, {"src", FieldFrom}, {"dst", FieldTo}, {"proto", FieldProto}, {"sport", FieldSport}, {"dport", FieldDport},
	{"icmp-type", FieldICMPType}, {"icmp-code", FieldICMPCode}, {"tcp-flags", FieldTCPFlags}, {"dscp", FieldDSCP}, {"length", FieldLength},
	{"ttl", FieldTTL}, {"fragment", FieldFragment}, {"flowlabel", FieldFlowLabel},
}

// ParseFilter reads conditions that a packet must meet, all of them:
//
//	iif=PORT src=PREFIX dst=PREFIX proto=tcp sport=NUMBER dport=NUMBER icmp-type=NUMBER icmp-code=NUMBER tcp-flags=syn,ack
//	dscp=NUMBER length=NUMBER ttl=NUMBER fragment=none|first|later flowlabel=NUMBER
//
// with several values after commas, of which one must fit (but of tcp-flags all must be set), ranges LOW-HIGH of numbers,
// and != where none may fit. What a packet does not have meets no condition on it, as for marks. No conditions select all.
func (s *Snapshot) ParseFilter(words []string) (*Filter, error) {
	var list []Condition
	f := &Filter{snapshot: s}
	for _, word := range words {
		name, values, ok := strings.Cut(word, "=")
		if !ok {
			return nil, fmt.Errorf("parse filter: %q is not name=value", word)
		}
		c := Condition{}
		name, c.Not = strings.CutSuffix(name, "!")
		for _, known := range filterFields {
			if known.name == name {
				c.Field = known.field
			}
		}
		if c.Field == FieldNone {
			return nil, fmt.Errorf("parse filter: unknown name %q", name)
		}
		if err := s.filterValues(&c, values); err != nil {
			return nil, fmt.Errorf("parse filter: %s: %w", name, err)
		}
		f.parsedOnly = f.parsedOnly || c.Field != FieldIngress
		list = append(list, c)
	}
	f.conditions = compileConditions(list)
	return f, nil
}

// filterValues reads the values of one condition.
func (s *Snapshot) filterValues(c *Condition, text string) error {
	if c.Field == FieldTCPFlags {
		flags, err := parseTCPFlags(text)
		if err == nil && flags == 0 {
			err = errors.New("no flag is asked for")
		}
		c.Numbers = []Range{{uint32(flags), uint32(flags), uint32(flags)}}
		return err
	}
	for value := range strings.SplitSeq(text, ",") {
		switch c.Field {
		case FieldFrom, FieldTo:
			p, err := parseFilterPrefix(value)
			if err != nil {
				return err
			}
			c.Prefixes = append(c.Prefixes, p)
			continue
		}
		r := Range{Mask: AllBits}
		var err error
		switch c.Field {
		case FieldIngress:
			port, ok := s.portIndex[value]
			if !ok {
				return fmt.Errorf("no port %q", value)
			}
			r.Lo, r.Hi = uint32(port), uint32(port)
		case FieldProto:
			var proto uint8
			proto, err = parseNamed(value, "a protocol", packet.Protocols, 0xff)
			r.Lo, r.Hi = uint32(proto), uint32(proto)
		case FieldFragment:
			var fragment packet.Fragment
			fragment, err = parseFragment(value)
			r.Lo, r.Hi = uint32(fragment), uint32(fragment)
		default:
			low, high, isRange := strings.Cut(value, "-")
			if !isRange {
				high = low
			}
			if r.Lo, err = parseNumber(low, fields[c.Field].limit); err == nil {
				r.Hi, err = parseNumber(high, fields[c.Field].limit)
			}
			if err == nil && r.Lo > r.Hi {
				err = fmt.Errorf("range %s is backwards", value)
			}
		}
		if err != nil {
			return err
		}
		c.Numbers = append(c.Numbers, r)
	}
	return nil
}

func parseFilterPrefix(text string) (netip.Prefix, error) {
	if !strings.Contains(text, "/") {
		a, err := parseAddr(text)
		if err != nil {
			return netip.Prefix{}, err
		}
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return p, fmt.Errorf("%q is not a prefix", text)
	}
	return p.Masked(), nil
}

// Match reports whether the packet is selected. It allocates nothing.
func (f *Filter) Match(k *packet.Key) bool {
	if len(f.conditions) == 0 {
		return true
	}
	var flow flow
	flow.fill(f.snapshot, k)
	return mismatch(f.conditions, &flow) == nil
}

// MatchPort reports whether a packet is selected of which no more is known than the port that it came in on, since it
// does not parse. It allocates nothing.
func (f *Filter) MatchPort(port uint16) bool {
	if f.parsedOnly {
		return false
	}
	for i := range f.conditions {
		if c := &f.conditions[i]; c.hasNumber(uint32(port)) == c.Not {
			return false
		}
	}
	return true
}
