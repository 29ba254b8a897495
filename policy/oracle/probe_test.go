package oracle

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"weir/policy/packet"
)

// probe is a packet to be decided.
type probe struct {
	ingress      int // port
	src, dst     netip.Addr
	proto        uint8
	sport, dport uint16 // the first four bytes of all protocols but ICMP
	icmpType     uint8
	tos, ttl     uint8
	mark         uint32 // that the kernel is made to see
	flow         uint32 // IPv6 flow label
	fragment     packet.Fragment
	extensions   []uint8 // IPv6 extension headers in front of the fragment header, if any, and the L4 header
	behind       []uint8 // and between those two
	df           bool
	padding      int // bytes behind the payload that tells the probe
}

// IPv6 extension headers (IANA "IPv6 Extension Header Types").
const (
	extHopByHop    = 0
	extRouting     = 43
	extFragment    = 44
	extAuth        = 51
	extDestination = 60
)

// authSPI is the security parameters index of every authentication header here. Its halves are ports to Linux.
const authSPI = 0x0050_01bb

// magic is in the payload of every probe, and its number behind it.
const magic = "weir oracle "

// frame is the probe on the wire, from the neighbour to the router's port.
func (p *probe) frame(id uint32) []byte {
	payload := binary.BigEndian.AppendUint32([]byte(magic), id)
	payload = append(payload, make([]byte, p.padding)...)
	b := append([]byte(nil), portMAC(p.ingress)...)
	b = append(b, wireMAC(p.ingress)...)
	if p.src.Is4() {
		return p.ipv4(binary.BigEndian.AppendUint16(b, packet.EtherTypeIPv4), id, payload)
	}
	return p.ipv6(binary.BigEndian.AppendUint16(b, packet.EtherTypeIPv6), id, payload)
}

// l4 is the transport header, none in a later fragment. Checksums are the end hosts' business, and left 0.
func (p *probe) l4() []byte {
	if p.fragment == packet.FragmentLater {
		return nil
	}
	b := make([]byte, 20)
	switch p.proto {
	case packet.ProtoICMP, packet.ProtoICMPv6:
		b[0] = p.icmpType
		return b[:8]
	case packet.ProtoTCP:
		b[12], b[13] = 5<<4, 2 // SYN: no segment that GRO might hold back
	}
	binary.BigEndian.PutUint16(b[0:], p.sport)
	binary.BigEndian.PutUint16(b[2:], p.dport)
	return b
}

func (p *probe) ipv4(b []byte, id uint32, payload []byte) []byte {
	body := append(p.l4(), payload...)
	h := make([]byte, packet.IPv4HeaderLen)
	h[0], h[1], h[8], h[9] = 0x45, p.tos, p.ttl, p.proto
	binary.BigEndian.PutUint16(h[2:], uint16(len(h)+len(body)))
	binary.BigEndian.PutUint16(h[4:], uint16(id))
	var flags uint16
	if p.df {
		flags |= 0x4000
	}
	switch p.fragment {
	case packet.FragmentFirst:
		flags |= 0x2000
	case packet.FragmentLater:
		flags |= 100
	}
	binary.BigEndian.PutUint16(h[6:], flags)
	copy(h[12:], p.src.AsSlice())
	copy(h[16:], p.dst.AsSlice())
	putChecksum(h)
	return append(append(b, h...), body...)
}

// putChecksum makes the checksum of an IPv4 header without options right.
func putChecksum(h []byte) {
	h[10], h[11] = 0, 0
	binary.BigEndian.PutUint16(h[10:], packet.Checksum(packet.Sum(0, h[:packet.IPv4HeaderLen])))
}

func (p *probe) ipv6(b []byte, id uint32, payload []byte) []byte {
	chain := append([]uint8(nil), p.extensions...)
	if p.fragment != packet.FragmentNone {
		chain = append(chain, extFragment)
	}
	chain = append(chain, p.behind...)
	body := append(p.l4(), payload...)
	next := p.proto
	for i := len(chain) - 1; i >= 0; i-- {
		body = append(p.extension(chain[i], next, id), body...)
		next = chain[i]
	}
	h := make([]byte, packet.IPv6HeaderLen)
	binary.BigEndian.PutUint32(h, 6<<28|uint32(p.tos)<<20|p.flow)
	binary.BigEndian.PutUint16(h[4:], uint16(len(body)))
	h[6], h[7] = next, p.ttl
	copy(h[8:], p.src.AsSlice())
	copy(h[24:], p.dst.AsSlice())
	return append(append(b, h...), body...)
}

func (p *probe) extension(kind, next uint8, id uint32) []byte {
	h := make([]byte, 8, 16)
	h[0] = next
	switch kind {
	case extHopByHop, extDestination:
		h[2], h[3] = 1, 4 // PadN (RFC 8200 section 4.2)
	case extRouting:
		h[2] = 253 // for experiments (RFC 4727); no segments left
	case extFragment:
		switch p.fragment {
		case packet.FragmentFirst:
			h[3] = 1
		case packet.FragmentLater:
			binary.BigEndian.PutUint16(h[2:], 100<<3)
		}
		binary.BigEndian.PutUint32(h[4:], id)
	case extAuth:
		h[1] = 2 // 16 bytes, in words of 4 less 2 (RFC 4302 section 2.2)
		binary.BigEndian.PutUint32(h[4:], authSPI)
		h = h[:16]
	}
	return h
}

// key is what weir reads of the probe's frame.
func (p *probe) key(t testing.TB) packet.Key {
	t.Helper()
	var k packet.Key
	if reason := packet.Parse(p.frame(0), &k); reason != packet.None {
		t.Fatalf("%+v does not parse: %v", p, reason)
	}
	k.Ingress, k.Mark = uint16(p.ingress), p.mark
	return k
}

// arguments are those of weir explain.
func arguments(k *packet.Key) string {
	var b strings.Builder
	fmt.Fprintf(&b, "iif=%s src=%v dst=%v proto=%d tos=0x%02x mark=0x%x ttl=%d length=%d fragment=%s",
		ports[k.Ingress].Name, k.SrcAddr(), k.DstAddr(), k.Proto, k.TOS, k.Mark, k.TTL, k.Length, []string{"none", "first", "later"}[k.Fragment])
	if k.Proto == packet.ProtoTCP || k.Proto == packet.ProtoUDP {
		fmt.Fprintf(&b, " sport=%d dport=%d", k.SrcPort, k.DstPort)
	}
	if k.Family == packet.IPv6 {
		fmt.Fprintf(&b, " flowlabel=0x%x", k.FlowLabel)
	} else {
		fmt.Fprintf(&b, " df=%v", k.DontFragment)
	}
	return b.String()
}
