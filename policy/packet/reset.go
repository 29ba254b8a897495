package packet

import "encoding/binary"

// TCPReset is the flag RST in Key.TCPFlags (RFC 9293 section 3.1).
const TCPReset uint8 = 0x04

const (
	tcpFin uint8 = 0x01
	tcpSyn uint8 = 0x02
	tcpAck uint8 = 0x10

	// MaxResetFrameLen is the room that BuildReset asks for at most.
	MaxResetFrameLen = EthernetHeaderLen + IPv6HeaderLen + tcpHeaderLen
)

// BuildReset writes the TCP reset that refuses the segment in frame, which was parsed into k and not edited since, to
// dst. It comes from where the segment was going to, with the addresses and ports swapped, so that the sender takes it
// for its peer's. As that of BuildError, the result is a whole frame of n bytes without tags or MAC addresses, to be
// parsed, decided and encapsulated; dst must not overlap frame.
//
// Sequence numbers are those of a connection that does not exist (RFC 9293 section 3.10.7.1): a segment with ACK says
// which number its sender expects; to another one, the reset has number 0 and acknowledges all that it occupies.
//
// ok is false, and dst untouched, if no reset may be sent, as in nf_send_reset (net/ipv4/netfilter/nf_reject_ipv4.c,
// net/ipv6/netfilter/nf_reject_ipv6.c): the packet is no TCP segment, not all of one, or a reset; its checksum is
// wrong; it came by a link-layer broadcast or multicast; one of its addresses is not that of a single host. ok is false
// too if dst is too small.
func BuildReset(dst, frame []byte, k *Key) (n int, ok bool) {
	if k.Proto != ProtoTCP || k.L4 == 0 || k.Fragment != FragmentNone || k.TCPFlags&TCPReset != 0 || frame[0]&1 != 0 {
		return 0, false
	}
	segment := frame[k.L4 : k.L3()+int(k.Length)] // with L4 there is a whole header
	headerLen := int(segment[12]>>4) * 4
	if headerLen < tcpHeaderLen || headerLen > len(segment) || Checksum(Sum(pseudo(k, &k.Src, &k.Dst, len(segment)), segment)) != 0 {
		return 0, false
	}
	ipLen := IPv4HeaderLen
	if k.Family == IPv6 {
		ipLen = IPv6HeaderLen
	}
	if n = EthernetHeaderLen + ipLen + tcpHeaderLen; len(dst) < n {
		return 0, false
	}
	switch {
	case k.Family == IPv4 && answerableIPv4(k):
		putResetIPv4(dst, k)
	case k.Family == IPv6 && answerableIPv6(k):
		putResetIPv6(dst, k)
	default:
		return 0, false
	}

	t := (*[tcpHeaderLen]byte)(dst[EthernetHeaderLen+ipLen:])
	*t = [tcpHeaderLen]byte{}
	binary.BigEndian.PutUint16(t[0:], k.DstPort)
	binary.BigEndian.PutUint16(t[2:], k.SrcPort)
	t[12] = tcpHeaderLen / 4 << 4
	t[13] = TCPReset
	if k.TCPFlags&tcpAck != 0 {
		copy(t[4:8], segment[8:12])
	} else {
		occupied := uint32(len(segment) - headerLen)
		if k.TCPFlags&tcpSyn != 0 {
			occupied++
		}
		if k.TCPFlags&tcpFin != 0 {
			occupied++
		}
		binary.BigEndian.PutUint32(t[8:], binary.BigEndian.Uint32(segment[4:])+occupied)
		t[13] |= tcpAck
	}
	binary.BigEndian.PutUint16(t[16:], Checksum(Sum(pseudo(k, &k.Dst, &k.Src, tcpHeaderLen), t[:])))
	return n, true
}

// pseudo is the partial sum of the pseudo header of a TCP segment of the packet's family.
func pseudo(k *Key, src, dst *[16]byte, length int) uint64 {
	if k.Family == IPv6 {
		return PseudoIPv6(src, dst, ProtoTCP, uint32(length))
	}
	return PseudoIPv4([4]byte(src[12:]), [4]byte(dst[12:]), ProtoTCP, uint16(length))
}

// putResetIPv4 writes the Ethernet and IP headers (nf_reject_iphdr_put).
func putResetIPv4(dst []byte, k *Key) {
	putEthernet(dst, EtherTypeIPv4)
	h := (*[IPv4HeaderLen]byte)(dst[EthernetHeaderLen:])
	*h = [IPv4HeaderLen]byte{0: 0x45, 8: errorTTL, 9: ProtoTCP}
	binary.BigEndian.PutUint16(h[2:], IPv4HeaderLen+tcpHeaderLen)
	binary.BigEndian.PutUint16(h[6:], ipv4DontFragment)
	copy(h[12:16], k.Dst[12:])
	copy(h[16:20], k.Src[12:])
	binary.BigEndian.PutUint16(h[10:], Checksum(sumIPv4Header(h)))
}

// putResetIPv6 writes the Ethernet and IP headers (nf_reject_ip6hdr_put).
func putResetIPv6(dst []byte, k *Key) {
	putEthernet(dst, EtherTypeIPv6)
	h := (*[IPv6HeaderLen]byte)(dst[EthernetHeaderLen:])
	*h = [IPv6HeaderLen]byte{0: IPv6 << 4, 6: ProtoTCP, 7: errorTTL}
	binary.BigEndian.PutUint16(h[4:], tcpHeaderLen)
	*(*[16]byte)(h[8:]) = k.Dst
	*(*[16]byte)(h[24:]) = k.Src
}
