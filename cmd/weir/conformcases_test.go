package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"github.com/gopacket/gopacket/layers"

	"weir/policy/packet"
)

// conformCases are packets of every shape that a router must take as it is, and such as it must not take.
func conformCases() []besideCase {
	addr := netip.MustParseAddr
	onward, onward6 := addr("203.0.113.9"), addr("2001:db8:5::9")
	const tcp, icmp4, icmp6 = layers.IPProtocolTCP, layers.IPProtocolICMPv4, layers.IPProtocolICMPv6
	var list []besideCase
	add := func(want, name string, s spec, edit ...func([]byte) []byte) *besideCase {
		list = append(list, besideCase{name: name, s: s, edit: inOrder(edit...), want: want})
		return &list[len(list)-1]
	}
	opaque := func(kind byte, data ...byte) layers.IPv4Option {
		return layers.IPv4Option{OptionType: kind, OptionLength: uint8(len(data) + 2), OptionData: data}
	}
	add("em1 ip 72", "protocol tcp", spec{dst: onward, proto: tcp, sport: 7, dport: 9})
	add("em1 ip 52", "protocol 132", spec{dst: onward, proto: 132, sport: 7, dport: 9})
	add("em1 ip 52", "protocol 33", spec{dst: onward, proto: 33, sport: 7, dport: 9})
	add("em1 ip 52", "protocol 136", spec{dst: onward, proto: 136, sport: 7, dport: 9})
	add("em1 ip 52", "protocol 50", spec{dst: onward, proto: 50, sport: 7, dport: 9})
	add("em1 ip 52", "protocol 47", spec{dst: onward, proto: 47, sport: 7, dport: 9})
	add("em1 ip 52", "protocol 4", spec{dst: onward, proto: 4, sport: 7, dport: 9})
	add("em1 ip 52", "protocol 41", spec{dst: onward, proto: 41, sport: 7, dport: 9})
	add("em1 ip 52", "protocol 253", spec{dst: onward, proto: 253, sport: 7, dport: 9})
	add("em1 ip 52", "protocol 89", spec{dst: onward, proto: 89, sport: 7, dport: 9})
	add("em1 ip 60", "protocol icmp4", spec{dst: onward, proto: icmp4, sport: 7, dport: 9})
	for _, tos := range []uint8{0x01, 0x02, 0x03, 0x10, 0x1c, 0xb8, 0xbb, 0xfc, 0xff} {
		add("em1 ip 60", fmt.Sprintf("TOS %#x", tos), spec{dst: onward, tos: tos})
	}
	add("em1 ip 60", "TTL 2", spec{dst: onward, ttl: 2})
	add("em1 ip 60", "TTL 3", spec{dst: onward, ttl: 3})
	add("em1 ip 60", "TTL 255", spec{dst: onward, ttl: 255})
	add("em0 11/0 from 10.0.0.1", "TTL 0", spec{dst: onward}, ttl0)
	add("em1 ip 40", "payload of 12", spec{dst: onward, payload: 12})
	add("em1 ip 41", "payload of 13", spec{dst: onward, payload: 13})
	add("em1 ip 42", "payload of 14", spec{dst: onward, payload: 14})
	add("em1 ip 43", "payload of 15", spec{dst: onward, payload: 15})
	add("em1 ip 20", "header alone", spec{dst: onward, proto: 253}).bare = true
	add("em1 ip 20", "header alone, padded", spec{dst: onward, proto: 253}, trailer(26)).bare = true
	add("em1 ip 1399", "MTU -1", spec{dst: onward, payload: 1371, df: true})
	add("em1 ip 1400", "MTU +0", spec{dst: onward, payload: 1372, df: true})
	add("em0 3/4 from 10.0.0.1", "MTU +1", spec{dst: onward, payload: 1373, df: true})
	add("em1 ip 60", "trailer of 1", spec{dst: onward}, trailer(1))
	add("em1 ip 60", "trailer of 2", spec{dst: onward}, trailer(2))
	add("em1 ip 60", "trailer of 3", spec{dst: onward}, trailer(3))
	add("em1 ip 60", "trailer of 6", spec{dst: onward}, trailer(6))
	add("em1 ip 60", "trailer of 64", spec{dst: onward}, trailer(64))
	add("em1 ip 1400", "trailer beyond the MTU", spec{dst: onward, payload: 1372, df: true}, trailer(9))
	add("em0 11/0 from 10.0.0.1", "TTL 1, with a trailer", spec{dst: onward, ttl: 1}, trailer(9))
	add("em1 ip 60", "UDP without a checksum", spec{dst: onward}, put(40, 0, 0))
	add("em1 ip 60", "UDP with a wrong checksum", spec{dst: onward}, put(40, 0x12, 0x34))
	add("em1 ip 60", "UDP longer than the packet", spec{dst: onward}, put(38, 0xff, 0xff))
	add("em1 ip 72", "TCP with a wrong checksum", spec{dst: onward, proto: tcp}, put(50, 0x12, 0x34))
	add("em1 ip 72", "TCP shorter than its header", spec{dst: onward, proto: tcp}, put(46, 0xf0))
	add("", "to all", spec{dst: onward}, groupFrame)
	add("", "to a group's MAC", spec{dst: onward}, put(0, 1, 0, 0x5e, 0, 0, 9))
	add("", "to another MAC", spec{dst: onward}, put(0, 2, 0, 0, 0, 0, 0x55))
	add("em1 ip 92", "protocol tcp", spec{dst: onward6, proto: tcp, sport: 7, dport: 9})
	add("em1 ip 72", "protocol 132", spec{dst: onward6, proto: 132, sport: 7, dport: 9})
	add("em1 ip 72", "protocol 33", spec{dst: onward6, proto: 33, sport: 7, dport: 9})
	add("em1 ip 72", "protocol 136", spec{dst: onward6, proto: 136, sport: 7, dport: 9})
	add("em1 ip 72", "protocol 50", spec{dst: onward6, proto: 50, sport: 7, dport: 9})
	add("em1 ip 72", "protocol 47", spec{dst: onward6, proto: 47, sport: 7, dport: 9})
	add("em1 ip 72", "protocol 4", spec{dst: onward6, proto: 4, sport: 7, dport: 9})
	add("em1 ip 72", "protocol 41", spec{dst: onward6, proto: 41, sport: 7, dport: 9})
	add("em1 ip 72", "protocol 253", spec{dst: onward6, proto: 253, sport: 7, dport: 9})
	add("em1 ip 72", "protocol 89", spec{dst: onward6, proto: 89, sport: 7, dport: 9})
	add("em1 ip 80", "protocol icmp6", spec{dst: onward6, proto: icmp6, sport: 7, dport: 9})
	for _, tos := range []uint8{0x01, 0x02, 0x03, 0x10, 0x1c, 0xb8, 0xbb, 0xfc, 0xff} {
		add("em1 ip 80", fmt.Sprintf("TOS %#x", tos), spec{dst: onward6, tos: tos})
	}
	add("em1 ip 80", "TTL 2", spec{dst: onward6, ttl: 2})
	add("em1 ip 80", "TTL 3", spec{dst: onward6, ttl: 3})
	add("em1 ip 80", "TTL 255", spec{dst: onward6, ttl: 255})
	add("em0 3/0 from fd00::1", "TTL 0", spec{dst: onward6}, ttl0)
	add("em1 ip 60", "payload of 12", spec{dst: onward6, payload: 12})
	add("em1 ip 61", "payload of 13", spec{dst: onward6, payload: 13})
	add("em1 ip 62", "payload of 14", spec{dst: onward6, payload: 14})
	add("em1 ip 63", "payload of 15", spec{dst: onward6, payload: 15})
	add("em1 ip 40", "header alone", spec{dst: onward6, proto: 59}).bare = true
	add("em1 ip 40", "header alone, padded", spec{dst: onward6, proto: 59}, trailer(6)).bare = true
	add("em1 ip 1399", "MTU -1", spec{dst: onward6, payload: 1351, df: true})
	add("em1 ip 1400", "MTU +0", spec{dst: onward6, payload: 1352, df: true})
	add("em0 2/0 from fd00::1", "MTU +1", spec{dst: onward6, payload: 1353, df: true})
	add("em1 ip 80", "trailer of 1", spec{dst: onward6}, trailer(1))
	add("em1 ip 80", "trailer of 2", spec{dst: onward6}, trailer(2))
	add("em1 ip 80", "trailer of 3", spec{dst: onward6}, trailer(3))
	add("em1 ip 80", "trailer of 6", spec{dst: onward6}, trailer(6))
	add("em1 ip 80", "trailer of 64", spec{dst: onward6}, trailer(64))
	add("em1 ip 1400", "trailer beyond the MTU", spec{dst: onward6, payload: 1352, df: true}, trailer(9))
	add("em0 3/0 from fd00::1", "TTL 1, with a trailer", spec{dst: onward6, ttl: 1}, trailer(9))
	add("em1 ip 80", "UDP without a checksum", spec{dst: onward6}, put(60, 0, 0))
	add("em1 ip 80", "UDP with a wrong checksum", spec{dst: onward6}, put(60, 0x12, 0x34))
	add("em1 ip 80", "UDP longer than the packet", spec{dst: onward6}, put(58, 0xff, 0xff))
	add("em1 ip 92", "TCP with a wrong checksum", spec{dst: onward6, proto: tcp}, put(70, 0x12, 0x34))
	add("em1 ip 92", "TCP shorter than its header", spec{dst: onward6, proto: tcp}, put(66, 0xf0))
	add("", "to all", spec{dst: onward6}, groupFrame)
	add("", "to a group's MAC", spec{dst: onward6}, put(0, 1, 0, 0x5e, 0, 0, 9))
	add("", "to another MAC", spec{dst: onward6}, put(0, 2, 0, 0, 0, 0, 0x55))
	add("em1 ip 72", "first fragment", spec{dst: onward, fragment: packet.FragmentFirst, proto: tcp})
	add("em1 ip 100", "first fragment", spec{dst: onward6, fragment: packet.FragmentFirst, proto: tcp})
	add("em1 ip 52", "later fragment", spec{dst: onward, fragment: packet.FragmentLater, proto: tcp})
	add("em1 ip 80", "later fragment", spec{dst: onward6, fragment: packet.FragmentLater, proto: tcp})
	add("em1 ip 72", "option: security", spec{dst: onward, options: []layers.IPv4Option{opaque(130, 0, 0, 0, 0, 0, 0, 0, 0, 0)}})
	add("em1 ip 64", "option: stream identifier", spec{dst: onward, options: []layers.IPv4Option{opaque(136, 0, 9)}})
	add("em1 ip 64", "option: MTU probe", spec{dst: onward, options: []layers.IPv4Option{opaque(11, 5, 220)}})
	add("em1 ip 68", "option: experiment", spec{dst: onward, options: []layers.IPv4Option{opaque(94, 1, 2, 3, 4, 5, 6)}})
	add("em1 ip 100", "option: forty bytes", spec{dst: onward, options: []layers.IPv4Option{opaque(222, make([]byte, 38)...)}})
	add("", "option: strict source route", spec{dst: onward, options: []layers.IPv4Option{opaque(137, 4, 10, 0, 1, 2)}})
	add("", "option: source route used up", spec{dst: onward, options: []layers.IPv4Option{opaque(131, 8, 10, 0, 1, 2)}})
	add("em1 ip 68", "option: quick start", spec{dst: onward, options: []layers.IPv4Option{opaque(25, 0, 0, 1, 2, 3, 4)}})
	add("em1 ip 64", "option: router alert with a value", spec{dst: onward, options: []layers.IPv4Option{opaque(148, 0, 1)}})
	add("em1 ip 68", "option: router alert of a wrong length", spec{dst: onward, options: []layers.IPv4Option{opaque(148, 0, 0, 0, 0)}})
	add("em1 ip 64", "options of one byte", spec{dst: onward}, func(f []byte) []byte { return withOptions(f, 1, 1, 1, 0) })
	add("em1 ip 64", "options behind their end", spec{dst: onward}, func(f []byte) []byte { return withOptions(f, 0, 7, 0, 0) }).
		differs = "Linux clears them"
	add("em0 12/0 from 10.0.0.1", "option of length 0", spec{dst: onward}, func(f []byte) []byte { return withOptions(f, 7, 0, 0, 0) })
	add("em0 12/0 from 10.0.0.1", "option of length 1", spec{dst: onward}, func(f []byte) []byte { return withOptions(f, 30, 1, 0, 0) })
	add("em0 12/0 from 10.0.0.1", "option beyond the header", spec{dst: onward}, func(f []byte) []byte { return withOptions(f, 30, 9, 0, 0) })
	add("", "wrong header checksum", spec{dst: onward}, put(24, 0x12, 0x34))
	add("em1 ip 60", "reserved flag", spec{dst: onward}, put(20, 0x80), fixIPv4)
	add("em1 ip 60", "first fragment with DF", spec{dst: onward, df: true, fragment: packet.FragmentFirst})
	add("em0 3/4 from 10.0.0.1", "too big first fragment with DF", spec{dst: onward, df: true, fragment: packet.FragmentFirst, payload: 1400})
	add("", "from 0.0.0.0", spec{src: addr("0.0.0.0"), dst: onward})
	add("em1 ip 60", "from 0.1.2.3", spec{src: addr("0.1.2.3"), dst: onward})
	add("", "from 127.0.0.1", spec{src: addr("127.0.0.1"), dst: onward})
	add("em1 ip 60", "from 169.254.9.9", spec{src: addr("169.254.9.9"), dst: onward})
	add("", "from 224.0.0.9", spec{src: addr("224.0.0.9"), dst: onward})
	add("", "from 239.1.2.3", spec{src: addr("239.1.2.3"), dst: onward})
	add("em1 ip 60", "from 240.0.0.9", spec{src: addr("240.0.0.9"), dst: onward})
	add("", "from 255.255.255.255", spec{src: addr("255.255.255.255"), dst: onward})
	add("", "from 10.0.0.1", spec{src: addr("10.0.0.1"), dst: onward})
	add("", "from 10.0.1.1", spec{src: addr("10.0.1.1"), dst: onward})
	add("", "from 10.0.0.255", spec{src: addr("10.0.0.255"), dst: onward})
	add("", "from 10.0.1.255", spec{src: addr("10.0.1.255"), dst: onward})
	add("em1 ip 60", "from 10.0.0.0", spec{src: addr("10.0.0.0"), dst: onward})
	add("em1 ip 60", "from 10.0.1.0", spec{src: addr("10.0.1.0"), dst: onward})
	add("em1 ip 60", "from 10.0.1.2", spec{src: addr("10.0.1.2"), dst: onward})
	add("em1 ip 60", "from 192.0.2.255", spec{src: addr("192.0.2.255"), dst: onward})
	add("", "to 0.0.0.0", spec{dst: addr("0.0.0.0")})
	add("em0 3/0 from 10.0.0.1", "to 0.1.2.3", spec{src: addr("10.0.0.6"), dst: addr("0.1.2.3")})
	add("", "to 127.0.0.1", spec{dst: addr("127.0.0.1")})
	add("em0 3/0 from 10.0.0.1", "to 169.254.9.9", spec{src: addr("10.0.0.6"), dst: addr("169.254.9.9")})
	add("", "to 224.0.0.1", spec{dst: addr("224.0.0.1")})
	add("", "to 239.1.2.3", spec{dst: addr("239.1.2.3")})
	add("em0 3/0 from 10.0.0.1", "to 240.0.0.9", spec{src: addr("10.0.0.6"), dst: addr("240.0.0.9")})
	add("", "to 255.255.255.255", spec{dst: addr("255.255.255.255")})
	add("", "to 10.0.1.255", spec{dst: addr("10.0.1.255")})
	add("", "to 10.0.0.255", spec{dst: addr("10.0.0.255")})
	add("", "to 10.0.1.0", spec{dst: addr("10.0.1.0")})
	add("", "to a group", spec{dst: addr("239.1.2.3")}, put(0, 1, 0, 0x5e, 1, 2, 3))
	add("", "from ::", spec{src: addr("::"), dst: onward6})
	add("", "from ::1", spec{src: addr("::1"), dst: onward6})
	add("em1 ip 80", "from ::ffff:1.2.3.4", spec{src: addr("::ffff:1.2.3.4"), dst: onward6})
	add("em1 ip 80", "from ::1.2.3.4", spec{src: addr("::1.2.3.4"), dst: onward6})
	add("em0 1/2 from link-local", "from fe80::9", spec{src: addr("fe80::9"), dst: onward6})
	add("em1 ip 80", "from fec0::9", spec{src: addr("fec0::9"), dst: onward6})
	add("", "from ff02::1", spec{src: addr("ff02::1"), dst: onward6})
	add("", "from ff0e::1", spec{src: addr("ff0e::1"), dst: onward6})
	add("em1 ip 80", "from fd00::1", spec{src: addr("fd00::1"), dst: onward6})
	add("em1 ip 80", "from fd00:0:0:1::1", spec{src: addr("fd00:0:0:1::1"), dst: onward6})
	add("em1 ip 80", "from fd00::", spec{src: addr("fd00::"), dst: onward6})
	add("em1 ip 80", "from 64:ff9b::102:304", spec{src: addr("64:ff9b::102:304"), dst: onward6})
	add("em1 ip 80", "from 2002:102:304::1", spec{src: addr("2002:102:304::1"), dst: onward6})
	add("em0 1/0 from fd00::1", "to ::", spec{dst: addr("::")}).other("", "nobody has it")
	add("", "to ::1", spec{dst: addr("::1")})
	add("em0 1/0 from fd00::1", "to ::ffff:1.2.3.4", spec{dst: addr("::ffff:1.2.3.4")})
	add("", "to fe80::99", spec{dst: addr("fe80::99")})
	add("em0 1/0 from fd00::1", "to fec0::9", spec{dst: addr("fec0::9")})
	add("", "to ff02::1", spec{dst: addr("ff02::1")})
	add("", "to ff05::2", spec{dst: addr("ff05::2")})
	add("", "to ff0e::1", spec{dst: addr("ff0e::1")})
	add("em0 1/4 from fd00:0:0:1::", "to fd00:0:0:1::", spec{dst: addr("fd00:0:0:1::")}).
		other("", "the kernel joins the anycast address of a router's networks where it forwards itself").local = true
	add("em0 1/0 from fd00::1", "to 64:ff9b::102:304", spec{dst: addr("64:ff9b::102:304")})
	add("", "to a group", spec{dst: addr("ff0e::9")}, put(0, 0x33, 0x33, 0, 0, 0, 9))
	add("em0 0/0 from 10.0.0.1", "ping to 10.0.0.1", spec{dst: addr("10.0.0.1"), proto: icmp4}).local = true
	add("em0 3/3 from 10.0.0.1", "UDP to 10.0.0.1", spec{dst: addr("10.0.0.1"), dport: 9}).local = true
	add("em0 0/0 from 10.0.1.1", "ping to 10.0.1.1", spec{dst: addr("10.0.1.1"), proto: icmp4}).local = true
	add("em0 3/3 from 10.0.1.1", "UDP to 10.0.1.1", spec{dst: addr("10.0.1.1"), dport: 9}).local = true
	add("em0 129/0 from fd00::1", "ping to fd00::1", spec{dst: addr("fd00::1"), proto: icmp6}).local = true
	add("em0 1/4 from fd00::1", "UDP to fd00::1", spec{dst: addr("fd00::1"), dport: 9}).local = true
	add("em0 129/0 from fd00:0:0:1::1", "ping to fd00:0:0:1::1", spec{dst: addr("fd00:0:0:1::1"), proto: icmp6}).local = true
	add("em0 1/4 from fd00:0:0:1::1", "UDP to fd00:0:0:1::1", spec{dst: addr("fd00:0:0:1::1"), dport: 9}).local = true
	add("em1 ip 88", "destination options", spec{dst: onward6, sport: 7, dport: 9}, header(60, 0, 1, 4, 0, 0, 0, 0))
	add("em0 3/0 from fd00::1", "hop limit 1, destination options", spec{dst: onward6, ttl: 1}, header(60, 0, 1, 4, 0, 0, 0, 0))
	add("em1 ip 88", "destination option to be complained of", spec{dst: onward6, sport: 7, dport: 9}, header(60, 0, 0x9e, 4, 1, 2, 3, 4))
	add("em0 3/0 from fd00::1", "hop limit 1, destination option to be complained of", spec{dst: onward6, ttl: 1}, header(60, 0, 0x9e, 4, 1, 2, 3, 4))
	add("em1 ip 104", "routing header 0", spec{dst: onward6, sport: 7, dport: 9}, header(43, 2, 0, 1, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16))
	add("em0 3/0 from fd00::1", "hop limit 1, routing header 0", spec{dst: onward6, ttl: 1}, header(43, 2, 0, 1, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16))
	add("em1 ip 104", "routing header 2", spec{dst: onward6, sport: 7, dport: 9}, header(43, 2, 2, 1, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16))
	add("em0 3/0 from fd00::1", "hop limit 1, routing header 2", spec{dst: onward6, ttl: 1}, header(43, 2, 2, 1, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16))
	add("em1 ip 104", "routing header 4", spec{dst: onward6, sport: 7, dport: 9}, header(43, 2, 4, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16))
	add("em0 3/0 from fd00::1", "hop limit 1, routing header 4", spec{dst: onward6, ttl: 1}, header(43, 2, 4, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16))
	add("em1 ip 88", "routing header unknown", spec{dst: onward6, sport: 7, dport: 9}, header(43, 0, 77, 1, 0, 0, 0, 0))
	add("em0 3/0 from fd00::1", "hop limit 1, routing header unknown", spec{dst: onward6, ttl: 1}, header(43, 0, 77, 1, 0, 0, 0, 0))
	add("em1 ip 88", "atomic fragment", spec{dst: onward6, sport: 7, dport: 9}, header(44, 0, 0, 0, 0, 0, 0, 1))
	add("em0 3/0 from fd00::1", "hop limit 1, atomic fragment", spec{dst: onward6, ttl: 1}, header(44, 0, 0, 0, 0, 0, 0, 1))
	add("em1 ip 104", "authentication", spec{dst: onward6, sport: 7, dport: 9}, header(51, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12))
	add("em0 3/0 from fd00::1", "hop limit 1, authentication", spec{dst: onward6, ttl: 1}, header(51, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12))
	add("em1 ip 88", "mobility", spec{dst: onward6, sport: 7, dport: 9}, header(135, 0, 0, 0, 0, 0, 0, 0))
	add("em0 3/0 from fd00::1", "hop limit 1, mobility", spec{dst: onward6, ttl: 1}, header(135, 0, 0, 0, 0, 0, 0, 0))
	add("em1 ip 88", "host identity", spec{dst: onward6, sport: 7, dport: 9}, header(139, 0, 0, 0, 0, 0, 0, 0))
	add("em0 3/0 from fd00::1", "hop limit 1, host identity", spec{dst: onward6, ttl: 1}, header(139, 0, 0, 0, 0, 0, 0, 0))
	add("em1 ip 96", "hop-by-hop in second place", spec{dst: onward6, sport: 7, dport: 9}, header(0, 0, 1, 4, 0, 0, 0, 0), header(60, 0, 1, 4, 0, 0, 0, 0))
	add("em0 3/0 from fd00::1", "hop limit 1, hop-by-hop in second place", spec{dst: onward6, ttl: 1}, header(0, 0, 1, 4, 0, 0, 0, 0), header(60, 0, 1, 4, 0, 0, 0, 0))
	add("em1 ip 136", "hop-by-hop and all others", spec{dst: onward6, sport: 7, dport: 9}, header(51, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12), header(44, 0, 0, 0, 0, 0, 0, 1), header(43, 0, 77, 0, 0, 0, 0, 0), header(60, 0, 1, 4, 0, 0, 0, 0), header(0, 0, 1, 4, 0, 0, 0, 0))
	add("em0 3/0 from fd00::1", "hop limit 1, hop-by-hop and all others", spec{dst: onward6, ttl: 1}, header(51, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12), header(44, 0, 0, 0, 0, 0, 0, 1), header(43, 0, 77, 0, 0, 0, 0, 0), header(60, 0, 1, 4, 0, 0, 0, 0), header(0, 0, 1, 4, 0, 0, 0, 0))
	add("em1 ip 88", "header beyond the packet", spec{dst: onward6, sport: 7, dport: 9}, header(60, 200, 1, 4, 0, 0, 0, 0))
	add("em0 3/0 from fd00::1", "hop limit 1, header beyond the packet", spec{dst: onward6, ttl: 1}, header(60, 200, 1, 4, 0, 0, 0, 0))
	add("", "fragment header cut short", spec{dst: onward6, sport: 7, dport: 9}, put(20, 44), cut(58))
	add("em1 ip 96", "hop-by-hop header, twice", spec{dst: onward6, sport: 7, dport: 9}, header(0, 0, 1, 4, 0, 0, 0, 0), header(0, 0, 1, 4, 0, 0, 0, 0))
	add("em0 3/0 from fd00::1", "hop limit 1, hop-by-hop header, twice", spec{dst: onward6, ttl: 1}, header(0, 0, 1, 4, 0, 0, 0, 0), header(0, 0, 1, 4, 0, 0, 0, 0))
	add("em1 ip 72", "no next header", spec{dst: onward6, proto: 59})
	add("em1 ip 80", "flow label", spec{dst: onward6, flow: 0xfffff, tos: 0xff})
	add("em0 3/0 from fd00::1", "hop limit 1, flow label", spec{dst: onward6, flow: 0xabcde, tos: 0xb9, ttl: 1})
	add("", "blackhole", spec{dst: addr("198.51.100.130")})
	add("em0 3/0 from 10.0.0.1", "throw", spec{src: addr("10.0.0.6"), dst: addr("198.51.100.70")})
	add("", "blackhole", spec{dst: addr("2001:db8:5:3::9")})
	add("em0 1/0 from fd00::1", "throw", spec{dst: addr("2001:db8:5:4::9")})
	for k, r := range besideRules {
		name := fmt.Sprintf("rule %s%s", r.action, r.onMiss)
		for family, told := range r.told {
			s := spec{src: netip.MustParsePrefix(besideSenders(k)[family]).Addr().Next(), dst: []netip.Addr{onward, onward6}[family]}
			forwarded := []string{"em1 ip 60", "em1 ip 80"}[family]
			otherwise := func(c *besideCase) {
				if r.onMiss == "unreachable" && family == 0 {
					c.other("em1 3/0 from 10.0.1.1", "an opaque table has no route, Linux's one that is unreachable")
				}
			}
			otherwise(add(told, name, s))
			if r.onMiss != "fall-through" {
				s.ttl = 1
				otherwise(add(told, name+", TTL 1", s))
				s.ttl = 0
			}
			s.dst = addr([]string{"198.18.1.9", "2001:db8:8::9"}[family])
			if r.action != "" {
				forwarded = told
			}
			add(forwarded, name+", hit", s)
		}
	}
	return list
}

// inOrder makes several edits one.
func inOrder(edits ...func([]byte) []byte) func([]byte) []byte {
	return func(f []byte) []byte {
		for _, edit := range edits {
			f = edit(f)
		}
		return f
	}
}

// put writes bytes into a frame.
func put(at int, b ...byte) func([]byte) []byte {
	return func(f []byte) []byte {
		copy(f[at:], b)
		return f
	}
}

// trailer is what lies behind the packet in its frame.
func trailer(n int) func([]byte) []byte {
	return func(f []byte) []byte { return append(f, bytes.Repeat([]byte{0xa5}, n)...) }
}

// cut leaves the first bytes of an IPv6 packet, and makes its length right.
func cut(n int) func([]byte) []byte {
	return func(f []byte) []byte {
		f = f[:n]
		binary.BigEndian.PutUint16(f[18:], uint16(n-54))
		return f
	}
}

// ttl0 makes the TTL or hop limit 0.
func ttl0(f []byte) []byte {
	if f[14]>>4 == 6 {
		f[21] = 0
		return f
	}
	f[22] = 0
	return fixIPv4(f)
}

// header puts an IPv6 extension header behind the fixed one: what follows its first byte.
func header(kind byte, rest ...byte) func([]byte) []byte {
	return func(f []byte) []byte {
		out := slices.Concat(f[:54], []byte{f[20]}, rest, f[54:])
		out[20] = kind
		binary.BigEndian.PutUint16(out[18:], uint16(len(out)-54))
		return out
	}
}
