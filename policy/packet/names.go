package packet

import (
	"iter"
	"strings"
)

// Names are the words for the numbers of one field, in the configuration, in descriptions of packets and in
// explanations alike.. A number may have several; the first is the one that is printed.
type Names struct {
	list   []name
	number map[string]uint8
	text   map[uint8]string
}

type name struct {
	text   string
	number uint8
}

func newNames(list ...name) *Names {
	n := &Names{list: list, number: make(map[string]uint8), text: make(map[uint8]string)}
	for _, e := range list {
		n.number[e.text] = e.number
		if _, ok := n.text[e.number]; !ok {
			n.text[e.number] = e.text
		}
	}
	return n
}

// Number is what a name, in letters of any case, stands for.
func (n *Names) Number(text string) (number uint8, ok bool) {
	number, ok = n.number[strings.ToLower(text)]
	return number, ok
}

// Text is the name of a number, or empty where it has none.
func (n *Names) Text(number uint8) string { return n.text[number] }

// All are the names in the order of their numbers.
func (n *Names) All() iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, e := range n.list {
			if !yield(e.text) {
				return
			}
		}
	}
}

// String lists the names for a message.
func (n *Names) String() string {
	var list []string
	for text := range n.All() {
		list = append(list, text)
	}
	return strings.Join(list, ", ")
}

// Protocols are IANA "Assigned Internet Protocol Numbers", in the spelling of getprotobyname(3).
var Protocols = newNames(
	name{"icmp", ProtoICMP}, name{"igmp", 2}, name{"ipip", 4}, name{"ipencap", 4}, name{"tcp", ProtoTCP}, name{"egp", 8}, name{"igp", 9},
	name{"udp", ProtoUDP}, name{"dccp", 33}, name{"ipv6", 41}, name{"rsvp", 46}, name{"gre", 47}, name{"esp", 50}, name{"ah", 51},
	name{"icmpv6", ProtoICMPv6}, name{"ipv6-icmp", ProtoICMPv6}, name{"eigrp", 88}, name{"ospf", 89}, name{"pim", 103},
	name{"vrrp", 112}, name{"l2tp", 115}, name{"sctp", 132}, name{"udplite", 136}, name{"mpls-in-ip", 137},
)

// DSCPs are the code points, not shifted, that have names: lower effort (RFC 8622), class selectors (RFC 2474 section
// 4.2.2), assured forwarding (RFC 2597 section 6), VOICE-ADMIT (RFC 5865), expedited forwarding (RFC 3246).
var DSCPs = newNames(
	name{"default", 0}, name{"cs0", 0}, name{"le", 1}, name{"cs1", 8}, name{"af11", 10}, name{"af12", 12}, name{"af13", 14},
	name{"cs2", 16}, name{"af21", 18}, name{"af22", 20}, name{"af23", 22}, name{"cs3", 24}, name{"af31", 26}, name{"af32", 28},
	name{"af33", 30}, name{"cs4", 32}, name{"af41", 34}, name{"af42", 36}, name{"af43", 38}, name{"cs5", 40},
	name{"voice-admit", 44}, name{"va", 44}, name{"ef", 46}, name{"cs6", 48}, name{"cs7", 56},
)

// TCPFlags are the bits of Key.TCPFlags (RFC 9293 section 3.1).
var TCPFlags = newNames(
	name{"fin", 0x01}, name{"syn", 0x02}, name{"rst", 0x04}, name{"psh", 0x08}, name{"ack", 0x10}, name{"urg", 0x20}, name{"ece", 0x40},
	name{"cwr", 0x80},
)

// ICMPTypes are IANA "ICMP Type Numbers" or, of IPv6, "ICMPv6 type Numbers", in the spelling of nft(8).
func ICMPTypes(family uint8) *Names {
	if family == IPv6 {
		return icmpv6Types
	}
	return icmpTypes
}

// ICMPCodes are the codes of destination-unreachable, likewise.
func ICMPCodes(family uint8) *Names {
	if family == IPv6 {
		return icmpv6Codes
	}
	return icmpCodes
}

var (
	icmpTypes = newNames(
		name{"echo-reply", 0}, name{"destination-unreachable", ICMPUnreachable}, name{"source-quench", icmpSourceQuench},
		name{"redirect", ICMPRedirect}, name{"echo-request", 8}, name{"router-advertisement", 9}, name{"router-solicitation", 10},
		name{"time-exceeded", ICMPTimeExceeded}, name{"parameter-problem", icmpParameterProblem}, name{"timestamp-request", 13},
		name{"timestamp-reply", 14}, name{"info-request", 15}, name{"info-reply", 16}, name{"address-mask-request", 17},
		name{"address-mask-reply", icmpLastKnown},
	)
	icmpv6Types = newNames(
		name{"destination-unreachable", ICMPv6Unreachable}, name{"packet-too-big", ICMPv6PacketTooBig},
		name{"time-exceeded", ICMPv6TimeExceeded}, name{"parameter-problem", icmpv6ParameterProblem}, name{"echo-request", 128},
		name{"echo-reply", 129}, name{"mld-listener-query", 130}, name{"mld-listener-report", 131}, name{"mld-listener-done", 132},
		name{"nd-router-solicit", 133}, name{"nd-router-advert", 134}, name{"nd-neighbor-solicit", 135}, name{"nd-neighbor-advert", 136},
		name{"nd-redirect", ICMPv6Redirect}, name{"router-renumbering", 138}, name{"ind-neighbor-solicit", 141},
		name{"ind-neighbor-advert", 142}, name{"mld2-listener-report", 143},
	)
	icmpCodes = newNames(
		name{"net-unreachable", ICMPNetUnreachable}, name{"host-unreachable", ICMPHostUnreachable}, name{"prot-unreachable", 2},
		name{"port-unreachable", ICMPPortUnreachable}, name{"frag-needed", ICMPFragNeeded}, name{"net-prohibited", 9},
		name{"host-prohibited", 10}, name{"admin-prohibited", ICMPAdminProhibited},
	)
	icmpv6Codes = newNames(
		name{"no-route", ICMPv6NoRoute}, name{"admin-prohibited", ICMPv6AdminProhibited}, name{"addr-unreachable", ICMPv6AddressUnreachable},
		name{"port-unreachable", ICMPv6PortUnreachable}, name{"policy-fail", 5}, name{"reject-route", 6},
	)
)
