package packet

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/ip4defrag"
	"github.com/gopacket/gopacket/layers"
	"pgregory.net/rapid"
)

// cut is what a packet becomes: frames, each checked to be a sound packet of at most mtu bytes.
func cut(t interface {
	Helper()
	Fatalf(string, ...any)
}, frame []byte, k *Key, mtu uint16) (list [][]byte) {
	t.Helper()
	for i := range Fragments(frame, k, mtu) {
		dst := make([]byte, EthernetHeaderLen+int(mtu))
		n, ok := BuildFragment(dst, frame, k, mtu, i)
		if !ok {
			t.Fatalf("fragment %d for an MTU of %d does not fit it", i, mtu)
		}
		var got Key
		if reason := Parse(dst[:n], &got); reason != None {
			t.Fatalf("fragment %d is dropped: %v", i, reason)
		}
		if int(got.Length)+EthernetHeaderLen != n || got.Length > mtu || got.TTL != k.TTL || got.TOS != k.TOS || got.Src != k.Src || got.Dst != k.Dst || got.Proto != k.Proto {
			t.Fatalf("fragment %d for an MTU of %d: %+v of %+v", i, mtu, got, *k)
		}
		list = append(list, dst[:n])
	}
	return list
}

// together is the payload that gopacket makes of fragments.
func together(t interface{ Fatal(...any) }, fragments [][]byte) []byte {
	d := ip4defrag.NewIPv4Defragmenter()
	for i, f := range fragments {
		ip := gopacket.NewPacket(f, layers.LayerTypeEthernet, gopacket.Default).Layer(layers.LayerTypeIPv4).(*layers.IPv4)
		whole, err := d.DefragIPv4(ip)
		if err != nil {
			t.Fatal(err)
		}
		if whole != nil {
			if i != len(fragments)-1 {
				t.Fatal("whole before the last fragment")
			}
			return whole.Payload
		}
	}
	return nil
}

// TestFragment: cut once, or on a second link again, and put together by gopacket, a datagram is what it was.
func TestFragment(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		payload := rapid.SliceOfN(rapid.Byte(), 100, 3000).Draw(t, "payload")
		ip := ipv4(layers.IPProtocol(253))
		for range rapid.IntRange(0, 5).Draw(t, "options") {
			ip.Options = append(ip.Options, layers.IPv4Option{
				OptionType: rapid.SampledFrom([]uint8{30, 94, 158, 222}).Draw(t, "type"), OptionLength: 8, OptionData: []byte{5, 0, 0, 0, 0, 0},
			})
		}
		frame := serialize(t, ethernet(layers.EthernetTypeIPv4), ip, gopacket.Payload(payload))
		var k Key
		if reason := Parse(frame, &k); reason != None {
			t.Fatal(reason)
		}
		mtu := rapid.Uint16Range(68, 1500).Draw(t, "mtu")
		list := cut(t, frame, &k, mtu)
		if len(list) > 1 && rapid.Bool().Draw(t, "again") {
			var twice [][]byte
			smaller := rapid.Uint16Range(68, mtu).Draw(t, "second mtu")
			for _, f := range list {
				var k Key
				Parse(f, &k)
				if int(k.Length) <= int(smaller) {
					twice = append(twice, f)
					continue
				}
				twice = append(twice, cut(t, f, &k, smaller)...)
			}
			list = twice
		}
		if len(list) == 1 { // it fits
			return
		}
		if got := together(t, list); !bytes.Equal(got, payload) {
			t.Errorf("put together:\n%x, was\n%x", got, payload)
		}
	})
}

// TestFragmentHeader: offsets, flags, lengths and options of the fragments, by hand.
func TestFragmentHeader(t *testing.T) {
	ip := ipv4(253)
	ip.Options = []layers.IPv4Option{
		{OptionType: 7, OptionLength: 7, OptionData: []byte{4, 0, 0, 0, 0}},           // record route: in the first fragment only
		{OptionType: 148, OptionLength: 4, OptionData: []byte{0, 0}}, {OptionType: 1}, // router alert: in all of them
	}
	whole := serialize(t, ethernet(layers.EthernetTypeIPv4), ip, gopacket.Payload(bytes.Repeat([]byte("abcdefgh"), 20)))
	first := []byte{7, 7, 4, 0, 0, 0, 0, 148, 4, 0, 0, 1}
	later := []byte{1, 1, 1, 1, 1, 1, 1, 148, 4, 0, 0, 1}
	type header struct {
		length, word uint16
		options      []byte
	}
	for _, c := range []struct {
		name string
		word uint16 // flags and offset of the packet
		mtu  uint16
		want []header
	}{
		{"a whole one", 0, 32 + 64 + 7, []header{{96, 0x2000, first}, {96, 0x2008, later}, {64, 0x0010, later}}},
		{"even", 0, 32 + 80, []header{{112, 0x2000, first}, {112, 0x000a, later}}},
		{"a first fragment", 0x2000, 32 + 80, []header{{112, 0x2000, first}, {112, 0x200a, later}}},
		{"a fragment in between", 0x2064, 32 + 80, []header{{112, 0x2064, first}, {112, 0x206e, first}}},
		{"the last fragment", 0x0064, 32 + 80, []header{{112, 0x2064, first}, {112, 0x006e, first}}},
		{"the smallest step", 0, 32 + 8, nil},
		{"no room", 0, 32 + 7, nil},
		{"it fits", 0, 192, nil},
		{"beyond the last offset", 0x1ffe, 32 + 80, nil},
		{"must not be cut", 0x4000, 32 + 80, nil},
	} {
		frame := slices.Clone(whole)
		binary.BigEndian.PutUint16(frame[EthernetHeaderLen+6:], c.word)
		fixIPv4(frame)
		k := mustParse(t, frame)
		if c.want == nil {
			want := map[string]int{"the smallest step": 20, "it fits": 1}[c.name]
			if got := Fragments(frame, &k, c.mtu); got != want {
				t.Errorf("%s: %d fragments, expected %d", c.name, got, want)
			}
			continue
		}
		list := cut(t, frame, &k, c.mtu)
		if len(list) != len(c.want) {
			t.Errorf("%s: %d fragments, expected %d", c.name, len(list), len(c.want))
			continue
		}
		for i, f := range list {
			h := f[EthernetHeaderLen:]
			got := header{binary.BigEndian.Uint16(h[2:]), binary.BigEndian.Uint16(h[6:]), h[IPv4HeaderLen:32]}
			if want := c.want[i]; got.length != want.length || got.word != want.word || !bytes.Equal(got.options, want.options) {
				t.Errorf("%s: fragment %d has %+v, expected %+v", c.name, i, got, want)
			}
		}
	}
	k := mustParse(t, whole)
	if n, ok := BuildFragment(make([]byte, EthernetHeaderLen+95), whole, &k, 100, 0); ok {
		t.Errorf("%d bytes where 95 have room", n)
	}
	v6 := v6Frame()
	k = mustParse(t, v6)
	if got := Fragments(v6, &k, k.Length-1); got != 0 {
		t.Errorf("IPv6: %d fragments", got)
	}
}

// FuzzFragment: whatever is accepted is cut without a byte lost, or not at all.
func FuzzFragment(f *testing.F) {
	seeds(func(frame []byte) { f.Add(frame, uint16(68)) })
	f.Fuzz(func(t *testing.T, frame []byte, mtu uint16) {
		frame = repaired(frame)
		var k Key
		if Parse(frame, &k) != None || k.Family != IPv4 {
			return
		}
		packet := frame[k.L3():][:k.Length]
		headerLen := int(packet[0]&15) * 4
		next := int(binary.BigEndian.Uint16(packet[6:]) & ipv4OffsetMask)
		if k.Length <= mtu {
			return
		}
		var payload []byte
		list := cut(t, frame, &k, mtu)
		for i, f := range list {
			h := f[EthernetHeaderLen:]
			word := binary.BigEndian.Uint16(h[6:])
			more := i < len(list)-1 || packet[6]&0x20 != 0
			if int(word&ipv4OffsetMask) != next || word&ipv4MoreFragments != 0 != more || int(h[0]&15)*4 != headerLen {
				t.Errorf("fragment %d has offset %d, expected %d; word %x", i, word&ipv4OffsetMask, next, word)
			}
			next += (len(h) - headerLen) / 8
			payload = append(payload, h[headerLen:]...)
		}
		if len(list) == 1 || len(list) > 0 && !bytes.Equal(payload, packet[headerLen:]) {
			t.Errorf("%d fragments of %x have %x", len(list), packet, payload)
		}
	})
}

func TestBuildFragmentAllocs(t *testing.T) {
	frame := serialize(t, ethernet(layers.EthernetTypeIPv4), ipv4(253), gopacket.Payload(make([]byte, 1000)))
	k := mustParse(t, frame)
	dst := make([]byte, EthernetHeaderLen+576)
	wantNoAllocs(t, "fragments", func() {
		for i := range Fragments(frame, &k, 576) {
			BuildFragment(dst, frame, &k, 576, i)
		}
	})
}
