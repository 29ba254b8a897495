package packet

import (
	"bytes"
	"testing"
)

// TestIPv4Options: what is refused, and where an ICMP error then points to (__ip_options_compile).
func TestIPv4Options(t *testing.T) {
	for _, c := range []struct {
		name    string
		options []byte
		want    fault
	}{
		{"none", nil, fault{}},
		{"padding", []byte{1, 1, 0, 9}, fault{}},
		{"unknown", []byte{30, 4, 0, 0}, fault{}},
		{"without a length", []byte{1, 1, 1, 7}, fault{BadOption, 0, 23}},
		{"length 1", []byte{1, 7, 1, 0}, fault{BadOption, 0, 21}},
		{"too long", []byte{7, 5, 4, 0}, fault{BadOption, 0, 20}},
		{"record route", []byte{7, 7, 4, 0, 0, 0, 0, 0}, fault{}},
		{"record route, full", []byte{7, 7, 8, 0, 0, 0, 0, 0}, fault{}},
		{"record route without pointer", []byte{1, 1, 7, 2}, fault{BadOption, 0, 23}},
		{"record route into itself", []byte{7, 7, 3, 0, 0, 0, 0, 0}, fault{BadOption, 0, 22}},
		{"record route, half full", []byte{7, 7, 5, 0, 0, 0, 0, 0}, fault{BadOption, 0, 22}},
		{"two record routes", []byte{7, 3, 4, 7, 3, 4, 0, 0}, fault{BadOption, 0, 23}},
		{"source route", []byte{131, 7, 4, 10, 0, 0, 1, 0}, fault{SourceRoute, 0, 0}},
		{"source route, bad", []byte{137, 7, 1, 10, 0, 0, 1, 0}, fault{BadOption, 0, 22}},
		{"two source routes", []byte{131, 3, 4, 137, 3, 4, 0, 0}, fault{BadOption, 0, 23}},
		{"source route, then worse", []byte{131, 3, 4, 7, 9, 4, 0, 0}, fault{BadOption, 0, 23}},
		{"timestamp", []byte{68, 8, 5, 0, 0, 0, 0, 0}, fault{}},
		{"timestamp with address", []byte{68, 12, 5, 1, 0, 0, 0, 0, 0, 0, 0, 0}, fault{}},
		{"timestamp, full", []byte{68, 8, 9, 0xe0, 0, 0, 0, 0}, fault{}},
		{"timestamp, overflown", []byte{68, 8, 9, 0xf0, 0, 0, 0, 0}, fault{BadOption, 0, 23}},
		{"timestamp too short", []byte{68, 3, 5, 0}, fault{BadOption, 0, 21}},
		{"timestamp into itself", []byte{68, 8, 4, 0, 0, 0, 0, 0}, fault{BadOption, 0, 22}},
		{"timestamp without room for an address", []byte{68, 8, 5, 3, 0, 0, 0, 0}, fault{BadOption, 0, 22}},
		{"two timestamps", []byte{68, 4, 5, 0, 68, 4, 5, 0}, fault{BadOption, 0, 24}},
		{"router alert", []byte{148, 4, 0, 0}, fault{}},
		{"router alert, short", []byte{148, 3, 0, 0}, fault{BadOption, 0, 21}},
	} {
		if got := checkIPv4Options(c.options); got != c.want {
			t.Errorf("%s: %+v, expected %+v", c.name, got, c.want)
		}
	}
}

// TestHopByHop: what is refused, and where an ICMP error then points to (ip6_parse_tlv).
func TestHopByHop(t *testing.T) {
	eight := bytes.Repeat([]byte{0x1e, 0}, 8)
	nine := bytes.Repeat([]byte{0x1e, 0}, 9)
	for _, c := range []struct {
		name    string
		options []byte
		want    fault
	}{
		{"padding", []byte{1, 4, 0, 0, 0, 0}, fault{}},
		{"seven bytes of padding", []byte{5, 2, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0x1e, 1, 0}, fault{}},
		{"eight bytes of padding", []byte{5, 2, 0, 0, 0, 0, 1, 4, 0, 0, 0, 0, 0x1e, 0}, fault{reason: BadOption}},
		{"padding with a message", []byte{1, 4, 0, 0, 1, 0}, fault{reason: BadOption}},
		{"cut", []byte{1, 3, 0, 0, 0, 5}, fault{reason: BadOption}},
		{"too long", []byte{5, 5, 0, 0, 0, 0}, fault{reason: BadOption}},
		{"router alert", []byte{5, 2, 0, 0, 1, 0}, fault{}},
		{"router alert, long", []byte{5, 4, 0, 0, 0, 0}, fault{reason: BadOption}},
		{"eight options", append(eight, 1, 4, 0, 0, 0, 0), fault{}},
		{"nine options", append(nine, 1, 2, 0, 0), fault{reason: BadOption}},
		{"to be passed over", []byte{0x3e, 4, 0, 0, 0, 0}, fault{}},
		{"to be discarded", []byte{0x7e, 4, 0, 0, 0, 0}, fault{reason: UnknownOption}},
		{"to be complained of", []byte{0, 0xbe, 3, 0, 0, 0}, fault{UnknownOption, 2, 43}},
		{"to be complained of but for multicast", []byte{0xfe, 4, 0, 0, 0, 0}, fault{UnknownOption, 2, 42}},
		{"jumbo payload that is none", []byte{0xc2, 4, 0, 0, 255, 255}, fault{BadOption, 0, 44}},
		{"jumbo payload beside a length", []byte{0xc2, 4, 0, 1, 0, 0}, fault{BadOption, 0, 42}},
		{"jumbo payload, short", []byte{0xc2, 2, 0, 0, 1, 0}, fault{reason: BadOption}},
	} {
		packet := make([]byte, IPv6HeaderLen)
		packet[5] = 100 // payload
		packet = append(packet, 59, uint8(len(c.options)-6)/8)
		packet = append(packet, c.options...)
		if got := checkHopByHop(packet); got != c.want {
			t.Errorf("%s: %+v, expected %+v", c.name, got, c.want)
		}
	}
}

// TestProblem: the error that is due about a frame, which Parse has read to its end.
func TestProblem(t *testing.T) {
	s := samples()
	const l3 = EthernetHeaderLen
	v4 := fixIPv4(edited(s[4].frame, l3+21, 7, l3+22, 7, l3+23, 1))
	v6 := edited(withExtensions(s[2].frame, extension{extHopByHop, 0}), l3+IPv6HeaderLen+2, 0xde)
	for _, c := range []struct {
		name  string
		frame []byte
		want  Error
		ok    bool
	}{
		{"v4", v4, Error{Type: 12, Info: 23 << 24}, true},
		{"v4 source route", fixIPv4(edited(s[4].frame, l3+21, 131, l3+22, 7, l3+23, 4)), Error{}, false},
		{"v6", v6, Error{Type: 4, Code: 2, Info: 42}, true},
		{"v6 to be discarded", edited(v6, l3+IPv6HeaderLen+2, 0x5e), Error{}, false},
		{"v6 sixteen headers", func() []byte {
			for _, d := range drops() {
				if d.want == TooManyHeaders {
					return d.frame
				}
			}
			return nil
		}(), Error{}, false},
		{"checksum", edited(s[0].frame, l3+10, int(s[0].frame[l3+10])^1), Error{}, false},
	} {
		var k Key
		if reason := Parse(c.frame, &k); reason == None {
			t.Errorf("%s: is accepted", c.name)
		}
		got, ok := Problem(c.frame, &k)
		if ok != c.ok || ok && got != c.want {
			t.Errorf("%s: %+v %v, expected %+v %v", c.name, got, ok, c.want, c.ok)
		}
		if ok && (k.L4 == 0 || k.SrcPort != 40000) {
			t.Errorf("%s: is not read to its end: %+v", c.name, k)
		}
		wantNoAllocs(t, c.name, func() { Problem(c.frame, &k) })
	}
}

// FuzzOptions: no options are walked beyond their end, or without one.
func FuzzOptions(f *testing.F) {
	f.Add([]byte{7, 7, 4, 0, 0, 0, 0, 0})
	f.Add([]byte{1, 4, 0, 0, 0, 0, 0xfe, 0})
	f.Fuzz(func(t *testing.T, options []byte) {
		v4 := options[:min(len(options), 40):min(len(options), 40)]
		if got := checkIPv4Options(v4); int(got.pointer) > IPv4HeaderLen+len(v4) {
			t.Errorf("points to %d, beyond the header", got.pointer)
		}
		v6 := append(make([]byte, IPv6HeaderLen, IPv6HeaderLen+len(options)), options...)
		if got := checkHopByHop(v6); int(got.pointer) >= len(v6) {
			t.Errorf("points to %d, beyond the packet", got.pointer)
		}
	})
}
