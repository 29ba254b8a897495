package packet

import "testing"

// The packet path must not allocate, least of all where it drops: that is what a flood of bad packets does.

func wantNoAllocs(t *testing.T, name string, f func()) {
	t.Helper()
	if n := testing.AllocsPerRun(100, f); n != 0 {
		t.Errorf("%s: %v allocations", name, n)
	}
}

func TestParseAllocs(t *testing.T) {
	var k Key
	for _, s := range samples() {
		wantNoAllocs(t, s.name, func() { Parse(s.frame, &k) })
	}
	for _, d := range drops() {
		wantNoAllocs(t, d.name, func() { Parse(d.frame, &k) })
	}
}

func TestRewriteAllocs(t *testing.T) {
	for _, s := range samples() {
		parsed := mustParse(t, s.frame)
		buf, start := chunk(s.frame)
		link := Link{VLAN: [2]uint16{1, 2}, Tags: 2}
		wantNoAllocs(t, s.name, func() {
			k := parsed
			DecrementTTL(buf[start:], &k)
			SetDSCP(buf[start:], &k, 46)
			Encap(buf, start, len(s.frame), &k, &link)
			copy(buf[start:], s.frame)
		})
		wantNoAllocs(t, s.name+", refused", func() {
			k := parsed
			Encap(buf, 0, 0, &k, &link)
		})
	}
}

func TestBuildErrorAllocs(t *testing.T) {
	dst := make([]byte, MaxErrorFrameLen)
	for _, s := range samples() {
		k := mustParse(t, s.frame)
		e4, e6 := Error{Source: router4, Type: ICMPTimeExceeded}, Error{Source: router6, Type: ICMPv6TimeExceeded}
		wantNoAllocs(t, s.name, func() {
			BuildError(dst, s.frame, &k, e4) // one of the two is refused
			BuildError(dst, s.frame, &k, e6)
		})
	}
}
