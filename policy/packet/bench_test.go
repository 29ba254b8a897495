package packet

import (
	"net/netip"
	"testing"
)

// perPacket reports the time of one iteration under the name that all rooms use.
func perPacket(b *testing.B) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N), "ns/packet")
}

func BenchmarkParse(b *testing.B) {
	for _, s := range samples() {
		b.Run(s.name, func(b *testing.B) {
			b.ReportAllocs()
			var k Key
			for b.Loop() {
				if Parse(s.frame, &k) != None {
					b.Fatal("sample dropped")
				}
			}
			perPacket(b)
		})
	}
}

// BenchmarkParseBatch parses different frames in turn, so that neither branches nor loads repeat themselves as in
// BenchmarkParse: a mix of IPv4 and IPv6, TCP and UDP, over 64 frames.
func BenchmarkParseBatch(b *testing.B) {
	s := samples()
	frames, keys := make([][]byte, 64), make([]Key, 64)
	for i := range frames {
		frames[i] = append([]byte(nil), s[(i*i+i/3)%4].frame...)
	}
	b.ReportAllocs()
	for b.Loop() {
		for i := range frames {
			if Parse(frames[i], &keys[i]) != None {
				b.Fatal("sample dropped")
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(frames)), "ns/packet")
}

func BenchmarkDecrementTTL(b *testing.B) {
	for _, s := range samples()[:4] {
		b.Run(s.name, func(b *testing.B) {
			var k Key
			Parse(s.frame, &k)
			b.ReportAllocs()
			for b.Loop() {
				k.TTL = 64 // the frame's own runs out; what is measured does not depend on it
				DecrementTTL(s.frame, &k)
			}
			perPacket(b)
		})
	}
}

func BenchmarkEncap(b *testing.B) {
	links := []struct {
		name string
		link Link
	}{
		{"untagged", Link{}},
		{"tag", Link{VLAN: [2]uint16{100}, Tags: 1}},
		{"two-tags", Link{VLAN: [2]uint16{100, 200}, Tags: 2}},
	}
	frame := samples()[0].frame
	for _, l := range links {
		b.Run(l.name, func(b *testing.B) {
			buf, start := chunk(frame)
			var k Key
			Parse(frame, &k)
			length, ok := len(frame), false
			b.ReportAllocs()
			for b.Loop() {
				if start, length, ok = Encap(buf, start, length, &k, &l.link); !ok {
					b.Fatal("no headroom")
				}
			}
			perPacket(b)
		})
	}
}

func BenchmarkBuildError(b *testing.B) {
	s := samples()
	errors := []struct {
		frame []byte
		name  string
		e     Error
	}{
		{s[0].frame, "v4", Error{Source: netip.MustParseAddr("192.0.2.1"), Type: ICMPTimeExceeded}},
		{s[2].frame, "v6", Error{Source: netip.MustParseAddr("2001:db8::1"), Type: ICMPv6TimeExceeded}},
	}
	for _, c := range errors {
		b.Run(c.name, func(b *testing.B) {
			var k Key
			Parse(c.frame, &k)
			dst := make([]byte, MaxErrorFrameLen)
			b.ReportAllocs()
			for b.Loop() {
				if _, ok := BuildError(dst, c.frame, &k, c.e); !ok {
					b.Fatal("not built")
				}
			}
			perPacket(b)
		})
	}
}
