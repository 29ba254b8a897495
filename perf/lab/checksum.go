package lab

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// ErrChecksum is wrapped by VerifyChecksums for a frame with a wrong checksum.
var ErrChecksum = errors.New("wrong checksum")

// sum adds the 16-bit words of b to s (RFC 1071); fold makes it 16 bits.
func sum(s uint32, b []byte) uint32 {
	for len(b) >= 2 {
		s += uint32(binary.BigEndian.Uint16(b))
		b = b[2:]
	}
	if len(b) == 1 {
		s += uint32(b[0]) << 8
	}
	return s
}

func fold(s uint32) uint16 {
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}

// VerifyChecksums checks the IPv4 header checksum and that of TCP, UDP, ICMP or ICMPv6 of an Ethernet frame, below up
// to two VLAN tags. Fragments are checked as far as their own header goes; what is not IP has nothing to check.
func VerifyChecksums(frame []byte) error {
	packet, etherType, err := payloadOf(frame)
	if err != nil {
		return err
	}
	switch etherType {
	case unix.ETH_P_IP:
		return verifyIPv4(packet)
	case unix.ETH_P_IPV6:
		return verifyIPv6(packet)
	}
	return nil
}

// payloadOf is what a frame carries below its VLAN tags, and its type.
func payloadOf(frame []byte) (packet []byte, etherType uint16, err error) {
	at := 12
	for {
		if len(frame) < at+2 {
			return nil, 0, fmt.Errorf("frame of %d bytes is cut", len(frame))
		}
		etherType = binary.BigEndian.Uint16(frame[at:])
		if etherType != unix.ETH_P_8021Q && etherType != unix.ETH_P_8021AD {
			return frame[at+2:], etherType, nil
		}
		at += 4
	}
}

func verifyIPv4(p []byte) error {
	if len(p) < 20 || p[0]>>4 != 4 {
		return errors.New("no IPv4 header")
	}
	header, total := int(p[0]&15)*4, int(binary.BigEndian.Uint16(p[2:]))
	if header < 20 || total < header || total > len(p) {
		return fmt.Errorf("IPv4 lengths: header %d, packet %d, frame %d", header, total, len(p))
	}
	if fold(sum(0, p[:header])) != 0xffff {
		return fmt.Errorf("%w in the IPv4 header", ErrChecksum)
	}
	if binary.BigEndian.Uint16(p[6:])&0x3fff != 0 { // an offset, or more fragments
		return nil
	}
	pseudo := sum(0, p[12:20]) + uint32(p[9]) + uint32(total-header)
	return verifyTransport(p[9], p[header:total], pseudo)
}

func verifyIPv6(p []byte) error {
	if len(p) < 40 || p[0]>>4 != 6 {
		return errors.New("no IPv6 header")
	}
	total := 40 + int(binary.BigEndian.Uint16(p[4:]))
	if total > len(p) {
		return fmt.Errorf("IPv6 lengths: packet %d, frame %d", total, len(p))
	}
	next, at := p[6], 40
	for {
		switch next {
		case unix.IPPROTO_HOPOPTS, unix.IPPROTO_ROUTING, unix.IPPROTO_DSTOPTS:
			if at+8 > total {
				return errors.New("IPv6 extension header is cut")
			}
			next, at = p[at], at+8+int(p[at+1])*8
			if at > total {
				return errors.New("IPv6 extension header is cut")
			}
			continue
		case unix.IPPROTO_FRAGMENT:
			return nil
		}
		if next == unix.IPPROTO_UDP && total-at >= 8 && p[at+6] == 0 && p[at+7] == 0 {
			return fmt.Errorf("%w of UDP: zero is not allowed in IPv6", ErrChecksum)
		}
		pseudo := sum(0, p[8:40]) + uint32(next) + uint32(total-at)
		return verifyTransport(next, p[at:total], pseudo)
	}
}

func verifyTransport(protocol uint8, segment []byte, pseudo uint32) error {
	name, start := "", pseudo
	switch protocol {
	case unix.IPPROTO_TCP:
		name = "TCP"
	case unix.IPPROTO_UDP:
		if name = "UDP"; len(segment) >= 8 && segment[6] == 0 && segment[7] == 0 {
			return nil // not computed by the sender
		}
	case unix.IPPROTO_ICMPV6:
		name = "ICMPv6"
	case unix.IPPROTO_ICMP:
		name, start = "ICMP", 0
	default:
		return nil
	}
	if fold(sum(start, segment)) != 0xffff {
		return fmt.Errorf("%w of %s", ErrChecksum, name)
	}
	return nil
}
