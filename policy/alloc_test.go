package policy

import (
	"net/netip"
	"strings"
	"testing"

	"weir/policy/packet"
)

// TestDecideDoesNotAllocate covers every kind of verdict.
func TestDecideDoesNotAllocate(t *testing.T) {
	l := newLab(t)
	l.Ports[0].Redirects = true
	l.defaults()
	l.table("y", "10.9.0.0/16 lookup z resume", "10.0.0.0/8 lookup z").Key = BySource
	l.table("z", "10.1.0.0/16 via 198.51.100.7 em1 via 192.0.2.9 em0", "10.2.0.0/16 dev em2", "10.3.0.0/16 blackhole", "10.4.0.0/16 unreachable",
		"10.5.0.0/16 prohibit", "10.6.0.0/16 throw", "10.7.0.0/16 dev em1 tos 0x10", "2001:db8:5::/48 via 2001:db8:2::7 em1")
	l.table("closed").OnMiss = MissProhibit
	l.rule(10, "goto 12", Selector{HasProto: true, Proto: 6, Dport: PortMatch{Kind: PortRange, Lo: 1, Hi: 1023}})
	l.rule(11, "nop", Selector{From: prefix("10.0.0.0/8"), HasGroup: true, Group: 1})
	r := l.rule(12, "lookup z", Selector{})
	r.SuppressPrefixLength, r.HasSuppressGroup, r.SuppressGroup = 0, true, 2
	l.rule(13, "lookup y", Selector{})
	l.rule(14, "lookup closed", Selector{HasMark: true, Mark: 7, MarkMask: 7})
	for i := range l.Tables {
		l.Tables[i].Counters = true
	}
	l.Ports[2].ReversePath = ReverseStrict
	s := l.compile()

	var keys []packet.Key
	seen := map[string]bool{}
	for _, spec := range []string{
		"src=9.0.0.1 dst=10.1.0.1", "src=10.9.0.1 dst=10.2.0.1", "src=9.0.0.1 dst=10.3.0.1", "src=9.0.0.1 dst=10.4.0.1",
		"src=9.0.0.1 dst=10.5.0.1", "src=9.0.0.1 dst=10.6.0.1", "src=9.0.0.1 dst=10.7.0.1", "src=9.0.0.1 dst=192.0.2.1",
		"src=9.0.0.1 dst=11.0.0.1 mark=7", "src=127.0.0.1 dst=10.1.0.1", "src=192.0.2.1 dst=10.1.0.1", "src=9.0.0.1 dst=10.1.0.1 ttl=1",
		"src=9.0.0.1 dst=10.1.0.1 length=1501", "src=9.0.0.1 dst=10.1.0.1 length=1501 df=0", "src=9.0.0.1 dst=192.0.2.77", "src=192.0.2.5 dst=192.0.2.77",
		"src=2001:db8:9::9 dst=2001:db8:5::1", "src=fe80::1 dst=2001:db8:5::1", "src=2001:db8:9::9 dst=2001:db8:7::1", "src=2001:db8:9::9 dst=ff02::5",
		"src=9.0.0.1 dst=10.1.0.1 iif=em2", "src=10.2.0.1 dst=10.1.0.1 iif=em2",
	} {
		if !strings.Contains(spec, "iif=") {
			spec += " iif=em0"
		}
		k := key(t, s, "proto=tcp dport=80 "+spec)
		keys = append(keys, k)
		seen[verdictWord(s.Evaluate(&k, nil))] = true
	}
	for _, word := range []string{"forward", "local", "blackhole", "unreachable", "prohibit", "reject", "martian", "reverse-path", "ttl-exceeded", "too-big"} {
		if !seen[word] {
			t.Errorf("no packet for verdict %s", word)
		}
	}
	down := s.WithAdjacencies(s.Adjacencies.WithDown(0))
	verdicts, tally := make([]Verdict, len(keys)), s.NewTally()
	var own packet.Key
	var reply Verdict
	buf := make([]byte, 0, 4096)
	if n := testing.AllocsPerRun(100, func() {
		down.Decide(keys, verdicts, tally)
		s.Decide(keys, verdicts, tally)
		for i := range keys {
			k := keys[i]
			s.Ingress(0, &k)
			s.Reply(&keys[i], &own, netip.Addr{}, &reply)
			s.Redirect(&keys[i], &verdicts[i])
			buf = s.AppendJSON(buf[:0], &keys[i], verdicts[i])
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
