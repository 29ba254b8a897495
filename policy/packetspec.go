package policy

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"weir/policy/packet"
)

// A packet to explain is described by names and values:
//
//	iif        port that it arrives on (required; a VLAN has its own name)
//	src dst    addresses, of one family (required)
//	proto      a name (packet.Protocols) or number. Default: icmp or icmpv6 where icmp-type or icmp-code is given,
//	           tcp where tcp-flags is, else udp, as "ip route get" assumes
//	sport dport
//	icmp-type  a name (packet.ICMPTypes) or number
//	icmp-code  a number, or the name (packet.ICMPCodes) of a code of destination-unreachable
//	tcp-flags  a number, or names: syn,ack
//	tos        the TOS or traffic class byte, 0 to 255. Default 0
//	dscp       the same by the name (packet.DSCPs) or number, 0 to 63, of its DSCP
//	mark       that it carries before the mark program. Default 0
//	length     of the IP packet in bytes. Default 84, a ping's
//	ttl        TTL or hop limit. Default 64
//	fragment   none, first or later. Default none. The ports of a later fragment's datagram may be given, but are
//	           not in the packet; only where fragments are consistent they count
//	df         IPv4 don't fragment: true or false. Default true but for fragments, as hosts that discover the path
//	           MTU send (RFC 1191); always true in IPv6
//	flowlabel  IPv6 flow label
//
// Numbers are decimal, or hexadecimal after 0x. ParsePacket reads arguments name=value, ParsePacketJSON one JSON
// object, where numbers may be JSON numbers or strings. Both are strict: an unknown or repeated name, and a value that
// does not fit, are errors.

// ParsePacket reads the description of a packet from arguments such as "iif=em0" and "src=10.0.0.1".
func (s *Snapshot) ParsePacket(args []string) (packet.Key, error) {
	p := newPacketSpec(s)
	for _, arg := range args {
		name, value, ok := strings.Cut(arg, "=")
		if !ok {
			return packet.Key{}, fmt.Errorf("parse packet: %q is not name=value", arg)
		}
		if err := p.set(name, value, argument); err != nil {
			return packet.Key{}, fmt.Errorf("parse packet: %w", err)
		}
	}
	if err := p.finish(); err != nil {
		return packet.Key{}, fmt.Errorf("parse packet: %w", err)
	}
	return p.key, nil
}

// specField is a name in a packet's description.
type specField uint

const (
	specIngress specField = iota
	specSrc
	specDst
	specProto
	specSport
	specDport
	specTOS
	specDSCP
	specMark
	specICMPType
	specICMPCode
	specTCPFlags
	specLength
	specTTL
	specFragment
	specDF
	specFlowLabel
	specEnd
)

var specNames = [specEnd]string{
	"iif", "src", "dst", "proto", "sport", "dport", "tos", "dscp", "mark", "icmp-type", "icmp-code", "tcp-flags", "length", "ttl",
	"fragment", "df", "flowlabel",
}

// valueKind is the form in which a value was written.
type valueKind uint8

const (
	argument   valueKind = iota // an argument, which may mean anything
	jsonString                  // may be a number too
	jsonNumber
	jsonBool
)

// packetSpec is a description as far as it has been read.
type packetSpec struct {
	snapshot *Snapshot
	key      packet.Key
	seen     uint32 // bit per specField
	src, dst netip.Addr

	icmpType, icmpCode string // as written: what a name means depends on the family
}

func newPacketSpec(s *Snapshot) packetSpec {
	return packetSpec{snapshot: s, key: packet.Key{Length: 84, TTL: 64}}
}

func (p *packetSpec) has(f specField) bool { return p.seen&(1<<f) != 0 }

// set reads one value.
func (p *packetSpec) set(name, value string, kind valueKind) error {
	f := specEnd
	for i, n := range specNames {
		if n == name {
			f = specField(i)
			break
		}
	}
	if f == specEnd {
		return fmt.Errorf("unknown name %q", name)
	}
	if p.has(f) {
		return fmt.Errorf("%s: given twice", name)
	}
	p.seen |= 1 << f
	if err := p.assign(f, value, kind); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

func (p *packetSpec) assign(f specField, value string, kind valueKind) (err error) {
	textual := f == specIngress || f == specSrc || f == specDst || f == specFragment
	if textual && kind == jsonNumber {
		return fmt.Errorf("number %s where a string belongs", value)
	}
	if kind == jsonBool && f != specDF {
		return fmt.Errorf("%s does not belong here", value)
	}
	k := &p.key
	switch f {
	case specIngress:
		var ok bool
		if k.Ingress, ok = p.snapshot.portIndex[value]; !ok {
			err = fmt.Errorf("no port %q", value)
		}
	case specSrc:
		p.src, err = parseAddr(value)
	case specDst:
		p.dst, err = parseAddr(value)
	case specProto:
		k.Proto, err = parseNamed(value, "a protocol", packet.Protocols, 0xff)
	case specSport:
		k.SrcPort, err = parseNumber[uint16](value, 0xffff)
	case specDport:
		k.DstPort, err = parseNumber[uint16](value, 0xffff)
	case specTOS:
		k.TOS, err = parseNumber[uint8](value, 0xff)
	case specDSCP:
		k.TOS, err = parseNamed(value, "a DSCP", packet.DSCPs, 63)
		k.TOS <<= 2
	case specMark:
		k.Mark, err = parseNumber[uint32](value, 0xffffffff)
	case specICMPType, specICMPCode:
		if value == "" {
			return errors.New("is empty")
		}
		if f == specICMPType {
			p.icmpType = value
		} else {
			p.icmpCode = value
		}
	case specTCPFlags:
		k.TCPFlags, err = parseTCPFlags(value)
	case specLength:
		k.Length, err = parseNumber[uint16](value, 0xffff)
	case specTTL:
		k.TTL, err = parseNumber[uint8](value, 0xff)
	case specFragment:
		k.Fragment, err = parseFragment(value)
	case specDF:
		k.DontFragment, err = parseBool(value)
	case specFlowLabel:
		k.FlowLabel, err = parseNumber[uint32](value, flowLabelMax)
	}
	return err
}

// finish fills in the defaults and checks what only the whole can tell.
func (p *packetSpec) finish() error {
	for _, f := range [...]specField{specIngress, specSrc, specDst} {
		if !p.has(f) {
			return fmt.Errorf("%s is missing", specNames[f])
		}
	}
	k := &p.key
	if p.src.Is4() != p.dst.Is4() {
		return fmt.Errorf("src %v and dst %v are of different families", p.src, p.dst)
	}
	k.Src, k.Dst, k.Family = p.src.As16(), p.dst.As16(), packet.IPv4
	least, icmp := uint16(20), packet.ProtoICMP
	if !p.src.Is4() {
		k.Family, least, icmp = packet.IPv6, 40, packet.ProtoICMPv6
	}
	hasICMP := p.has(specICMPType) || p.has(specICMPCode)
	if !p.has(specProto) {
		switch {
		case hasICMP:
			k.Proto = icmp
		case p.has(specTCPFlags):
			k.Proto = packet.ProtoTCP
		default:
			k.Proto = packet.ProtoUDP
		}
	}
	if hasICMP {
		var err error
		if k.ICMPType, k.ICMPCode, err = parseICMP(k.Family, p.icmpType, p.icmpCode); err != nil {
			return err
		}
	}
	switch {
	case p.has(specTOS) && p.has(specDSCP):
		return errors.New("tos, dscp: both say what the TOS byte is")
	case k.Length < least:
		return fmt.Errorf("length: %d is less than the IP header's %d", k.Length, least)
	case k.Family == packet.IPv4 && p.has(specFlowLabel) && k.FlowLabel != 0:
		return errors.New("flowlabel: IPv4 has none")
	case k.Family == packet.IPv6 && p.has(specDF) && !k.DontFragment:
		return errors.New("df: routers never fragment IPv6")
	case hasICMP && k.Proto != icmp && (k.Proto == packet.ProtoICMP || k.Proto == packet.ProtoICMPv6):
		return fmt.Errorf("proto: the ICMP of IPv%d is %s", k.Family, protoText(icmp))
	case hasICMP && k.Proto != icmp:
		return fmt.Errorf("icmp-type: %s has none", protoText(k.Proto))
	case p.has(specTCPFlags) && k.Proto != packet.ProtoTCP:
		return fmt.Errorf("tcp-flags: %s has none", protoText(k.Proto))
	case k.SrcPort|k.DstPort != 0 && k.Proto != packet.ProtoTCP && k.Proto != packet.ProtoUDP:
		return fmt.Errorf("sport, dport: %s has no ports", protoText(k.Proto))
	}
	if k.Family == packet.IPv6 {
		k.DontFragment = true
	} else if !p.has(specDF) {
		k.DontFragment = k.Fragment == packet.FragmentNone
	}
	if k.Fragment == packet.FragmentLater && !p.snapshot.consistent { // it has no L4 header
		k.SrcPort, k.DstPort, k.ICMPType, k.ICMPCode, k.TCPFlags = 0, 0, 0, 0, 0
	}
	return nil
}
