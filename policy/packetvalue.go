package policy

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"weir/policy/packet"
)

// protoNames are the protocols that have a name in a packet's description.
var protoNames = [...]struct {
	name   string
	number uint8
}{
	{"tcp", packet.ProtoTCP},
	{"udp", packet.ProtoUDP},
	{"icmp", packet.ProtoICMP},
	{"icmpv6", packet.ProtoICMPv6},
}

// tcpFlagNames are the flags from the lowest bit on (RFC 9293 section 3.1).
var tcpFlagNames = [8]string{"fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr"}

// parseNumber reads a decimal number, or a hexadecimal one after 0x, up to limit.
func parseNumber[T uint8 | uint16 | uint32](text string, limit T) (T, error) {
	digits, base := text, uint64(10)
	if len(text) > 2 && text[0] == '0' && (text[1] == 'x' || text[1] == 'X') {
		digits, base = text[2:], 16
	}
	if digits == "" || base == 10 && len(digits) > 1 && digits[0] == '0' {
		return 0, fmt.Errorf("%q is not a number", text)
	}
	n := uint64(0)
	for i := range len(digits) {
		d := uint64(16)
		switch c := digits[i]; {
		case '0' <= c && c <= '9':
			d = uint64(c - '0')
		case 'a' <= c && c <= 'f':
			d = uint64(c-'a') + 10
		case 'A' <= c && c <= 'F':
			d = uint64(c-'A') + 10
		}
		if d >= base {
			return 0, fmt.Errorf("%q is not a number from 0 to %d", text, limit)
		}
		if n = n*base + d; n > uint64(limit) {
			return 0, fmt.Errorf("%s is above %d", text, limit)
		}
	}
	return T(n), nil
}

func parseAddr(text string) (netip.Addr, error) {
	a, err := netip.ParseAddr(text)
	if err != nil {
		return a, fmt.Errorf("%q is not an address", text)
	}
	if a.Zone() != "" {
		return a, errors.New("an address in a packet has no zone")
	}
	return a, nil
}

func parseProto(text string) (uint8, error) {
	for _, n := range protoNames {
		if n.name == text {
			return n.number, nil
		}
	}
	p, err := parseNumber[uint8](text, 0xff)
	if err != nil {
		return 0, fmt.Errorf("%q is not tcp, udp, icmp, icmpv6 or a number from 0 to 255", text)
	}
	return p, nil
}

func parseFragment(text string) (packet.Fragment, error) {
	for f, name := range fragmentNames {
		if name == text {
			return packet.Fragment(f), nil
		}
	}
	return 0, fmt.Errorf("%q is not none, first or later", text)
}

var fragmentNames = [...]string{packet.FragmentNone: "none", packet.FragmentFirst: "first", packet.FragmentLater: "later"}

func parseBool(text string) (bool, error) {
	switch text {
	case "true", "1":
		return true, nil
	case "false", "0":
		return false, nil
	}
	return false, fmt.Errorf("%q is not true or false", text)
}

func parseTCPFlags(text string) (uint8, error) {
	if text != "" && '0' <= text[0] && text[0] <= '9' {
		return parseNumber[uint8](text, 0xff)
	}
	var flags uint8
next:
	for name := range strings.SplitSeq(text, ",") {
		for bit, n := range tcpFlagNames {
			if n == name {
				flags |= 1 << bit
				continue next
			}
		}
		return 0, fmt.Errorf("%q is not one of %s", name, strings.Join(tcpFlagNames[:], ", "))
	}
	return flags, nil
}
