package packet

import (
	"encoding/binary"
	"testing"
)

// TestDatagramID: the identification is found wherever the fragment header is in the chain; an atomic fragment's is not
// the datagram's.
func TestDatagramID(t *testing.T) {
	const id, atomic = 0xfeed1234, 0x0a70000c
	number := func(frame []byte, at int, id uint32) []byte {
		binary.BigEndian.PutUint32(frame[EthernetHeaderLen+IPv6HeaderLen+at+4:], id)
		return frame
	}
	first, later := extension{extFragment, 1}, extension{extFragment, 8}
	v4 := samples()[0].frame
	binary.BigEndian.PutUint16(v4[EthernetHeaderLen+4:], id&0xffff)
	v4[EthernetHeaderLen+7] = 9
	for _, c := range []struct {
		name     string
		frame    []byte
		want     uint32
		fragment Fragment
	}{
		{"v4", fixIPv4(v4), id & 0xffff, FragmentLater},
		{"v6 first", number(withExtensions(v6Frame(), first), 0, id), id, FragmentFirst},
		{"v6 later", number(withExtensions(v6Frame(), later), 0, id), id, FragmentLater},
		{"v6 behind a hop-by-hop header", number(withExtensions(v6Frame(), extension{extHopByHop, 1}, later), 16, id), id, FragmentLater},
		{"v6 behind all of them", number(withExtensions(v6Frame(), extension{extHopByHop, 0}, extension{extRouting, 2}, extension{extAuth, 4}, first), 8+24+24, id), id, FragmentFirst},
		{"v6 behind an atomic one", number(number(withExtensions(v6Frame(), extension{extFragment, 0}, later), 0, atomic), 8, id), id, FragmentLater},
		{"v6 in front of another", number(number(withExtensions(v6Frame(), first, later), 0, id), 8, atomic), id, FragmentLater},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := mustParse(t, c.frame)
			if got := DatagramID(c.frame, &k); got != c.want || k.Fragment != c.fragment {
				t.Errorf("%#x of fragment %d, want %#x of %d", got, k.Fragment, c.want, c.fragment)
			}
		})
	}
}

// TestL4Fields: a later fragment's key is completed with all that the first one's says of the datagram, and nothing else.
func TestL4Fields(t *testing.T) {
	first := Key{SrcPort: 1, DstPort: 2, Proto: 3, ICMPType: 4, ICMPCode: 5, TCPFlags: 6, TTL: 7, Length: 8, Fragment: FragmentFirst}
	later := Key{Proto: 60, TTL: 9, Length: 10, Fragment: FragmentLater}
	fields := first.L4Fields()
	later.SetL4Fields(&fields)
	want := first
	want.TTL, want.Length, want.Fragment = 9, 10, FragmentLater
	if later != want {
		t.Errorf("%+v, want %+v", later, want)
	}
}
