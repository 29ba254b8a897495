package policy

import (
	"cmp"
	"net/netip"
	"slices"

	"weir/policy/packet"
)

// Field names what of a packet a condition is about.
type Field uint8

// Fields. Those up to FieldFlowLabel are the selectors of a rule in Linux.
const (
	FieldNone Field = iota
	FieldFrom
	FieldTo
	FieldIngress // logical port; LocalOutput for the router's own packets
	FieldGroup   // of the ingress port
	FieldMark    // as it is by now
	FieldTOS     // IPv4: tos & 0x1c, IPv6: the six DSCP bits in place, as Linux's rules compare them
	FieldDSCP    // six bits, 0..63, as it is by now
	FieldProto
	FieldSport // TCP and UDP, in whole packets and first fragments; in all where they are consistent, as those below
	FieldDport
	FieldFlowLabel // IPv6
	FieldICMPType  // ICMP in IPv4 and ICMPv6 in IPv6, in whole packets and first fragments
	FieldICMPCode
	FieldTCPFlags // in whole packets and first fragments
	FieldLength   // of the IP packet in bytes, its header included
	FieldTTL      // or hop limit
	FieldFragment // a packet.Fragment
	fieldEnd
)

// fields are the names in a configuration, and the largest numbers.
var fields = [fieldEnd]struct {
	name  string
	limit uint32
}{
	FieldFrom:      {name: "from"},
	FieldTo:        {name: "to"},
	FieldIngress:   {"iif", uint32(LocalOutput)},
	FieldGroup:     {"iif-group", 1<<32 - 1},
	FieldMark:      {"mark", 1<<32 - 1},
	FieldTOS:       {"tos", 0xff},
	FieldDSCP:      {"dscp", 63},
	FieldProto:     {"proto", 0xff},
	FieldSport:     {"sport", 0xffff},
	FieldDport:     {"dport", 0xffff},
	FieldFlowLabel: {"flowlabel", flowLabelMax},
	FieldICMPType:  {"icmp-type", 0xff},
	FieldICMPCode:  {"icmp-code", 0xff},
	FieldTCPFlags:  {"tcp-flags", 0xff},
	FieldLength:    {"length", 0xffff},
	FieldTTL:       {"ttl", 0xff},
	FieldFragment:  {"fragment", uint32(packet.FragmentLater)},
}

// String is the name of the field in a configuration.
func (f Field) String() string {
	if f < fieldEnd {
		return fields[f].name
	}
	return "unknown"
}

// Range matches the numbers x with Lo <= x&Mask <= Hi. VALUE/MASK is thus {VALUE & MASK, VALUE & MASK, MASK}, and a
// range of plain numbers has AllBits.
type Range struct{ Lo, Hi, Mask uint32 }

// AllBits is the Mask of a Range of plain numbers.
const AllBits = ^uint32(0)

// Condition asks something of one field: that it is one of several values, or with Not that it is none of them.
//
// A packet that does not have the field meets neither: one without ports meets no condition on ports, an IPv6 packet
// no condition on IPv4 addresses. In that it follows nftables, whose `tcp dport != 80` is true of TCP only. (Rules
// differ, as Linux's do: their port of a packet without ports is 0.) A field that has been cut off, as the flags in
// a TCP header of eight bytes, reads as 0. Where nothing puts fragments together first, nftables reads the payload of a
// later fragment as if it were its ports; weir, as iptables, does not, and where fragments are consistent it knows them.
type Condition struct {
	Field    Field
	Not      bool
	Prefixes []netip.Prefix // FieldFrom, FieldTo: at least one
	Numbers  []Range        // all other fields: at least one
	Set      string         // name of the set that the values came from, for people
}

// Match is what a statement asks of a packet: every condition. The zero Match matches every packet.
//
// As with a rule's Selector, families are not part of the conjunction but say which packets the statement is there
// for: those of Family, of a family of each address condition's prefixes, and IPv6 where there is a condition on the
// flow label.
type Match struct {
	Family     uint8 // packet.IPv4, packet.IPv6, 0: both
	Not        bool  // negates the whole conjunction
	Conditions []Condition
}

// match is a Match that is ready to be evaluated.
type match struct {
	families   familySet
	not        bool
	conditions []condition
}

// condition is a Condition whose prefixes are sorted and disjoint, and whose ranges of plain numbers are so too and
// come before the masked ones: long lists are searched by halves.
type condition struct {
	Condition
	families familySet // of the prefixes
	plain    int       // Numbers[:plain] have AllBits
}

// familySet has the bits 1<<familyIndex(family).
type familySet uint8

const bothFamilies familySet = 3

func familyBit(family uint8) familySet { return 1 << familyIndex(family) }

func (s familySet) has(family uint8) bool { return s&familyBit(family) != 0 }

func compileMatch(m *Match) match {
	c := match{families: m.families(), not: m.Not, conditions: compileConditions(m.Conditions)}
	return c
}

// families are those that the match is there for.
func (m *Match) families() familySet {
	set := bothFamilies
	if m.Family != 0 {
		set = familyBit(m.Family)
	}
	return set & conditionFamilies(m.Conditions)
}

func conditionFamilies(list []Condition) familySet {
	set := bothFamilies
	for i := range list {
		switch c := &list[i]; c.Field {
		case FieldFrom, FieldTo:
			set &= prefixFamilies(c.Prefixes)
		case FieldFlowLabel:
			set &= familyBit(packet.IPv6)
		}
	}
	return set
}

func prefixFamilies(list []netip.Prefix) (set familySet) {
	for _, p := range list {
		if p.Addr().Is4() {
			set |= familyBit(packet.IPv4)
		} else {
			set |= familyBit(packet.IPv6)
		}
	}
	return set
}

func compileConditions(list []Condition) []condition {
	compiled := make([]condition, len(list))
	for i := range list {
		c := &compiled[i]
		c.Condition = list[i]
		c.Prefixes, c.families = disjointPrefixes(c.Prefixes), prefixFamilies(c.Prefixes)
		c.Numbers, c.plain = disjointRanges(c.Numbers)
	}
	return compiled
}

// disjointPrefixes sorts by address and leaves out what another prefix covers.
func disjointPrefixes(list []netip.Prefix) (disjoint []netip.Prefix) {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b netip.Prefix) int {
		return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
	})
	for _, p := range list {
		if n := len(disjoint); n == 0 || !disjoint[n-1].Overlaps(p) {
			disjoint = append(disjoint, p)
		}
	}
	return disjoint
}

// disjointRanges sorts and joins the ranges of plain numbers, and puts the others behind them.
func disjointRanges(list []Range) (joined []Range, plain int) {
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b Range) int {
		return cmp.Or(-cmp.Compare(a.Mask, b.Mask), cmp.Compare(a.Lo, b.Lo)) // AllBits is the largest mask
	})
	for _, r := range list {
		switch n := len(joined); {
		case r.Mask != AllBits:
			joined = append(joined, r)
		case n > 0 && uint64(r.Lo) <= uint64(joined[n-1].Hi)+1:
			joined[n-1].Hi = max(joined[n-1].Hi, r.Hi)
		default:
			joined = append(joined, r)
			plain++
		}
	}
	return joined, plain
}

// mismatch returns the first condition that the packet does not meet, or nil if it meets them all.
func mismatch(conditions []condition, f *flow) *condition {
	for i := range conditions {
		if c := &conditions[i]; !c.meets(f) {
			return c
		}
	}
	return nil
}

func (c *condition) meets(f *flow) bool {
	switch c.Field {
	case FieldFrom:
		return c.families.has(f.key.Family) && c.hasAddr(f.src) != c.Not
	case FieldTo:
		return c.families.has(f.key.Family) && c.hasAddr(f.dst) != c.Not
	}
	x, ok := f.number(c.Field)
	return ok && c.hasNumber(x) != c.Not
}

// hasAddr finds the last prefix that does not begin behind the address: of disjoint ones, no other can contain it.
func (c *condition) hasAddr(a netip.Addr) bool {
	lo, hi := 0, len(c.Prefixes)
	for lo < hi {
		if mid := int(uint(lo+hi) / 2); c.Prefixes[mid].Addr().Compare(a) <= 0 {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo > 0 && c.Prefixes[lo-1].Contains(a)
}

func (c *condition) hasNumber(x uint32) bool {
	lo, hi := 0, c.plain
	for lo < hi {
		if mid := int(uint(lo+hi) / 2); c.Numbers[mid].Lo <= x {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo > 0 && x <= c.Numbers[lo-1].Hi {
		return true
	}
	for _, r := range c.Numbers[c.plain:] {
		if r.Lo <= x&r.Mask && x&r.Mask <= r.Hi {
			return true
		}
	}
	return false
}

// number is the value of a field; ok is false where the packet does not have it.
//
// As for iptables and nftables where no connection tracking puts fragments together before, the L4 header is in the first
// fragment and not in a later one, unless fragments are consistent.
func (f *flow) number(field Field) (x uint32, ok bool) {
	k := f.key
	switch field {
	case FieldIngress:
		return uint32(k.Ingress), true
	case FieldGroup:
		return f.group, k.Ingress != LocalOutput
	case FieldMark:
		return f.mark, true
	case FieldTOS:
		if k.Family == packet.IPv6 {
			return uint32(f.tos & dscpMask), true
		}
		return uint32(f.tos & tosMask), true
	case FieldDSCP:
		return uint32(f.tos >> 2), true
	case FieldProto:
		return uint32(k.Proto), true
	case FieldSport:
		return uint32(k.SrcPort), f.l4 && hasPorts(k)
	case FieldDport:
		return uint32(k.DstPort), f.l4 && hasPorts(k)
	case FieldFlowLabel:
		return k.FlowLabel, k.Family == packet.IPv6
	case FieldICMPType:
		return uint32(k.ICMPType), f.l4 && hasICMP(k)
	case FieldICMPCode:
		return uint32(k.ICMPCode), f.l4 && hasICMP(k)
	case FieldTCPFlags:
		return uint32(k.TCPFlags), f.l4 && k.Proto == packet.ProtoTCP
	case FieldLength:
		return uint32(k.Length), true
	case FieldTTL:
		return uint32(k.TTL), true
	case FieldFragment:
		return uint32(k.Fragment), true
	}
	return 0, false
}

// hasICMP reports whether the packet has an ICMP type and code of its own family's protocol.
func hasICMP(k *packet.Key) bool {
	icmp := packet.ProtoICMP
	if k.Family == packet.IPv6 {
		icmp = packet.ProtoICMPv6
	}
	return k.Proto == icmp
}
