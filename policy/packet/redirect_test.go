package packet

import (
	"bytes"
	"net/netip"
	"testing"

	"pgregory.net/rapid"
)

// TestBuildRedirect: the message of RFC 4861 section 4.5, by hand.
func TestBuildRedirect(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		frame := withIPv6(t, 61, 0, 0)
		frame = append(frame, make([]byte, rapid.IntRange(0, 1400).Draw(t, "more"))...)
		frame[EthernetHeaderLen+4], frame[EthernetHeaderLen+5] = uint8((len(frame)-54)>>8), uint8(len(frame)-54)
		var k Key
		if reason := Parse(frame, &k); reason != None {
			t.Fatal(reason)
		}
		r := Redirect{Source: netip.MustParseAddr("fe80::1"), Target: netip.MustParseAddr("fe80::2"), MAC: [6]byte{2, 4, 6, 8, 10, 12}, HasMAC: rapid.Bool().Draw(t, "mac")}
		dst := make([]byte, MaxErrorFrameLen)
		n, ok := BuildRedirect(dst, frame, &k, &r)
		if !ok {
			t.Fatal("not ok")
		}
		var got Key
		if reason := Parse(dst[:n], &got); reason != None {
			t.Fatal(reason)
		}
		if got.TTL != 255 || got.SrcAddr() != r.Source || got.Dst != k.Src || got.ICMPType != 137 || got.ICMPCode != 0 {
			t.Errorf("%+v", got)
		}
		message := dst[got.L4:n]
		if Checksum(Sum(PseudoIPv6(&got.Src, &got.Dst, ProtoICMPv6, uint32(len(message))), message)) != 0 {
			t.Error("wrong checksum")
		}
		target, destination := r.Target.As16(), k.Dst
		want := append(append(make([]byte, 4), target[:]...), destination[:]...)
		room := 1280 - 40 - 40 - 8
		if r.HasMAC {
			want = append(want, 2, 1, 2, 4, 6, 8, 10, 12)
			room -= 8
		}
		quote := frame[EthernetHeaderLen:]
		quote = quote[:min(len(quote), room)&^7]
		want = append(append(want, 4, uint8(len(quote)/8+1), 0, 0, 0, 0, 0, 0), quote...)
		if !bytes.Equal(message[4:], want) {
			t.Errorf("message\n%x, expected\n%x", message[4:], want)
		}
		if _, ok := BuildRedirect(dst[:n-1], frame, &k, &r); ok {
			t.Error("built without room")
		}
		frame[0] |= 1
		if _, ok := BuildRedirect(dst, frame, &k, &r); ok {
			t.Error("built about a multicast frame")
		}
	})
}
