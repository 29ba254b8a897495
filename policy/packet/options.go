package packet

import "encoding/binary"

// IPv4 options (IANA "IP Option Numbers").
const (
	optionEnd         uint8 = 0
	optionNop         uint8 = 1
	optionRecordRoute uint8 = 7
	optionTimestamp   uint8 = 68
	optionLSRR        uint8 = 131 // loose source and record route
	optionSSRR        uint8 = 137 // strict source and record route
	optionAlert       uint8 = 148 // router alert (RFC 2113)

	timestampOnly, timestampAddress, timestampPrespecified = 0, 1, 3 // flags of a timestamp (RFC 791 section 3.1)
)

// IPv6 hop-by-hop options (IANA "Destination Options and Hop-by-Hop Options").
const (
	hopPad1  uint8 = 0
	hopPadN  uint8 = 1
	hopAlert uint8 = 5    // router alert (RFC 2711)
	hopJumbo uint8 = 0xc2 // jumbo payload (RFC 2675)

	paddingMax    = 7 // bytes in a row, all that alignment can ask for
	hopOptionsMax = 8 // Linux's IP6_DEFAULT_MAX_HBH_OPTS_CNT; RFC 9673 section 5.2.2.2 has routers limit them

	problemField         uint8 = 0 // codes of ICMPv6 parameter problems (RFC 4443 section 3.4)
	problemUnknownOption uint8 = 2
)

// fault is what is wrong with the options of a packet. The zero fault is nothing.
type fault struct {
	reason  Reason
	code    uint8  // of the parameter problem
	pointer uint16 // of the parameter problem: offset in the IP packet; 0: none is sent
}

// Problem is the ICMP error, without a source, that is due about a packet that Parse refused for its options: 12/0
// (RFC 1812 section 4.3.3.5), or ICMPv6 4/0 or 4/2 (RFC 8200 section 4.2). k is what Parse made of it, which is all of it in
// this case.
func Problem(frame []byte, k *Key) (e Error, ok bool) {
	if k.Family == 0 { // refused before
		return e, false
	}
	l3 := k.L3()
	if k.Family == IPv4 {
		end := l3 + int(frame[l3]&0x0f)*4
		f := checkIPv4Options(frame[l3+IPv4HeaderLen : end])
		return Error{Type: icmpParameterProblem, Info: uint32(f.pointer) << 24}, f.pointer != 0
	}
	f := fault{}
	if frame[l3+6] == extHopByHop {
		f = checkHopByHop(frame[l3:][:k.Length])
	}
	return Error{Type: icmpv6ParameterProblem, Code: f.code, Info: uint32(f.pointer)}, f.pointer != 0
}

// checkIPv4Options walks the options of a header. As Linux does (__ip_options_compile in net/ipv4/ip_options.c), it refuses
// those that make no sense, and source routes, which a router is advised not to honour unless told to (RFC 7126 sections 4.3
// and 4.4; accept_source_route, off by default). Other options are forwarded as they are: weir does not write itself
// into a record route or a timestamp, which are for measuring, tell of the inside of a network, and cost every router on
// the way (RFC 7126 sections 4.5 and 4.7).
func checkIPv4Options(options []byte) (f fault) {
	var seen struct{ route, record, timestamp bool }
	again := false // an option that there must be only one of
	bad := func(rest []byte, at int) fault {
		return fault{reason: BadOption, pointer: uint16(IPv4HeaderLen + len(options) - len(rest) + at)}
	}
	for rest := options; len(rest) > 0; {
		kind := rest[0]
		if kind == optionEnd {
			break
		}
		if kind == optionNop {
			rest = rest[1:]
			continue
		}
		if len(rest) < 2 || rest[1] < 2 || int(rest[1]) > len(rest) {
			return bad(rest, 0)
		}
		o := rest[:rest[1]]
		at := 0
		switch kind {
		case optionLSRR, optionSSRR:
			at = badRoute(o)
			f.reason = SourceRoute
			again, seen.route = seen.route, true
		case optionRecordRoute:
			if at = badRoute(o); at == 0 && int(o[2]) <= len(o) && int(o[2])+3 > len(o) {
				at = 2
			}
			again, seen.record = seen.record, true
		case optionTimestamp:
			at = badTimestamp(o)
			again, seen.timestamp = seen.timestamp, true
		case optionAlert:
			if len(o) < 4 {
				at = 1
			}
		}
		switch {
		case again:
			return bad(rest, 0)
		case at != 0:
			return bad(rest, at)
		}
		rest = rest[len(o):]
	}
	return f
}

// badRoute is where a source or record route is wrong, 0 if it is not.
func badRoute(o []byte) int {
	switch {
	case len(o) < 3:
		return 1
	case o[2] < 4:
		return 2
	}
	return 0
}

// badTimestamp is where a timestamp option is wrong, 0 if it is not.
func badTimestamp(o []byte) int {
	if len(o) < 4 {
		return 1
	}
	if o[2] < 5 {
		return 2
	}
	kind := o[3] & 0x0f
	if int(o[2]) > len(o) { // full: routers count that they had no room
		if kind != timestampPrespecified && o[3]>>4 == 15 {
			return 3
		}
		return 0
	}
	need := 3
	if kind == timestampAddress || kind == timestampPrespecified {
		need = 7
	}
	if int(o[2])+need > len(o) {
		return 2
	}
	return 0
}

// checkHopByHop walks the options of the hop-by-hop header at the beginning of an IPv6 packet, as Linux does (ip6_parse_tlv
// in net/ipv6/exthdrs.c): what cannot be walked, padding beyond the need, and more options than a router should look at are
// dropped in silence. What an option that is not known wants is in its two upper bits (RFC 8200 section 4.2).
func checkHopByHop(packet []byte) fault {
	silent := fault{reason: BadOption}
	if len(packet) < IPv6HeaderLen+2 {
		return silent
	}
	end := IPv6HeaderLen + extensionLen(extHopByHop, packet[IPv6HeaderLen:])
	if end > len(packet) {
		return silent
	}
	padding, count := 0, 0
	for at := IPv6HeaderLen + 2; at < end; {
		if packet[at] == hopPad1 {
			if padding++; padding > paddingMax {
				return silent
			}
			at++
			continue
		}
		if end-at < 2 || int(packet[at+1])+2 > end-at {
			return silent
		}
		o := packet[at:][:int(packet[at+1])+2]
		if o[0] == hopPadN {
			if padding += len(o); padding > paddingMax || !allZero(o[2:]) {
				return silent
			}
			at += len(o)
			continue
		}
		if count++; count > hopOptionsMax {
			return silent
		}
		if f := checkHopOption(packet, o, at); f.reason != None {
			return f
		}
		padding = 0
		at += len(o)
	}
	return fault{}
}

// checkHopOption looks at the option o at the given offset of the packet.
func checkHopOption(packet, o []byte, at int) fault {
	pointer := uint16(at)
	switch o[0] {
	case hopAlert:
		if len(o) != 4 {
			return fault{reason: BadOption}
		}
	case hopJumbo: // no frame holds a packet that needs one
		switch {
		case len(o) != 6 || at&3 != 2:
			return fault{reason: BadOption}
		case binary.BigEndian.Uint32(o[2:]) <= maxPacketLen:
			return fault{BadOption, problemField, pointer + 2}
		case binary.BigEndian.Uint16(packet[4:]) != 0:
			return fault{BadOption, problemField, pointer}
		}
		return fault{reason: BadOption}
	default:
		switch o[0] >> 6 {
		case 1:
			return fault{reason: UnknownOption}
		case 2, 3: // the latter not about multicast, which does not get here
			return fault{UnknownOption, problemUnknownOption, pointer}
		}
	}
	return fault{}
}

func allZero(b []byte) bool {
	for _, x := range b {
		if x != 0 {
			return false
		}
	}
	return true
}
