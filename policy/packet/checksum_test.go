package packet

import (
	"testing"

	"pgregory.net/rapid"
)

func TestSumExample(t *testing.T) {
	b := []byte{0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7} // RFC 1071 section 3
	if got, want := Checksum(Sum(0, b)), ^uint16(0xddf2); got != want {
		t.Errorf("Checksum = %#04x, want %#04x", got, want)
	}
}

func TestSumOfNothing(t *testing.T) {
	if got := Checksum(Sum(0, nil)); got != 0xffff {
		t.Errorf("Checksum of no bytes = %#04x, want 0xffff", got)
	}
}

// TestSum compares Sum with its twin, in one piece and in two.
func TestSum(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1, 0x7f, 0x80, 0xfe, 0xff}), 0, 100).Draw(t, "bytes")
		cut := rapid.IntRange(0, len(b)/2).Draw(t, "cut") * 2
		want := ^plainSum(b)
		if got := Checksum(Sum(0, b)); got != want {
			t.Errorf("Checksum = %#04x, want %#04x", got, want)
		}
		if got := Checksum(Sum(Sum(0, b[:cut]), b[cut:])); got != want {
			t.Errorf("Checksum in two pieces = %#04x, want %#04x", got, want)
		}
	})
}

// TestFold compares fold with arithmetic modulo 0xffff, in which only 0 itself is 0.
func TestFold(t *testing.T) {
	check := func(t interface{ Errorf(string, ...any) }, sum uint64) {
		want := uint16(0)
		if sum != 0 {
			want = uint16((sum-1)%0xffff + 1)
		}
		if got := fold(sum); got != want {
			t.Errorf("fold(%#x) = %#04x, want %#04x", sum, got, want)
		}
	}
	for _, sum := range []uint64{0, 1, 0xffff, 0x10000, 0x1ffff, 0xffffffff, 0xffffffff_00010000, 0xffffffff_ffffffff} {
		check(t, sum)
	}
	rapid.Check(t, func(t *rapid.T) { check(t, rapid.Uint64().Draw(t, "sum")) })
}

// TestSumCarries has the most carries that a packet can have.
func TestSumCarries(t *testing.T) {
	b := make([]byte, 65535)
	for i := range b {
		b[i] = 0xff
	}
	if got, want := Checksum(Sum(0, b)), ^plainSum(b); got != want {
		t.Errorf("Checksum = %#04x, want %#04x", got, want)
	}
}

func TestSumIPv4Header(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := [IPv4HeaderLen]byte(rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1, 0x80, 0xff}), 20, 20).Draw(t, "header"))
		if got, want := fold(sumIPv4Header(&h)), plainSum(h[:]); got != want {
			t.Errorf("sumIPv4Header folds to %#04x, want %#04x", got, want)
		}
	})
}

// TestPseudoHeaders verifies the L4 checksums that gopacket wrote.
func TestPseudoHeaders(t *testing.T) {
	for _, s := range samples() {
		k := mustParse(t, s.frame)
		l4 := s.frame[k.L4 : k.L3()+int(k.Length)]
		var pseudo uint64
		switch {
		case k.Proto == ProtoICMP: // has none
		case k.Family == IPv4:
			pseudo = PseudoIPv4([4]byte(k.Src[12:]), [4]byte(k.Dst[12:]), k.Proto, uint16(len(l4)))
		default:
			pseudo = PseudoIPv6(&k.Src, &k.Dst, k.Proto, uint32(len(l4)))
		}
		if got := Checksum(Sum(pseudo, l4)); got != 0 {
			t.Errorf("%s: checksum over the L4 header that holds it = %#04x, want 0", s.name, got)
		}
	}
}

func TestUpdateChecksumExample(t *testing.T) {
	if got := updateChecksum(0xdd2f, 0x5555, 0x3285); got != 0x0000 { // RFC 1624 section 4
		t.Errorf("updateChecksum = %#04x, want 0x0000", got)
	}
}
