package policy

import (
	"net/netip"

	"weir/policy/packet"
)

// flow is what rules and routes look at: the fields of the kernel's struct flowi, as the kernel fills them.
type flow struct {
	key          *packet.Key
	src, dst     netip.Addr
	mark         uint32 // after the mark program
	group        uint32 // of the ingress port
	sport, dport uint16 // 0 in all but whole TCP and UDP packets, and what counts as whole
	tos          uint8  // after the mark program
	ownSource    bool   // src is the router's own
	matched      bool   // rules are found by matchers, where there are any
	tally        *Tally // of what matches, or nil
	l4           bool   // conditions may look at the L4 header: it is there, or was completed
}

// fill makes f the packet as rules see it.
//
// Ports are those of whole TCP and UDP packets. Linux dissects the ports of no fragment, not even of the first, so
// that all of a datagram take the same way (fib4_rules_early_flow_dissect in include/net/ip_fib.h). Consistent fragments
// do that with the ports of the first.
func (f *flow) fill(s *Snapshot, k *packet.Key) {
	f.key, f.src, f.dst = k, k.SrcAddr(), k.DstAddr()
	f.mark, f.tos, f.group = k.Mark, k.TOS, 0
	if k.Ingress != LocalOutput {
		f.group = s.Ports[k.Ingress].Group
	}
	f.l4 = s.consistent || k.Fragment != packet.FragmentLater
	f.sport, f.dport = 0, 0
	if s.isWhole(k) && hasPorts(k) {
		f.sport, f.dport = k.SrcPort, k.DstPort
	}
}

// isWhole reports whether rules and the flow hash may look at the L4 header.
func (s *Snapshot) isWhole(k *packet.Key) bool {
	return s.consistent || k.Fragment == packet.FragmentNone
}

// hasPorts reports whether the packet is of a protocol with ports that a decision may look at.
func hasPorts(k *packet.Key) bool { return k.Proto == packet.ProtoTCP || k.Proto == packet.ProtoUDP }

// mismatch returns the first selector that the packet does not meet, or FieldNone if it meets them all. It leaves out
// Beyond, which the rule has in another form.
func (m *Selector) mismatch(f *flow) Field {
	switch {
	case m.From.IsValid() && !m.From.Contains(f.src):
		return FieldFrom
	case m.To.IsValid() && !m.To.Contains(f.dst):
		return FieldTo
	case m.HasIngress && m.ingress() != f.key.Ingress:
		return FieldIngress
	case m.HasGroup && (m.Group != f.group || f.key.Ingress == LocalOutput):
		return FieldGroup
	case m.HasMark && (m.Mark^f.mark)&m.MarkMask != 0:
		return FieldMark
	case m.HasTOS && m.TOS != 0 && !m.meetsTOS(f):
		return FieldTOS
	case m.HasDSCP && (m.DSCP^f.tos>>2)&m.DSCPMask != 0:
		return FieldDSCP
	case m.HasProto && m.Proto != f.key.Proto:
		return FieldProto
	case m.Sport.Kind != PortAny && !m.Sport.meets(f.sport):
		return FieldSport
	case m.Dport.Kind != PortAny && !m.Dport.meets(f.dport):
		return FieldDport
	case m.HasFlow && (m.FlowLabel^f.key.FlowLabel)&m.FlowMask != 0:
		return FieldFlowLabel
	}
	return FieldNone
}

// ingress is the port that the rule asks for; lo stands for what the router itself sends.
func (m *Selector) ingress() uint16 {
	if m.IngressLo {
		return LocalOutput
	}
	return m.Ingress
}

// Masks of the TOS byte in a rule: the TOS bits that IPv4 looks at (linux/in_route.h IPTOS_RT_MASK without ECN), and
// the DSCP that IPv6 does (RFC 2474).
const (
	tosMask  = 0x1c
	dscpMask = 0xfc
)

func (m *Selector) meetsTOS(f *flow) bool {
	if f.key.Family == packet.IPv6 {
		return m.TOS&dscpMask == f.tos&dscpMask
	}
	return m.TOS == f.tos&tosMask
}

func (p *PortMatch) meets(port uint16) bool {
	if p.Kind == PortRange {
		return p.Lo <= port && port <= p.Hi
	}
	return (p.Value^port)&p.Mask == 0
}

// family returns the one family that the selectors can speak of, or 0 for both; ok is false where they contradict
// each other.
func (m *Selector) family() (family uint8, ok bool) {
	family, ok = m.Family, true
	narrow := func(f uint8) {
		ok = ok && (family == 0 || family == f)
		family = f
	}
	for _, p := range [...]netip.Prefix{m.From, m.To} {
		switch {
		case !p.IsValid():
		case p.Addr().Is4():
			narrow(packet.IPv4)
		default:
			narrow(packet.IPv6)
		}
	}
	if m.HasFlow {
		narrow(packet.IPv6)
	}
	return family, ok
}
