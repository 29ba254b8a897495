package policy

import (
	"math"
	"net/netip"
	"slices"

	"weir/policy/packet"
)

// regions makes regions of rules and of statements. What it is told to be about is all that there is.
type regions struct {
	work    *lintWork
	ingress spans // that a packet can have
	byGroup map[uint32]spans
	all     [2][dimMark + 1]spans // all values, by family and dimension

	consistent bool // all fragments have what the first has
}

// newRegions is for packets that come in by the snapshot's ports, and with own for those of the router itself.
func newRegions(s *Snapshot, own bool, work *lintWork) *regions {
	g := &regions{work: work, byGroup: map[uint32]spans{}, consistent: s.consistent}
	ports := s.Ports
	if len(ports) > 0 {
		g.ingress = interval(0, uint32(len(ports)-1))
	}
	for i := range ports {
		g.byGroup[ports[i].Group] = append(g.byGroup[ports[i].Group], numbers(uint32(i))...)
	}
	for group, list := range g.byGroup {
		g.byGroup[group] = list.join()
	}
	if own {
		g.ingress = append(g.ingress, numbers(uint32(LocalOutput))...)
	}
	for f := range families {
		addresses := prefixSpans([]netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0)}, false)
		if f == 1 {
			addresses = prefixSpans([]netip.Prefix{netip.PrefixFrom(netip.IPv6Unspecified(), 0)}, true)
		}
		values := &g.all[f]
		values[dimFrom], values[dimTo], values[dimIngress] = addresses, addresses, g.ingress
		for field := FieldDSCP; field < fieldEnd; field++ {
			values[fieldDimension[field]] = interval(0, fields[field].limit)
		}
	}
	return g
}

// finish leaves out limits that limit nothing, and negates where that is a matter of one dimension.
func (g *regions) finish(a *region, family int, not bool) {
	a.limits = slices.DeleteFunc(a.limits, func(l limit) bool {
		full := l.spans.equal(g.all[family][l.dim])
		if full {
			a.dims &^= 1 << l.dim
		}
		return full
	})
	if !not {
		return
	}
	switch {
	case a.empty:
		*a = region{}
	case len(a.limits)+len(a.clauses) == 0:
		a.contradict(FieldNone, FieldNone)
	case len(a.limits) == 1 && len(a.clauses) == 0:
		l := &a.limits[0]
		l.spans = l.spans.complement(g.all[family][l.dim])
	case len(a.limits) == 0 && len(a.clauses) == 1:
		a.clauses[0].not = !a.clauses[0].not
	default:
		a.not = true
	}
}

// ofRule is the region of a rule in one of its families.
func (g *regions) ofRule(r *rule, family int) (a region) {
	m, ipv6 := &r.Match, family == 1
	for _, address := range []struct {
		dim    dimension
		by     Field
		prefix netip.Prefix
	}{{dimFrom, FieldFrom, m.From}, {dimTo, FieldTo, m.To}} {
		if address.prefix.IsValid() {
			a.limit(address.dim, address.by, prefixSpans([]netip.Prefix{address.prefix.Masked()}, ipv6))
		}
	}
	if m.HasIngress {
		a.limit(dimIngress, FieldIngress, numbers(uint32(m.ingress())).intersect(g.ingress))
	}
	if m.HasGroup {
		a.limit(dimIngress, FieldGroup, g.byGroup[m.Group])
	}
	if m.HasMark {
		a.masked(dimMark, FieldMark, false, []Range{{m.Mark & m.MarkMask, m.Mark & m.MarkMask, m.MarkMask}}, AllBits)
	}
	if m.HasTOS && m.TOS != 0 {
		mask := tosMaskOf(ipv6)
		a.limit(dimDSCP, FieldTOS, filter(63, func(x uint32) bool { return uint8(x<<2)&mask == m.TOS&mask }))
	}
	if m.HasDSCP {
		a.limit(dimDSCP, FieldDSCP, filter(63, func(x uint32) bool { return (uint8(x)^m.DSCP)&m.DSCPMask == 0 }))
	}
	if m.HasProto {
		a.limit(dimProto, FieldProto, numbers(uint32(m.Proto)))
	}
	for _, l4 := range []struct {
		dim dimension
		by  Field
		*PortMatch
	}{{dimSport, FieldSport, &m.Sport}, {dimDport, FieldDport, &m.Dport}} {
		if l4.Kind == PortAny {
			continue
		}
		a.numbers(l4.dim, l4.by, false, l4.ranges(), math.MaxUint16)
		if !r.Not && !l4.meets(0) { // where there are no ports, rules take them for 0
			a.limit(dimProto, l4.by, numbers(uint32(packet.ProtoTCP), uint32(packet.ProtoUDP)))
			if !g.consistent {
				a.limit(dimFragment, l4.by, numbers(uint32(packet.FragmentNone)))
			}
		}
	}
	if m.HasFlow {
		a.masked(dimFlow, FieldFlowLabel, false, []Range{{m.FlowLabel & m.FlowMask, m.FlowLabel & m.FlowMask, m.FlowMask}}, flowLabelMax)
	}
	for i := range r.beyond {
		g.condition(&a, &r.beyond[i], family)
	}
	g.finish(&a, family, r.Not)
	return a
}

// spanWork is the work that a span counts for, because of the memory that it takes.
const spanWork = 8

// ofStatement is the region of a statement in one of its families. Its conditions may be on sets of any size.
func (g *regions) ofStatement(m *match, family int) (a region) {
	for i := range m.conditions {
		g.condition(&a, &m.conditions[i], family)
	}
	g.finish(&a, family, m.not)
	g.work.left -= spanWork * a.cost()
	return a
}

func (m *PortMatch) ranges() []Range {
	if m.Kind == PortMask {
		return []Range{{uint32(m.Value & m.Mask), uint32(m.Value & m.Mask), uint32(m.Mask)}}
	}
	return []Range{{uint32(m.Lo), uint32(m.Hi), AllBits}}
}

// condition limits the region by a condition, and by what a packet has to be to have the field (see flow.number).
func (g *regions) condition(a *region, c *condition, family int) {
	dim, all := fieldDimension[c.Field], fields[c.Field].limit
	meets := func(x uint32) bool { return c.hasNumber(x) != c.Not }
	switch c.Field {
	case FieldFrom, FieldTo:
		if !c.families.has(families[family]) {
			a.contradict(FieldNone, c.Field)
			return
		}
		set := prefixSpans(c.Prefixes, family == 1)
		if c.Not {
			set = set.complement(g.all[family][dim])
		}
		a.limit(dim, c.Field, set)
	case FieldIngress:
		set, ok := rangeSpans(c.Numbers, all)
		if !ok {
			set = filter(all, c.hasNumber)
		}
		if set = set.intersect(g.ingress); c.Not {
			set = set.complement(g.ingress)
		}
		a.limit(dim, c.Field, set)
	case FieldGroup:
		var set spans
		g.work.left -= len(g.byGroup)
		for group, ports := range g.byGroup {
			if meets(group) {
				set = append(set, ports...)
			}
		}
		slices.SortFunc(set, func(a, b span) int { return a.lo.compare(b.lo) })
		a.limit(dimIngress, c.Field, set.join())
	case FieldTOS:
		mask := tosMaskOf(family == 1)
		a.limit(dimDSCP, c.Field, filter(63, func(x uint32) bool { return meets(x << 2 & uint32(mask)) }))
	case FieldMark:
		a.masked(dim, c.Field, c.Not, c.Numbers, all)
	case FieldFlowLabel:
		if family == 0 {
			a.contradict(FieldNone, c.Field)
			return
		}
		a.masked(dim, c.Field, c.Not, c.Numbers, all)
	case FieldSport, FieldDport, FieldLength:
		a.numbers(dim, c.Field, c.Not, c.Numbers, all)
	default:
		a.limit(dim, c.Field, filter(all, meets))
	}
	var protos []uint32
	switch c.Field {
	case FieldSport, FieldDport:
		protos = []uint32{uint32(packet.ProtoTCP), uint32(packet.ProtoUDP)}
	case FieldICMPType, FieldICMPCode:
		protos = []uint32{[...]uint32{uint32(packet.ProtoICMP), uint32(packet.ProtoICMPv6)}[family]}
	case FieldTCPFlags:
		protos = []uint32{uint32(packet.ProtoTCP)}
	default:
		return
	}
	a.limit(dimProto, c.Field, numbers(protos...))
	if !g.consistent {
		a.limit(dimFragment, c.Field, numbers(uint32(packet.FragmentNone), uint32(packet.FragmentFirst)))
	}
}

// numbers limits the region by ranges of a field whose numbers are 0 to all, which is all ones.
func (a *region) numbers(dim dimension, by Field, not bool, ranges []Range, all uint32) {
	set, ok := rangeSpans(ranges, all)
	if !ok {
		a.masked(dim, by, not, ranges, all)
		return
	}
	if not {
		set = set.complement(interval(0, all))
	}
	a.limit(dim, by, set)
}

// masked limits the region by a clause.
func (a *region) masked(dim dimension, by Field, not bool, ranges []Range, all uint32) {
	ranges = slices.Clone(ranges)
	for i := range ranges {
		ranges[i].Mask &= all
	}
	a.clause(clause{dim, by, not, all, ranges})
}

// rangeSpans is the set of numbers up to all in the ranges; ok is false where a mask makes too many spans of it.
func rangeSpans(ranges []Range, all uint32) (set spans, ok bool) {
	for _, r := range ranges {
		free := all &^ r.Mask
		switch {
		case free == 0:
			set = append(set, interval(r.Lo, r.Hi)...)
		case r.Lo == r.Hi && free&(free+1) == 0:
			set = append(set, interval(r.Lo, r.Lo|free)...)
		default:
			return nil, false
		}
	}
	slices.SortFunc(set, func(a, b span) int { return a.lo.compare(b.lo) })
	return set.join(), true
}

// filter is the set of numbers up to all that are meant.
func filter(all uint32, meant func(uint32) bool) spans {
	var set spans
	for x := range all + 1 {
		if meant(x) {
			set = append(set, interval(x, x)...)
		}
	}
	return set.join()
}

func tosMaskOf(ipv6 bool) uint8 {
	if ipv6 {
		return dscpMask
	}
	return tosMask
}
