package policy

import (
	"fmt"
	"math"
	"strings"
	"testing"
)

func TestFlowsSpread(t *testing.T) {
	const flows = 64 << 10
	for _, c := range []struct{ src, dst, a, b string }{
		{"10.0.0.1", "11.0.0.1", "via 198.51.100.7 em1 weight 3", "via 192.0.2.9 em0"},
		{"2001:db8::1", "2001:db8:9::1", "via 2001:db8:2::7 em1 weight 3", "via 2001:db8:1::9 em0"},
	} {
		l := newLab(t)
		all := "0.0.0.0/0 "
		if c.src[0] == '2' {
			all = "::/0 "
		}
		l.table("x", all+c.a+" "+c.b)
		l.rule(1, "lookup x", Selector{})
		s := l.compile()
		k := key(t, s, "iif=em0 src="+c.src+" dst="+c.dst)
		for name, next := range map[string]func(i int){
			"ports":     func(i int) { k.SrcPort = uint16(i) },
			"addresses": func(i int) { k.Src[15], k.Src[14] = byte(i), byte(i>>8); k.Src[13] = 1 },
		} {
			counts := map[uint16]float64{}
			for i := range flows {
				next(i)
				counts[s.Evaluate(&k, nil).Port]++
			}
			if want := 0.75 * flows; math.Abs(counts[1]-want) > 0.03*want {
				t.Errorf("%s by %s: %v of %d flows, want %.0f within 3 %%", c.src, name, counts[1], flows, want)
			}
		}
	}
}

func TestFragmentsOfADatagramStayTogether(t *testing.T) {
	l := newLab(t)
	s := l.compile()
	for i := range 100 {
		first := key(t, s, fmt.Sprintf("iif=em0 src=2001:db8::1 dst=2001:db8::%x proto=udp sport=%d fragment=first", i+2, i))
		later := key(t, s, fmt.Sprintf("iif=em0 src=2001:db8::1 dst=2001:db8::%x proto=60 fragment=later", i+2))
		if s.flowHash(&first) != s.flowHash(&later) {
			t.Fatalf("fragments of datagram %d part", i)
		}
	}
}

func TestFlowHashSees(t *testing.T) {
	l := newLab(t)
	s := l.compile()
	const base = "iif=em0 src=2001:db8::1 dst=2001:db8::2 "
	seen := map[uint32]string{}
	for _, spec := range []string{"proto=udp sport=1 dport=2", "proto=udp sport=2 dport=1", "proto=tcp sport=1 dport=2", "proto=47",
		"proto=udp sport=1 dport=2 flowlabel=1", "fragment=first", "fragment=first flowlabel=1"} {
		k := key(t, s, base+spec)
		h := s.flowHash(&k)
		if other, ok := seen[h]; ok {
			t.Errorf("%q and %q have one hash", spec, other)
		}
		seen[h] = spec
	}
	k := key(t, s, base)
	l.Hostname = "another"
	if s.flowHash(&k) == l.compile().flowHash(&k) {
		t.Error("two routers make the same choice")
	}
	icmp, port := key(t, s, base+"proto=icmpv6"), key(t, s, base+"proto=icmpv6")
	port.SrcPort = 7
	if s.flowHash(&icmp) != s.flowHash(&port) {
		t.Error("a port counts where there is none")
	}
}

func TestHashPolicy(t *testing.T) {
	l := newLab(t)
	l.MultipathHash = HashL3
	s := l.compile()
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"proto=udp sport=1 dport=2", "proto=tcp sport=3 dport=4", true},
		{"proto=udp sport=1 dport=2", "proto=47", true},
		{"proto=udp sport=1", "proto=udp sport=1 fragment=later", true},
		{"proto=udp flowlabel=1", "proto=udp flowlabel=2", false},
		{"proto=udp", "proto=udp dst=2001:db8::3", false},
	} {
		const base = "iif=em0 src=2001:db8::1 "
		to := func(spec string) string {
			if !strings.Contains(spec, "dst=") {
				spec += " dst=2001:db8::2"
			}
			return base + spec
		}
		a, b := key(t, s, to(c.a)), key(t, s, to(c.b))
		if same := s.flowHash(&a) == s.flowHash(&b); same != c.same {
			t.Errorf("%s and %s are one flow: %v", c.a, c.b, same)
		}
	}
}
