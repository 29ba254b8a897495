package policy

import (
	"strings"
	"testing"

	"weir/fib"
	"weir/policy/packet"
)

// The cases of the exchange of 2005 that weir is founded on.
func TestFoundingCases(t *testing.T) {
	t.Run("group, then fall through to the default table", func(t *testing.T) {
		l := newLab(t)
		l.table("x", "10.0.0.0/8 via 198.51.100.7 em1")
		l.table("main", "0.0.0.0/0 via 198.51.100.9 em1")
		l.rule(100, "lookup x", Selector{HasGroup: true, Group: 1})
		l.rule(32766, "lookup main", Selector{})
		expect(t, l.compile(), `
			iif=em0 src=192.0.2.5 dst=10.1.1.1  => forward em1 via 198.51.100.7 r0 x 10.0.0.0/8
			iif=em0 src=192.0.2.5 dst=11.1.1.1  => forward em1 via 198.51.100.9 r1 main 0.0.0.0/0
			iif=em2 src=192.0.2.5 dst=10.1.1.1  => forward em1 via 198.51.100.9 r1 main 0.0.0.0/0`)
	})
	t.Run("source-keyed table sends to another", func(t *testing.T) {
		l := newLab(t)
		l.table("y", "10.9.0.0/16 lookup z").Key = BySource
		l.table("z", "0.0.0.0/0 via 198.51.100.7 em1")
		l.table("main", "0.0.0.0/0 via 198.51.100.9 em1")
		l.rule(100, "lookup y", Selector{})
		l.rule(32766, "lookup main", Selector{})
		expect(t, l.compile(), `
			iif=em0 src=10.9.1.1 dst=11.1.1.1  => forward em1 via 198.51.100.7 r0 z 0.0.0.0/0
			iif=em0 src=10.8.1.1 dst=10.9.1.1  => forward em1 via 198.51.100.9 r1 main 0.0.0.0/0`)
	})
	t.Run("opaque table", func(t *testing.T) {
		l := newLab(t)
		l.table("x", "10.0.0.0/8 via 198.51.100.7 em1").OnMiss = MissProhibit
		l.table("main", "0.0.0.0/0 via 198.51.100.9 em1")
		l.rule(100, "lookup x", Selector{})
		l.rule(32766, "lookup main", Selector{})
		expect(t, l.compile(), `
			iif=em0 src=192.0.2.5 dst=10.1.1.1  => forward em1 via 198.51.100.7 r0 x 10.0.0.0/8
			iif=em0 src=192.0.2.5 dst=11.1.1.1  => prohibit 3/13 r0 x -`)
	})
	t.Run("mark chooses the table", func(t *testing.T) {
		l := newLab(t)
		l.table("voice", "0.0.0.0/0 via 198.51.100.7 em1")
		l.table("main", "0.0.0.0/0 via 198.51.100.9 em1")
		l.rule(100, "lookup voice", Selector{HasMark: true, Mark: 0x40, MarkMask: 0xc0})
		l.rule(32766, "lookup main", Selector{})
		expect(t, l.compile(), `
			iif=em0 src=192.0.2.5 dst=10.1.1.1 mark=0x4f => forward em1 via 198.51.100.7 r0 voice 0.0.0.0/0
			iif=em0 src=192.0.2.5 dst=10.1.1.1 mark=0x80 => forward em1 via 198.51.100.9 r1 main 0.0.0.0/0`)
	})
}

func TestOutcomes(t *testing.T) {
	l := newLab(t)
	for i, action := range []string{"blackhole", "unreachable", "prohibit"} {
		l.rule(uint32(i), action, Selector{To: prefix([]string{"10.1.0.0/16", "10.2.0.0/16", "10.3.0.0/16"}[i])})
		l.rule(uint32(i), action, Selector{To: prefix([]string{"2001:db8:a1::/48", "2001:db8:a2::/48", "2001:db8:a3::/48"}[i])})
	}
	l.table("x",
		"10.11.0.0/16 blackhole", "10.12.0.0/16 unreachable", "10.13.0.0/16 prohibit", "10.14.0.0/16 throw", "10.15.0.0/16 local",
		"10.16.0.0/16 via 198.51.100.7 em1", "10.17.0.0/16 dev em1", "10.18.0.0/16 via 198.51.100.7 em1 mtu 1300",
		"10.19.0.0/16 via 192.0.2.9 em0 mtu 9000", "10.20.0.0/16 via 2001:db8:2::7 em1",
		"2001:db8:b1::/48 blackhole", "2001:db8:b2::/48 unreachable", "2001:db8:b3::/48 prohibit", "2001:db8:b4::/48 throw",
		"2001:db8:b5::/48 local", "2001:db8:b6::/48 via 2001:db8:2::7 em1", "2001:db8:b7::/48 dev em1", "2001:db8:b8::/48 via 2001:db8:2::7 em1 mtu 1300",
		"2001:db8:b9::/48 dev em0")
	l.rule(100, "lookup x", Selector{})
	expect(t, l.compile(), `
		iif=em0 src=192.0.2.5 dst=10.1.1.1          => blackhole r0 - -
		iif=em0 src=192.0.2.5 dst=10.2.1.1          => unreachable 3/0 r2 - -
		iif=em0 src=192.0.2.5 dst=10.3.1.1          => prohibit 3/13 r4 - -
		iif=em0 src=192.0.2.5 dst=10.11.1.1         => blackhole r6 x 10.11.0.0/16
		iif=em0 src=192.0.2.5 dst=10.12.1.1         => unreachable 3/1 r6 x 10.12.0.0/16
		iif=em0 src=192.0.2.5 dst=10.13.1.1         => prohibit 3/13 r6 x 10.13.0.0/16
		iif=em0 src=192.0.2.5 dst=10.14.1.1         => unreachable 3/0 - - -
		iif=em0 src=192.0.2.5 dst=10.15.1.1         => local r6 x 10.15.0.0/16
		iif=em0 src=192.0.2.5 dst=10.16.1.1         => forward em1 via 198.51.100.7 r6 x 10.16.0.0/16
		iif=em0 src=192.0.2.5 dst=10.17.1.1         => forward em1 r6 x 10.17.0.0/16
		iif=em0 src=192.0.2.5 dst=10.20.1.1         => forward em1 via 2001:db8:2::7 r6 x 10.20.0.0/16
		iif=em0 src=192.0.2.5 dst=11.1.1.1          => unreachable 3/0 - - -

		iif=em0 src=2001:db8::5 dst=2001:db8:a1::1  => blackhole r1 - -
		iif=em0 src=2001:db8::5 dst=2001:db8:a2::1  => unreachable 1/0 r3 - -
		iif=em0 src=2001:db8::5 dst=2001:db8:a3::1  => prohibit 1/1 r5 - -
		iif=em0 src=2001:db8::5 dst=2001:db8:b1::1  => blackhole r6 x 2001:db8:b1::/48
		iif=em0 src=2001:db8::5 dst=2001:db8:b2::1  => unreachable 1/0 r6 x 2001:db8:b2::/48
		iif=em0 src=2001:db8::5 dst=2001:db8:b3::1  => prohibit 1/1 r6 x 2001:db8:b3::/48
		iif=em0 src=2001:db8::5 dst=2001:db8:b4::1  => unreachable 1/0 - - -
		iif=em0 src=2001:db8::5 dst=2001:db8:b5::1  => local r6 x 2001:db8:b5::/48
		iif=em0 src=2001:db8::5 dst=2001:db8:b6::1  => forward em1 via 2001:db8:2::7 r6 x 2001:db8:b6::/48
		iif=em0 src=2001:db8::5 dst=2001:db8:b7::1  => forward em1 r6 x 2001:db8:b7::/48

		iif=em0 src=192.0.2.5 dst=10.16.1.1 ttl=2   => forward em1 via 198.51.100.7 r6 x 10.16.0.0/16
		iif=em0 src=192.0.2.5 dst=10.16.1.1 ttl=1   => ttl-exceeded 11/0 r6 x 10.16.0.0/16
		iif=em0 src=192.0.2.5 dst=10.16.1.1 ttl=0   => ttl-exceeded 11/0 r6 x 10.16.0.0/16
		iif=em0 src=192.0.2.5 dst=10.16.1.1 ttl=1 length=1500 => ttl-exceeded 11/0 r6 x 10.16.0.0/16
		iif=em0 src=192.0.2.5 dst=10.12.1.1 ttl=1   => unreachable 3/1 r6 x 10.12.0.0/16
		iif=em0 src=192.0.2.5 dst=11.1.1.1 ttl=1    => unreachable 3/0 - - -
		iif=em0 src=192.0.2.5 dst=10.15.1.1 ttl=1 length=1501 => local r6 x 10.15.0.0/16
		iif=em0 src=2001:db8::5 dst=2001:db8:b6::1 ttl=1 => ttl-exceeded 3/0 r6 x 2001:db8:b6::/48
		iif=em0 src=2001:db8::5 dst=2001:db8:b2::1 ttl=1 => unreachable 1/0 r6 x 2001:db8:b2::/48

		iif=em0 src=192.0.2.5 dst=10.16.1.1 length=1400 => forward em1 via 198.51.100.7 r6 x 10.16.0.0/16
		iif=em0 src=192.0.2.5 dst=10.16.1.1 length=1401 => too-big 3/4 em1 r6 x 10.16.0.0/16
		iif=em0 src=192.0.2.5 dst=10.16.1.1 length=1401 df=false => forward em1 via 198.51.100.7 r6 x 10.16.0.0/16
		iif=em0 src=192.0.2.5 dst=10.18.1.1 length=1301 => too-big 3/4 em1 r6 x 10.18.0.0/16
		iif=em1 src=192.0.2.5 dst=10.19.1.1 length=1501 => too-big 3/4 em0 r6 x 10.19.0.0/16
		iif=em0 src=2001:db8::5 dst=2001:db8:b6::1 length=1401 => too-big 2/0 em1 r6 x 2001:db8:b6::/48
		iif=em0 src=2001:db8::5 dst=2001:db8:b8::1 length=1301 => too-big 2/0 em1 r6 x 2001:db8:b8::/48

		iif=em0 src=fe80::5 dst=2001:db8:b6::1         => reject 1/2 em1 r6 x 2001:db8:b6::/48
		iif=em0 src=fe80::5 dst=2001:db8:b9::1         => forward em0 r6 x 2001:db8:b9::/48
		iif=em0 src=fe80::5 dst=2001:db8:b6::1 ttl=1   => ttl-exceeded 3/0 r6 x 2001:db8:b6::/48
		iif=em0 src=fe80::5 dst=2001:db8:b6::1 length=1500 => reject 1/2 em1 r6 x 2001:db8:b6::/48
		iif=em0 src=fe80::5 dst=2001:db8:b3::1         => prohibit 1/1 r6 x 2001:db8:b3::/48
		iif=em0 src=fec0::5 dst=2001:db8:b6::1         => forward em1 via 2001:db8:2::7 r6 x 2001:db8:b6::/48`)
}

func TestReasonsAndMTU(t *testing.T) {
	l := newLab(t)
	l.table("x", "10.16.0.0/16 via 198.51.100.7 em1", "10.12.0.0/16 unreachable", "10.18.0.0/16 via 198.51.100.7 em1 mtu 1300")
	l.rule(1, "lookup x", Selector{})
	s := l.compile()
	for _, c := range []struct {
		spec   string
		reason packet.Reason
		action Action
		mtu    uint16
	}{
		{"dst=10.16.0.1", packet.None, Forward, 0},
		{"dst=10.12.0.1", packet.Unreachable, Reject, 0},
		{"dst=11.0.0.1", packet.NoRoute, Reject, 0},
		{"dst=10.16.0.1 ttl=1", packet.TTLExceeded, Reject, 0},
		{"dst=10.16.0.1 length=1401", packet.TooBig, Reject, 1400},
		{"dst=10.16.0.1 length=1401 df=0", packet.None, Forward, 1400},
		{"dst=10.18.0.1 length=1301", packet.TooBig, Reject, 1300},
		{"dst=127.0.0.1", packet.Martian, Drop, 0},
		{"dst=224.0.0.5", packet.None, Punt, 0},
	} {
		k := key(t, s, "iif=em0 src=10.0.0.1 "+c.spec)
		if v := s.Evaluate(&k, nil); v.Reason != c.reason || v.Action != c.action || v.MTU != c.mtu {
			t.Errorf("%s: %v %v mtu %d, want %v %v mtu %d", c.spec, v.Action, v.Reason, v.MTU, c.action, c.reason, c.mtu)
		}
	}
}

func TestAddresses(t *testing.T) {
	l := newLab(t)
	l.table("x", "0.0.0.0/0 via 198.51.100.7 em1", "::/0 via 2001:db8:2::7 em1", "10.9.0.0/16 prohibit")
	l.rule(1, "lookup x", Selector{})
	expect(t, l.compile(), `
		iif=em0 src=0.0.0.0 dst=10.0.0.1          => martian - - -
		iif=em0 src=127.1.2.3 dst=10.0.0.1        => martian - - -
		iif=em0 src=224.0.0.1 dst=10.0.0.1        => martian - - -
		iif=em0 src=239.255.255.255 dst=10.0.0.1  => martian - - -
		iif=em0 src=255.255.255.255 dst=10.0.0.1  => martian - - -
		iif=em1 src=192.0.2.255 dst=10.0.0.1      => martian - - -
		iif=em0 src=10.0.0.1 dst=127.0.0.1        => martian - - -
		iif=em0 src=10.0.0.1 dst=0.0.0.0          => martian - - -
		iif=em0 src=0.0.0.0 dst=255.255.255.255   => local - - -
		iif=em0 src=0.0.0.0 dst=0.0.0.0           => local - - -
		iif=em0 src=10.0.0.1 dst=255.255.255.255  => local - - -
		iif=em0 src=10.0.0.1 dst=224.0.0.5        => local - - -
		iif=em0 src=192.0.2.1 dst=10.0.0.1        => martian r0 x 0.0.0.0/0
		iif=em0 src=192.0.2.1 dst=10.9.0.1        => prohibit 3/13 r0 x 10.9.0.0/16
		iif=em0 src=192.0.2.1 dst=10.0.0.1 ttl=1  => martian r0 x 0.0.0.0/0
		iif=em0 src=0.1.2.3 dst=10.0.0.1          => forward em1 via 198.51.100.7 r0 x 0.0.0.0/0
		iif=em0 src=169.254.1.1 dst=10.0.0.1      => forward em1 via 198.51.100.7 r0 x 0.0.0.0/0
		iif=em0 src=240.0.0.1 dst=10.0.0.1        => forward em1 via 198.51.100.7 r0 x 0.0.0.0/0
		iif=em0 src=10.0.0.1 dst=0.1.2.3          => forward em1 via 198.51.100.7 r0 x 0.0.0.0/0
		iif=em0 src=10.0.0.1 dst=240.0.0.1        => forward em1 via 198.51.100.7 r0 x 0.0.0.0/0
		iif=em0 src=:: dst=2001:db8:9::1          => martian - - -
		iif=em0 src=::1 dst=2001:db8:9::1         => martian - - -
		iif=em0 src=ff02::1 dst=2001:db8:9::1     => martian - - -
		iif=em0 src=2001:db8:9::1 dst=::1         => martian - - -
		iif=em0 src=2001:db8:9::1 dst=::          => martian - - -
		iif=em0 src=2001:db8:9::1 dst=ff02::1     => local - - -
		iif=em0 src=:: dst=ff02::1                => local - - -
		iif=em0 src=2001:db8:1::1 dst=2001:db8:9::1    => forward em1 via 2001:db8:2::7 r0 x ::/0
		iif=em0 src=::ffff:127.0.0.1 dst=2001:db8:9::1 => forward em1 via 2001:db8:2::7 r0 x ::/0`)
}

func TestRules(t *testing.T) {
	t.Run("order and equal priorities", func(t *testing.T) {
		l := newLab(t)
		l.rule(20, "prohibit", Selector{})
		l.rule(10, "nop", Selector{})
		l.rule(10, "blackhole", Selector{HasMark: true, Mark: 1, MarkMask: 1})
		l.rule(10, "unreachable", Selector{HasMark: true, Mark: 1, MarkMask: 1})
		expect(t, l.compile(), `
			iif=em0 src=10.0.0.1 dst=10.0.0.2 mark=1 => blackhole r2 - -
			iif=em0 src=10.0.0.1 dst=10.0.0.2        => prohibit 3/13 r0 - -`)
	})
	t.Run("goto", func(t *testing.T) {
		l := newLab(t)
		l.rule(10, "goto 30", Selector{HasMark: true, Mark: 1, MarkMask: 3})
		l.rule(11, "goto 25", Selector{HasMark: true, Mark: 2, MarkMask: 3}) // lands nowhere
		l.rule(20, "blackhole", Selector{})
		l.rule(30, "nop", Selector{}) // the first of its priority
		l.rule(30, "prohibit", Selector{})
		expect(t, l.compile(), `
			iif=em0 src=10.0.0.1 dst=10.0.0.2 mark=1 => prohibit 3/13 r4 - -
			iif=em0 src=10.0.0.1 dst=10.0.0.2 mark=2 => blackhole r2 - -
			iif=em0 src=10.0.0.1 dst=10.0.0.2        => blackhole r2 - -`)
	})
	t.Run("goto the first of a priority", func(t *testing.T) {
		l := newLab(t)
		l.rule(10, "goto 30", Selector{})
		l.rule(30, "blackhole", Selector{})
		l.rule(30, "prohibit", Selector{})
		expect(t, l.compile(), "iif=em0 src=10.0.0.1 dst=10.0.0.2 => blackhole r1 - -")
	})
	t.Run("goto within the family", func(t *testing.T) {
		l := newLab(t)
		l.rule(10, "goto 30", Selector{})
		l.rule(20, "unreachable", Selector{})
		l.rule(30, "blackhole", Selector{Family: packet.IPv4})
		l.rule(40, "prohibit", Selector{})
		expect(t, l.compile(), `
			iif=em0 src=10.0.0.1 dst=10.0.0.2       => blackhole r2 - -
			iif=em0 src=2001:db8::1 dst=2001:db8::2 => unreachable 1/0 r1 - -`)
	})
	t.Run("not negates the conjunction", func(t *testing.T) {
		l := newLab(t)
		l.rule(10, "blackhole", Selector{HasMark: true, Mark: 1, MarkMask: 1, HasProto: true, Proto: 6}).Not = true
		l.rule(20, "prohibit", Selector{})
		expect(t, l.compile(), `
			iif=em0 src=10.0.0.1 dst=10.0.0.2 mark=1 proto=tcp => prohibit 3/13 r1 - -
			iif=em0 src=10.0.0.1 dst=10.0.0.2 mark=0 proto=tcp => blackhole r0 - -
			iif=em0 src=10.0.0.1 dst=10.0.0.2 mark=1 proto=udp => blackhole r0 - -
			iif=em0 src=10.0.0.1 dst=10.0.0.2 mark=0 proto=udp => blackhole r0 - -`)
	})
	t.Run("none at all", func(t *testing.T) {
		expect(t, newLab(t).compile(), `
			iif=em0 src=10.0.0.1 dst=10.0.0.2       => unreachable 3/0 - - -
			iif=em0 src=2001:db8::1 dst=2001:db8::2 => unreachable 1/0 - - -`)
	})
	t.Run("a miss goes on", func(t *testing.T) {
		l := newLab(t)
		l.table("empty")
		l.table("thrown", "10.0.0.0/8 throw", "0.0.0.0/0 blackhole")
		l.rule(1, "lookup empty", Selector{})
		l.rule(2, "lookup thrown", Selector{})
		l.rule(3, "prohibit", Selector{})
		expect(t, l.compile(), `
			iif=em0 src=10.0.0.1 dst=10.0.0.2 => prohibit 3/13 r2 - -
			iif=em0 src=10.0.0.1 dst=11.0.0.2 => blackhole r1 thrown 0.0.0.0/0`)
	})
}

func TestSuppress(t *testing.T) {
	l := newLab(t)
	l.table("x", "0.0.0.0/0 via 198.51.100.7 em1", "10.0.0.0/8 via 198.51.100.7 em1", "10.1.0.0/16 via 198.51.100.7 em1",
		"11.0.0.0/8 blackhole", "12.0.0.0/8 local", "13.0.0.0/16 dev em2",
		"2001:db8::/32 via 2001:db8:2::7 em1")
	l.rule(1, "lookup x", Selector{HasMark: true, Mark: 0, MarkMask: 7}).SuppressPrefixLength = 0
	l.rule(2, "lookup x", Selector{HasMark: true, Mark: 1, MarkMask: 7}).SuppressPrefixLength = 8
	r := l.rule(3, "lookup x", Selector{HasMark: true, Mark: 2, MarkMask: 7})
	r.HasSuppressGroup, r.SuppressGroup = true, 2
	l.rule(4, "lookup x", Selector{HasMark: true, Mark: 3, MarkMask: 7}).SuppressPrefixLength = 32
	r = l.rule(5, "lookup x", Selector{HasMark: true, Mark: 4, MarkMask: 7}) // group 0 is that of em1
	r.HasSuppressGroup = true
	l.rule(9, "prohibit", Selector{})
	expect(t, l.compile(), `
		iif=em0 src=10.0.0.1 dst=9.0.0.1  mark=0 => prohibit 3/13 r5 - -
		iif=em0 src=10.0.0.1 dst=10.0.0.1 mark=0 => forward em1 via 198.51.100.7 r0 x 10.0.0.0/8
		iif=em0 src=10.0.0.1 dst=10.0.0.1 mark=1 => prohibit 3/13 r5 - -
		iif=em0 src=10.0.0.1 dst=10.1.0.1 mark=1 => forward em1 via 198.51.100.7 r1 x 10.1.0.0/16
		iif=em0 src=10.0.0.1 dst=11.0.0.1 mark=1 => blackhole r1 x 11.0.0.0/8
		iif=em0 src=10.0.0.1 dst=12.0.0.1 mark=1 => prohibit 3/13 r5 - -
		iif=em0 src=10.0.0.1 dst=13.0.0.1 mark=2 => prohibit 3/13 r5 - -
		iif=em0 src=10.0.0.1 dst=10.0.0.1 mark=2 => forward em1 via 198.51.100.7 r2 x 10.0.0.0/8
		iif=em0 src=10.0.0.1 dst=12.0.0.1 mark=2 => local r2 x 12.0.0.0/8
		iif=em0 src=10.0.0.1 dst=10.0.0.1 mark=4 => prohibit 3/13 r5 - -
		iif=em0 src=10.0.0.1 dst=13.0.0.1 mark=4 => forward em2 r4 x 13.0.0.0/16
		iif=em0 src=2001:db8::1 dst=2001:db8::2 mark=3 => prohibit 1/1 r5 - -
		iif=em0 src=2001:db8::1 dst=2001:db8::2 mark=2 => forward em1 via 2001:db8:2::7 r2 x 2001:db8::/32`)
}

func TestOnMiss(t *testing.T) {
	for _, c := range []struct {
		onMiss   OnMiss
		v4, v6   string
		resolved string // thrown there, found in table y
	}{
		{MissFallThrough, "local r1 main 0.0.0.0/0", "local r1 main ::/0", "local r1 main 0.0.0.0/0"},
		{MissUnreachable, "unreachable 3/0 r0 x -", "unreachable 1/0 r0 x -", "unreachable 3/0 r0 x -"},
		{MissProhibit, "prohibit 3/13 r0 x -", "prohibit 1/1 r0 x -", "prohibit 3/13 r0 x -"},
		{MissBlackhole, "blackhole r0 x -", "blackhole r0 x -", "blackhole r0 x -"},
		{MissLookup, "local r1 main 0.0.0.0/0", "local r1 main ::/0", "forward em1 r0 y 10.2.0.0/16"},
	} {
		l := newLab(t)
		l.table("x", "10.1.0.0/16 dev em1", "10.2.0.0/16 throw")
		l.table("y", "10.2.0.0/16 dev em1")
		l.table("main", "0.0.0.0/0 local", "::/0 local")
		l.table("x").OnMiss, l.table("x").MissTarget = c.onMiss, l.tableIndex("y")
		l.rule(1, "lookup x", Selector{})
		l.rule(2, "lookup main", Selector{})
		expect(t, l.compile(), `
			iif=em0 src=10.0.0.1 dst=10.1.0.1 => forward em1 r0 x 10.1.0.0/16
			iif=em0 src=10.0.0.1 dst=11.0.0.1 => `+c.v4+`
			iif=em0 src=2001:db8::1 dst=2001:db8::2 => `+c.v6+`
			iif=em0 src=10.0.0.1 dst=10.2.0.1 => `+c.resolved)
	}
}

func TestNestedLookups(t *testing.T) {
	l := newLab(t)
	l.table("x", "10.0.0.0/8 dev em2", "10.1.0.0/16 lookup y", "10.2.0.0/16 lookup y resume", "10.3.0.0/16 lookup opaque resume",
		"10.4.0.0/16 lookup y resume", "10.4.4.0/24 lookup y resume", "11.0.0.0/8 lookup y resume", "12.0.0.0/8 lookup missing").OnMiss = MissProhibit
	l.table("y", "10.1.1.0/24 dev em1", "10.2.1.0/24 throw", "10.2.2.0/24 blackhole")
	l.table("opaque").OnMiss = MissBlackhole
	l.table("missing").OnMiss = MissLookup
	l.table("missing").MissTarget = l.tableIndex("y")
	l.rule(1, "lookup x", Selector{})
	l.rule(2, "unreachable", Selector{})
	expect(t, l.compile(), `
		iif=em0 src=9.0.0.1 dst=10.1.1.1 => forward em1 r0 y 10.1.1.0/24
		iif=em0 src=9.0.0.1 dst=10.1.2.1 => prohibit 3/13 r0 x -
		iif=em0 src=9.0.0.1 dst=10.2.1.1 => forward em2 r0 x 10.0.0.0/8
		iif=em0 src=9.0.0.1 dst=10.2.2.1 => blackhole r0 y 10.2.2.0/24
		iif=em0 src=9.0.0.1 dst=10.2.3.1 => forward em2 r0 x 10.0.0.0/8
		iif=em0 src=9.0.0.1 dst=10.3.1.1 => blackhole r0 opaque -
		iif=em0 src=9.0.0.1 dst=10.4.4.1 => forward em2 r0 x 10.0.0.0/8
		iif=em0 src=9.0.0.1 dst=11.1.1.1 => prohibit 3/13 r0 x -
		iif=em0 src=9.0.0.1 dst=12.1.1.1 => prohibit 3/13 r0 x -`)
}

func TestRouteTOS(t *testing.T) {
	l := newLab(t)
	l.table("x", "10.0.0.0/8 dev em2", "10.1.0.0/16 dev em1 tos 0x10", "10.2.0.0/16 dev em2 metric 5", "10.2.0.0/16 dev em1 metric 1",
		"10.2.0.0/16 via 192.0.2.9 em0 tos 0x08 metric 9")
	l.rule(1, "lookup x", Selector{})
	expect(t, l.compile(), `
		iif=em0 src=9.0.0.1 dst=10.1.0.1 tos=0x13 => forward em1 r0 x 10.1.0.0/16
		iif=em0 src=9.0.0.1 dst=10.1.0.1 tos=0x14 => forward em2 r0 x 10.0.0.0/8
		iif=em0 src=9.0.0.1 dst=10.2.0.1          => forward em1 r0 x 10.2.0.0/16
		iif=em0 src=9.0.0.1 dst=10.2.0.1 tos=0x08 => forward em0 via 192.0.2.9 r0 x 10.2.0.0/16`)
}

func TestDefaults(t *testing.T) {
	l := newLab(t)
	l.defaults()
	l.table("main", "0.0.0.0/0 via 198.51.100.7 em1")
	l.table("default", "::/0 prohibit", "0.0.0.0/0 blackhole")
	expect(t, l.compile(), `
		iif=em0 src=9.0.0.1 dst=192.0.2.1      => local local local 192.0.2.1/32
		iif=em0 src=9.0.0.1 dst=192.0.2.255    => local local local 192.0.2.255/32
		iif=em1 src=9.0.0.1 dst=192.0.2.77     => forward em0 main main 192.0.2.0/24
		iif=em1 src=9.0.0.1 dst=203.0.113.9    => forward em0.100 main main 203.0.113.0/24
		iif=em0 src=9.0.0.1 dst=8.8.8.8        => forward em1 via 198.51.100.7 main main 0.0.0.0/0
		iif=em0 src=2001:db8:9::1 dst=2001:db8:2::1 => local local local 2001:db8:2::1/128
		iif=em0 src=2001:db8:9::1 dst=2001:db8:2::  => local local local 2001:db8:2::/128
		iif=em0 src=2001:db8:9::1 dst=2001:db8:2::9 => forward em1 main main 2001:db8:2::/64
		iif=em0 src=2001:db8:9::1 dst=2001:db8:9::9 => unreachable 1/0 - - -`)
}

func TestAdjacencyOfVerdict(t *testing.T) {
	l := newLab(t)
	l.table("x", "10.0.0.0/8 dev em1", "11.0.0.0/8 via 198.51.100.7 em1")
	l.rule(1, "lookup x", Selector{})
	l.Neighbors = []StaticNeighbor{{Neighbor: fib.Neighbor{Addr: prefix("10.0.0.9/32").Addr(), Port: 1}, MAC: [6]byte{2, 0, 0, 0, 0, 9}}}
	s := l.compile()
	at := func(s *Snapshot, spec string) (Verdict, *fib.Adjacency) {
		k := key(t, s, "iif=em0 src=9.0.0.1 "+spec)
		v := s.Evaluate(&k, nil)
		if v.Adjacency == Unresolved {
			return v, nil
		}
		return v, s.Adjacencies.At(v.Adjacency)
	}
	if v, a := at(s, "dst=10.0.0.9"); !v.OnLink || a == nil || a.DstMAC[5] != 9 || a.State != fib.Resolved || !a.Static || a.MTU != 1400 || a.Device != 1 {
		t.Errorf("static neighbour: %+v %+v", v, a)
	}
	if v, a := at(s, "dst=10.0.0.8"); !v.OnLink || a != nil || v.Action != Forward || v.Port != 1 {
		t.Errorf("unknown neighbour: %+v %+v", v, a)
	}
	if v, a := at(s, "dst=11.0.0.8"); v.OnLink || a == nil || a.Neighbor.Addr.String() != "198.51.100.7" || a.State != fib.Incomplete {
		t.Errorf("gateway: %+v %+v", v, a)
	}
	later := s.WithAdjacencies(s.Adjacencies.With(fib.Adjacency{Neighbor: fib.Neighbor{Addr: prefix("10.0.0.8/32").Addr(), Port: 1}}))
	if _, a := at(later, "dst=10.0.0.8"); a == nil {
		t.Error("a neighbour that was added is not found")
	}
	if _, a := at(s, "dst=10.0.0.8"); a != nil {
		t.Error("the snapshot before has the neighbour too")
	}
}

// As Linux, which looks at the first hop of an IPv4 route, and at the chosen one of an IPv6 route.
func TestSuppressGroupOfMultipath(t *testing.T) {
	l := newLab(t)
	l.table("x", "0.0.0.0/0 dev em1 dev em2", "::/0 dev em1 dev em2")
	r := l.rule(1, "lookup x", Selector{})
	r.HasSuppressGroup, r.SuppressGroup = true, 2
	s := l.compile()
	seen := map[string]int{}
	for i := range 100 {
		for family, addrs := range map[string]string{"IPv4": "src=10.0.0.1 dst=10.0.0.2", "IPv6": "src=2001:db8::1 dst=2001:db8::2"} {
			k := key(t, s, "iif=em0 "+addrs)
			k.SrcPort = uint16(i)
			v := s.Evaluate(&k, nil)
			seen[family+" "+verdictWord(v)+" "+s.PortName(v.Port)]++
		}
	}
	if seen["IPv4 forward em1"] == 0 || seen["IPv4 forward em2"] == 0 || seen["IPv6 forward em1"] == 0 || seen["IPv6 unreachable "] == 0 || len(seen) != 4 {
		t.Error(seen)
	}
}

// As Linux, where a local route leads to the port that has the address.
func TestSuppressGroupOfLocal(t *testing.T) {
	l := newLab(t)
	l.defaults()
	r := &l.Rules[0]
	r.HasSuppressGroup, r.SuppressGroup = true, 1
	expect(t, l.compile(), `
		iif=em1 src=10.0.0.1 dst=192.0.2.1 => forward em0 main main 192.0.2.0/24
		iif=em1 src=10.0.0.1 dst=192.0.2.255 => forward em0 main main 192.0.2.0/24
		iif=em1 src=2001:db8:9::1 dst=2001:db8:1:: => forward em0 main main 2001:db8:1::/64
		iif=em0 src=10.0.0.1 dst=198.51.100.1 => local local local 198.51.100.1/32`)
}

func TestLocalOutput(t *testing.T) {
	l := newLab(t)
	l.table("x", "0.0.0.0/0 via 198.51.100.7 em1", "::/0 dev em1")
	l.rule(1, "prohibit", Selector{HasIngress: true, Ingress: 0})
	l.rule(2, "prohibit", Selector{HasGroup: true})
	l.rule(3, "lookup x", Selector{HasIngress: true, IngressLo: true})
	l.rule(4, "blackhole", Selector{})
	s := l.compile()
	for _, spec := range []string{"src=192.0.2.1 dst=10.0.0.1", "src=fe80::1 dst=2001:db8:9::1", "src=2001:db8:1::1 dst=2001:db8:9::1"} {
		k := key(t, s, "iif=em2 "+spec)
		if v := s.Evaluate(&k, nil); v.Reason != packet.Blackhole {
			t.Errorf("%s from em2: %v", spec, v.Reason)
		}
		k.Ingress = LocalOutput
		if v := s.Evaluate(&k, &Trace{}); v.Action != Forward || s.RuleName(v.Rule) != "r2" {
			t.Errorf("%s from the router: %v by %s", spec, v.Reason, s.RuleName(v.Rule))
		}
		var text strings.Builder
		if err := s.Explain(&k).WriteText(&text); err != nil || !strings.Contains(text.String(), "iif: lo is not em0") {
			t.Errorf("%s from the router: %v\n%s", spec, err, &text)
		}
	}
}
