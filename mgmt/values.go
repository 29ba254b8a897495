package mgmt

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"weir/policy"
	"weir/policy/packet"
)

// The functions here parse one value each and know no positions. Those with a `wrong` result return why the text is
// refused, or the empty string.

// withFound adds what was found to a refusal that says only what was expected.
func withFound(wrong, found string) string {
	if strings.HasPrefix(wrong, "expected") {
		return wrong + ", found " + found
	}
	return wrong
}

// parseNumber reads a decimal or 0x-hexadecimal number. Octal, which YAML versions disagree about, is refused.
func parseNumber(s string) (uint64, bool) {
	digits, base := s, 10
	if len(s) > 2 && s[0] == '0' && (s[1] == 'x' || s[1] == 'X') {
		digits, base = s[2:], 16
	} else if len(s) > 1 && s[0] == '0' {
		return 0, false
	}
	if digits == "" || digits[0] == '+' || digits[0] == '-' {
		return 0, false
	}
	value, err := strconv.ParseUint(digits, base, 64)
	return value, err == nil
}

// masked is a value under a mask.
type masked struct{ value, mask uint32 }

// parseMasked reads `v` or `v/m`, both at most limit; without a mask, all bits count.
func parseMasked(s string, limit uint32) (m masked, explicit bool, wrong string) {
	text, maskText, explicit := strings.Cut(s, "/")
	value, ok := parseNumber(text)
	mask, maskOK := uint64(limit), true
	if explicit {
		mask, maskOK = parseNumber(maskText)
	}
	if !ok || !maskOK || value > uint64(limit) || mask > uint64(limit) {
		return masked{}, false, fmt.Sprintf("expected a number, or VALUE/MASK, up to %#x", limit)
	}
	return masked{uint32(value), uint32(mask)}, explicit, ""
}

// parseAddress reads an IP address. An IPv4 address in IPv6 clothes is refused: it is neither, on the wire.
func parseAddress(s string) (addr netip.Addr, wrong string) {
	addr, err := netip.ParseAddr(s)
	switch {
	case err != nil:
		return netip.Addr{}, "expected an IP address"
	case addr.Zone() != "":
		return netip.Addr{}, "an address has no zone here; name the port"
	case addr.Is4In6():
		return netip.Addr{}, "IPv4-mapped address; write " + addr.Unmap().String()
	}
	return addr, ""
}

// parsePrefix reads a prefix in the notation of ip-route(8): an address stands for itself alone, and IPv4 may leave
// out zero octets before a length (10/8).
func parsePrefix(s string) (prefix netip.Prefix, wrong string) {
	prefix, wrong = parseInterface(s)
	if wrong != "" {
		return prefix, wrong
	}
	if masked := prefix.Masked(); masked != prefix {
		return netip.Prefix{}, fmt.Sprintf("%s has bits beyond its length; did you mean %s?", prefix, masked)
	}
	return prefix, ""
}

// parseInterface reads an address with a prefix length, where the address may be any of the prefix.
func parseInterface(s string) (prefix netip.Prefix, wrong string) {
	text, lengthText, hasLength := strings.Cut(s, "/")
	if hasLength && !strings.Contains(text, ":") {
		if missing := 3 - strings.Count(text, "."); missing > 0 && text != "" {
			text += strings.Repeat(".0", missing)
		}
	}
	addr, wrong := parseAddress(text)
	if wrong != "" {
		if wrong == "expected an IP address" {
			wrong = "expected a prefix such as 192.0.2.0/24 or 2001:db8::/32"
		}
		return netip.Prefix{}, wrong
	}
	length := addr.BitLen()
	if hasLength {
		n, ok := parseNumber(lengthText)
		if !ok || n > uint64(length) {
			return netip.Prefix{}, fmt.Sprintf("expected a prefix length from 0 to %d", length)
		}
		length = int(n)
	}
	return netip.PrefixFrom(addr, length), ""
}

// familyOf is the family of an address.
func familyOf(a netip.Addr) uint8 {
	if a.Is4() {
		return packet.IPv4
	}
	return packet.IPv6
}

// familyName is how messages call a family.
func familyName(f uint8) string {
	if f == packet.IPv4 {
		return "IPv4"
	}
	return "IPv6"
}

// parseDSCP reads a code point, not shifted: a name, a number up to 63, or VALUE/MASK.
func parseDSCP(s string) (m masked, wrong string) {
	if v, ok := packet.DSCPs.Number(s); ok {
		return masked{uint32(v), 0x3f}, ""
	}
	m, _, wrong = parseMasked(s, 0x3f)
	if wrong != "" {
		return m, "expected a DSCP from 0 to 63, VALUE/MASK, or a name such as ef, af11 or cs1"
	}
	return m, ""
}

// parseProtocol reads an IP protocol by name or number.
func parseProtocol(s string) (proto uint8, ok bool) {
	if v, ok := packet.Protocols.Number(s); ok {
		return v, true
	}
	v, ok := parseNumber(s)
	return uint8(v), ok && v <= 255
}

// parsePorts reads TCP or UDP ports: a number, a range a-b, or VALUE/MASK.
func parsePorts(s string) (m policy.PortMatch, wrong string) {
	const expected = "expected a port from 1 to 65535, a range such as 8000-8099, or VALUE/MASK"
	if strings.Contains(s, "/") {
		v, _, wrong := parseMasked(s, 0xffff)
		switch {
		case wrong != "":
			return m, expected
		case v.mask == 0:
			return m, "mask 0 matches every port; leave the selector out"
		}
		return policy.PortMatch{Kind: policy.PortMask, Value: uint16(v.value), Mask: uint16(v.mask)}, ""
	}
	from, to, isRange := strings.Cut(s, "-")
	low, ok := parseNumber(from)
	high := low
	if isRange && ok {
		high, ok = parseNumber(to)
	}
	switch {
	case !ok || low < 1 || high < 1 || low > 0xffff || high > 0xffff:
		return m, expected
	case low > high:
		return m, fmt.Sprintf("range is backwards; did you mean %d-%d?", high, low)
	}
	return policy.PortMatch{Kind: policy.PortRange, Lo: uint16(low), Hi: uint16(high)}, ""
}

// parseRange reads a number up to limit, or a range a-b of such.
func parseRange(s string, limit uint32) (r policy.Range, wrong string) {
	expected := fmt.Sprintf("expected a number from 0 to %d, or a range such as 10-20", limit)
	from, to, isRange := strings.Cut(s, "-")
	low, ok := parseNumber(from)
	high := low
	if isRange && ok {
		high, ok = parseNumber(to)
	}
	switch {
	case !ok || low > uint64(limit) || high > uint64(limit):
		return r, expected
	case low > high:
		return r, fmt.Sprintf("range is backwards; did you mean %d-%d?", high, low)
	}
	return policy.Range{Lo: uint32(low), Hi: uint32(high), Mask: policy.AllBits}, ""
}

// parseTCPFlags reads flags that must be set and, after an exclamation mark, unset: `syn,!ack`, or VALUE/MASK.
func parseTCPFlags(s string) (m masked, wrong string) {
	expected := "expected TCP flags (" + packet.TCPFlags.String() + ") as in syn,!ack, or VALUE/MASK"
	if s[0] >= '0' && s[0] <= '9' {
		m, _, wrong = parseMasked(s, 0xff)
		if wrong != "" {
			return m, expected
		}
		return m, ""
	}
	for name := range strings.SplitSeq(s, ",") {
		name, unset := strings.CutPrefix(strings.ToLower(strings.TrimSpace(name)), "!")
		bit, ok := packet.TCPFlags.Number(name)
		flag := uint32(bit)
		switch {
		case !ok:
			return m, expected
		case m.mask&flag != 0:
			return m, name + " is given twice"
		}
		m.mask |= flag
		if !unset {
			m.value |= flag
		}
	}
	return m, ""
}

// parseMAC reads the Ethernet address of a host.
func parseMAC(s string) (mac [6]byte, wrong string) {
	const expected = "expected a MAC address such as 02:00:00:00:00:09"
	parts := strings.Split(strings.ReplaceAll(s, "-", ":"), ":")
	if len(parts) != len(mac) {
		return mac, expected
	}
	for i, p := range parts {
		v, err := strconv.ParseUint(p, 16, 8)
		if err != nil || len(p) != 2 {
			return mac, expected
		}
		mac[i] = byte(v)
	}
	switch {
	case mac[0]&1 != 0:
		return mac, "a host's MAC address is not multicast or broadcast (its first byte is even)"
	case mac == [6]byte{}:
		return mac, "the MAC address is zero"
	}
	return mac, ""
}

// nameMax is generous; only ports have a limit of the kernel's (IFNAMSIZ).
const nameMax = 64

// checkName says what is wrong with a name that the user gives to something of weir's.
func checkName(s string) (wrong string) {
	switch {
	case s == "":
		return "name is empty"
	case len(s) > nameMax:
		return fmt.Sprintf("name is longer than %d characters", nameMax)
	}
	for i, r := range s {
		letter := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || r == '_'
		if letter || i > 0 && ('0' <= r && r <= '9' || r == '-' || r == '.') {
			continue
		}
		return "a name begins with a letter and has letters, digits and _ - . only"
	}
	return ""
}

// checkPortName says what is wrong with the name of a network device (linux net/core/dev.c dev_valid_name).
func checkPortName(s string) (wrong string) {
	switch {
	case s == "" || len(s) > 15:
		return "a port's name has 1 to 15 characters"
	case s == "lo":
		return "lo is the loopback device: it has no frames to forward"
	case s == "." || s == ".." || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || r == '/' || r == ':' }):
		return "a port's name has no spaces, slashes or colons"
	}
	return ""
}

// checkHostname says what is wrong with a host name (RFC 1123 section 2.1).
func checkHostname(s string) (wrong string) {
	if len(s) > 253 || slices.ContainsFunc(strings.Split(s, "."), func(label string) bool {
		return label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' ||
			strings.ContainsFunc(label, func(r rune) bool {
				return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-'
			})
	}) {
		return "expected a host name: letters, digits and inner hyphens, labels of at most 63 characters"
	}
	return ""
}
