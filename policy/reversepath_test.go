package policy

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"weir/fib"
	"weir/policy/packet"
)

// reverseLab has a strict port, a loose one and one without a check, and rules that tell the two directions apart.
func reverseLab(t testing.TB) *lab {
	l := newLab(t)
	l.Ports[0].ReversePath = ReverseStrict
	l.Ports[1].ReversePath, l.Ports[1].SourceMark = ReverseLoose, true
	l.defaults()
	l.table("main", "0.0.0.0/0 via 198.51.100.7 em1", "::/0 via 2001:db8:2::7 em1", "10.1.0.0/16 via 192.0.2.9 em0",
		"10.2.0.0/16 via 198.51.100.7 em1 via 192.0.2.9 em0", "10.3.0.0/16 blackhole", "10.4.0.0/16 via 192.0.2.9 em0 tos 0x10",
		"2001:db8:a::/48 via 2001:db8:1::9 em0", "2001:db8:b::/48 unreachable")
	l.table("x", "10.5.0.0/16 via 192.0.2.9 em0")
	l.table("marked", "10.6.0.0/16 prohibit")
	l.table("web", "10.7.0.0/16 via 192.0.2.9 em0")
	l.rule(100, "lookup x", Selector{HasIngress: true, Ingress: 1})
	l.rule(200, "lookup marked", Selector{HasMark: true, Mark: 1, MarkMask: 1})
	l.rule(300, "lookup web", Selector{Sport: PortMatch{Kind: PortRange, Lo: 80, Hi: 80}})
	return l
}

func TestReversePath(t *testing.T) {
	expect(t, reverseLab(t).compile(), `
		iif=em0 src=192.0.2.5 dst=8.8.8.8                    => forward em1 via 198.51.100.7 main main 0.0.0.0/0
		iif=em0 src=10.1.0.1 dst=8.8.8.8                     => forward em1 via 198.51.100.7 main main 0.0.0.0/0
		iif=em0 src=10.2.0.1 dst=8.8.8.8                     => forward em1 via 198.51.100.7 main main 0.0.0.0/0
		iif=em0 src=9.0.0.1 dst=8.8.8.8                      => reverse-path main main 0.0.0.0/0
		iif=em0 src=10.3.0.1 dst=8.8.8.8                     => reverse-path main main 0.0.0.0/0
		iif=em0 src=10.4.0.1 dst=8.8.8.8                     => reverse-path main main 0.0.0.0/0
		iif=em0 src=10.4.0.1 dst=8.8.8.8 tos=0x13            => forward em1 via 198.51.100.7 main main 0.0.0.0/0
		iif=em0 src=10.5.0.1 dst=8.8.8.8                     => forward em1 via 198.51.100.7 main main 0.0.0.0/0
		iif=em0 src=10.7.0.1 dst=8.8.8.8 proto=tcp dport=80  => forward em1 via 198.51.100.7 main main 0.0.0.0/0
		iif=em0 src=10.7.0.1 dst=8.8.8.8 proto=tcp sport=80  => reverse-path main main 0.0.0.0/0
		iif=em0 src=10.6.0.1 dst=8.8.8.8 mark=1              => reverse-path main main 0.0.0.0/0
		iif=em0 src=9.0.0.1 dst=10.3.0.1                     => blackhole main main 10.3.0.0/16
		iif=em0 src=9.0.0.1 dst=192.0.2.1                    => local local local 192.0.2.1/32
		iif=em0 src=192.0.2.1 dst=8.8.8.8                    => martian main main 0.0.0.0/0
		iif=em0 src=9.0.0.1 dst=8.8.8.8 ttl=1                => reverse-path main main 0.0.0.0/0
		iif=em1 src=9.0.0.1 dst=10.1.0.1                     => forward em0 via 192.0.2.9 main main 10.1.0.0/16
		iif=em1 src=10.1.0.1 dst=10.1.0.2                    => forward em0 via 192.0.2.9 main main 10.1.0.0/16
		iif=em1 src=10.3.0.1 dst=10.1.0.1                    => reverse-path main main 10.1.0.0/16
		iif=em1 src=10.6.0.1 dst=10.1.0.1                    => forward em0 via 192.0.2.9 main main 10.1.0.0/16
		iif=em1 src=10.6.0.1 dst=10.1.0.1 mark=1             => reverse-path main main 10.1.0.0/16
		iif=em2 src=10.3.0.1 dst=8.8.8.8                     => forward em1 via 198.51.100.7 main main 0.0.0.0/0
		iif=em0 src=2001:db8:a::1 dst=2001:db8:c::1          => forward em1 via 2001:db8:2::7 main main ::/0
		iif=em0 src=2001:db8:c::1 dst=2001:db8:d::1          => reverse-path main main ::/0
		iif=em0 src=2001:db8:1::1 dst=2001:db8:d::1          => reverse-path main main ::/0
		iif=em1 src=2001:db8:b::1 dst=2001:db8:a::1          => reverse-path main main 2001:db8:a::/48
		iif=em0 src=fe80::1 dst=2001:db8:a::1                => forward em0 via 2001:db8:1::9 main main 2001:db8:a::/48`)
}

// TestReversePathSeesMarks: the way back has the mark and the TOS that the mark program leaves.
func TestReversePathSeesMarks(t *testing.T) {
	l := reverseLab(t)
	l.chain(MainChain, l.when("mark 0x1/0x1", is(FieldDport, 53)), l.when("dscp 4", is(FieldDport, 54)))
	s := l.compile()
	expect(t, s, `
		iif=em1 src=10.6.0.1 dst=10.1.0.1 dport=52 => forward em0 via 192.0.2.9 main main 10.1.0.0/16
		iif=em1 src=10.6.0.1 dst=10.1.0.1 dport=53 => reverse-path main main 10.1.0.0/16
		iif=em0 src=10.4.0.1 dst=8.8.8.8 dport=54  => forward em1 via 198.51.100.7 main main 0.0.0.0/0`)
}

// TestReversePathNotOfOwn: what the router itself sends came in nowhere.
func TestReversePathNotOfOwn(t *testing.T) {
	s := reverseLab(t).compile()
	k := key(t, s, "iif=em0 src=9.0.0.1 dst=8.8.8.8")
	k.Ingress = LocalOutput
	if v := s.Evaluate(&k, nil); v.Action != Forward {
		t.Errorf("%+v", v)
	}
}

func TestExplainReversePath(t *testing.T) {
	s := reverseLab(t).compile()
	explainGolden(t, s, "reverse-path", "iif=em0 src=10.7.0.1 dst=8.8.8.8 proto=tcp sport=80 dport=443")
	explainGolden(t, s, "reverse-path-ok", "iif=em1 src=10.6.0.1 dst=10.1.0.1")
}

func BenchmarkReversePath(b *testing.B) {
	for _, mode := range []ReversePath{ReverseOff, ReverseLoose, ReverseStrict} {
		b.Run(mode.String(), func(b *testing.B) {
			s, keys := benchLab(b, 3)
			s.Ports[0].ReversePath, s.checksSource = mode, mode != ReverseOff
			verdicts := make([]Verdict, len(keys))
			for i := range keys {
				keys[i].Src = key(b, s, "iif=em0 src=192.0.2.5 dst=8.8.8.8").Src
			}
			b.ReportAllocs()
			for b.Loop() {
				s.Decide(keys, verdicts, nil)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(keys)), "ns/packet")
			if verdicts[0].Action != Forward || verdicts[0].Reason != packet.None {
				b.Fatal("not forwarded")
			}
		})
	}
}

// TestReversePathIsTheTwins asks the twin for the way back of random packets under random policies.
func TestReversePathIsTheTwins(t *testing.T) {
	ports := newLab(t).Ports
	seen := map[string]int{}
	checkUntil(t, seen, []string{"loose forward", "loose reverse-path", "strict forward", "strict reverse-path"}, func(t *rapid.T) {
		p := genPolicy(t, ports)
		p.Ports = slices.Clone(ports)
		for i := range p.Ports {
			p.Ports[i].ReversePath = ReversePath(rapid.IntRange(0, 2).Draw(t, "check"))
			p.Ports[i].SourceMark = rapid.Bool().Draw(t, "mark")
		}
		for i := range p.Rules { // whose hop depends on the hash in IPv6
			p.Rules[i].HasSuppressGroup = false
		}
		s, err := Compile(&p)
		if err != nil {
			t.Fatalf("compile: %v", err)
		}
		off, err := Compile(&Policy{Hostname: p.Hostname, Ports: ports, Tables: p.Tables, Rules: p.Rules, ConsistentFragments: p.ConsistentFragments})
		if err != nil {
			t.Fatalf("compile: %v", err)
		}
		for range 20 {
			k := genKey(t, len(ports))
			if rapid.Bool().Draw(t, "expected here") { // few random packets come in where the way back would leave
				back := k
				back.Src, back.Dst, back.SrcPort, back.DstPort, back.TTL = k.Dst, k.Src, k.DstPort, k.SrcPort, 64
				if v := off.Evaluate(&back, nil); v.Port != None {
					k.Ingress = v.Port
				}
			}
			before := k
			want, got := off.Evaluate(&k, nil), s.Evaluate(&k, nil)
			if k != before {
				t.Fatal("the key has changed")
			}
			in := &p.Ports[k.Ingress]
			if want.Port != None || want.Reason == packet.TTLExceeded { // it has a next hop, whose port another TTL shows
				alive := k
				alive.TTL = 64
				egress := off.Evaluate(&alive, nil).Port
				back := k
				back.Src, back.Dst, back.SrcPort, back.DstPort, back.Ingress, back.Mark = k.Dst, k.Src, k.DstPort, k.SrcPort, egress, 0
				if in.SourceMark {
					back.Mark = k.Mark
				}
				a := twin{&p, &back}.walk(ports[egress].Group)
				by := a.route != nil && slices.ContainsFunc(a.route.Hops, func(h fib.NextHop) bool { return h.Port == k.Ingress })
				linkLocal := k.Family == packet.IPv6 && k.SrcAddr().IsLinkLocalUnicast()
				if fits := in.ReversePath == ReverseOff || linkLocal || a.word == "unicast" && (in.ReversePath == ReverseLoose || by); !fits {
					want.Action, want.Reason, want.Port, want.Adjacency = Drop, packet.ReversePath, None, Unresolved
					want.MTU, want.OnLink, want.Type, want.Code = 0, false, 0, 0
				}
			}
			if got != want {
				t.Fatalf("%v on port %s: %+v, want %+v", k, in.Name, got, want)
			}
			seen[in.ReversePath.String()+" "+verdictWord(got)]++
		}
	})
}
