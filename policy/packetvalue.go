package policy

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"weir/policy/packet"
)

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

// parseNamed reads a number up to limit, or one of the names that numbers of its field have.
func parseNamed(text, what string, names *packet.Names, limit uint8) (uint8, error) {
	if n, ok := names.Number(text); ok {
		return n, nil
	}
	n, err := parseNumber(text, limit)
	if err != nil {
		return 0, fmt.Errorf("%q is not %s: a number from 0 to %d, or one of %v", text, what, limit, names)
	}
	return n, nil
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
	for name := range strings.SplitSeq(text, ",") {
		flag, ok := packet.TCPFlags.Number(name)
		if !ok {
			return 0, fmt.Errorf("%q is not one of %v", name, packet.TCPFlags)
		}
		flags |= flag
	}
	return flags, nil
}

// parseICMP reads the type and the code of an ICMP packet of the family; either text may be empty, which is 0. Codes
// have names where the type is destination-unreachable, which is what it is where a code has a name and no type is given.
func parseICMP(family uint8, typeText, codeText string) (kind, code uint8, err error) {
	types, codes := packet.ICMPTypes(family), packet.ICMPCodes(family)
	if typeText != "" {
		if kind, err = parseNamed(typeText, "an "+icmpName(family)+" type", types, 0xff); err != nil {
			return 0, 0, fmt.Errorf("icmp-type: %w", err)
		}
	}
	if codeText == "" {
		return kind, 0, nil
	}
	if code, err = parseNamed(codeText, "an "+icmpName(family)+" code", codes, 0xff); err != nil {
		return 0, 0, fmt.Errorf("icmp-code: %w", err)
	}
	if _, named := codes.Number(codeText); named {
		unreachable, _ := types.Number("destination-unreachable")
		switch {
		case typeText == "":
			kind = unreachable
		case kind != unreachable:
			return 0, 0, fmt.Errorf("icmp-code: %s is a code of destination-unreachable (%d), not of %s", codeText, unreachable, namedText(types, kind))
		}
	}
	return kind, code, nil
}

// icmpName is how people call the ICMP of a family.
func icmpName(family uint8) string {
	if family == packet.IPv6 {
		return "ICMPv6"
	}
	return "ICMP"
}

// namedText is a number with its name, if it has one.
func namedText(names *packet.Names, n uint8) string {
	if text := names.Text(n); text != "" {
		return fmt.Sprintf("%s (%d)", text, n)
	}
	return fmt.Sprint(n)
}
