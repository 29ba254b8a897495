package policy

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"weir/policy/packet"
)

// fragmentsLab has rules and marks that look at the L4 header.
func fragmentsLab(t testing.TB, consistent bool) *lab {
	l := newLab(t)
	l.ConsistentFragments = consistent
	l.table("x", "0.0.0.0/0 via 198.51.100.7 em1", "::/0 via 2001:db8:2::7 em1")
	l.table("main", "0.0.0.0/0 via 192.0.2.9 em0", "::/0 via 2001:db8:1::9 em0")
	l.rule(100, "lookup x", Selector{Dport: PortMatch{Kind: PortRange, Lo: 5000, Hi: 5099}})
	l.rule(101, "lookup x", Selector{Beyond: []Condition{is(FieldICMPType, 8)}})
	l.rule(102, "lookup x", Selector{HasMark: true, Mark: 1, MarkMask: 1})
	l.rule(200, "lookup main", Selector{})
	l.chain(MainChain,
		l.when("mark 0x1/0x1", is(FieldTCPFlags, 2)),
		l.when("drop", is(FieldDport, 23)),
		l.when("mark 0x1/0x1", is(FieldFragment, uint32(packet.FragmentLater)), is(FieldSport, 9)))
	return l
}

// TestConsistentFragments: the L4 header of the first fragment counts in all of a datagram, or, as in Linux, in the first
// for marks and in none for rules.
func TestConsistentFragments(t *testing.T) {
	const consistent, linux = true, false
	for _, c := range []struct {
		mode  bool
		cases string
	}{
		{consistent, `
			dport=5001                           => x
			dport=5001 fragment=first            => x
			dport=5001 fragment=later            => x
			dport=5100 fragment=first            => main
			dport=5100 fragment=later            => main
			fragment=later                       => main
			dport=23 fragment=first              => drop
			dport=23 fragment=later              => drop
			proto=tcp tcp-flags=syn fragment=first => x
			proto=tcp tcp-flags=syn fragment=later => x
			proto=tcp tcp-flags=ack fragment=later => main
			icmp-type=8 fragment=first           => x
			icmp-type=8 fragment=later           => x
			icmp-type=3 fragment=later           => main
			proto=47 fragment=later              => main
			sport=9 fragment=first               => main
			sport=9 fragment=later               => x`},
		{linux, `
			dport=5001                           => x
			dport=5001 fragment=first            => main
			dport=5001 fragment=later            => main
			dport=23 fragment=first              => drop
			dport=23 fragment=later              => main
			proto=tcp tcp-flags=syn fragment=first => x
			proto=tcp tcp-flags=syn fragment=later => main
			icmp-type=8 fragment=first           => x
			icmp-type=8 fragment=later           => main
			sport=9 fragment=later               => main`},
	} {
		s := fragmentsLab(t, c.mode).compile()
		if s.ConsistentFragments() != c.mode {
			t.Fatal("the snapshot does not know")
		}
		for line := range strings.Lines(c.cases) {
			if line = strings.TrimSpace(line); line == "" {
				continue
			}
			spec, want, _ := strings.Cut(line, "=>")
			want = strings.TrimSpace(want)
			for _, family := range []string{"src=10.0.0.1 dst=10.0.0.2 ", "src=2001:db8:a::1 dst=2001:db8:a::2 "} {
				k := key(t, s, "iif=em0 "+family+spec)
				e := s.Explain(&k)
				if got := map[string]string{"forward": e.Table, "drop": "drop"}[e.Verdict]; got != want {
					var b strings.Builder
					e.WriteText(&b)
					t.Errorf("consistent %v: %s%s: %q, want %q\n%s", c.mode, family, spec, got, want, &b)
				}
			}
		}
	}
}

// TestFragmentsAreDecidedAlike: where fragments are consistent, and nothing asks which fragment a packet is, all
// fragments of a datagram have the verdict of a whole packet, next hop of a multipath route included.
func TestFragmentsAreDecidedAlike(t *testing.T) {
	ports := newLab(t).Ports
	refused := 0
	rapid.Check(t, func(t *rapid.T) {
		p := genPolicy(t, ports)
		p.ConsistentFragments = true
		p.Marks = genMarks(t, len(ports))
		for _, chain := range p.Marks {
			for i := range chain.Statements {
				for j := range chain.Statements[i].Match.Conditions {
					if c := &chain.Statements[i].Match.Conditions[j]; c.Field == FieldFragment {
						*c = Condition{Field: FieldSport, Not: c.Not, Numbers: c.Numbers}
					}
				}
			}
		}
		s, err := Compile(&p)
		if err != nil {
			t.Fatal(err)
		}
		for range 10 {
			k := genMarkKey(t, len(ports))
			var verdicts [3]Verdict
			for f := range verdicts {
				k.Fragment = packet.Fragment(f)
				verdicts[f] = s.Evaluate(&k, nil)
				if v := &verdicts[f]; v.Reason == packet.MarkReject { // how a refusal is answered depends on what there is of the packet
					v.Action, v.Type, v.Code = Reject, 0, 0
					refused++
				}
			}
			if verdicts[0] != verdicts[1] || verdicts[0] != verdicts[2] {
				t.Fatalf("packet %+v: whole %+v\nfirst %+v\nlater %+v", k, verdicts[0], verdicts[1], verdicts[2])
			}
		}
	})
	if refused == 0 {
		t.Error("no random packet was rejected")
	}
}

// TestExplainFragmentsGolden pins what an explanation says of a later fragment whose first is known.
func TestExplainFragmentsGolden(t *testing.T) {
	s := fragmentsLab(t, true).compile()
	explainGolden(t, s, "fragment-later", "iif=em0 src=10.0.0.1 dst=10.0.0.2 sport=9 dport=5100 fragment=later")
	explainGolden(t, s, "fragment-later-icmp", "iif=em0 src=10.0.0.1 dst=10.0.0.2 icmp-type=3 fragment=later")
}
