package policy

import (
	"encoding/binary"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"weir/fib"
	"weir/perf/versus"
	"weir/policy/packet"
)

var (
	dpdkProgram = flag.String("dpdk", "", "program of DPDK's classifier (perf/dpdk/acl.c) to compare with")
	dpdkRounds  = flag.Int("dpdk.rounds", 21, "rounds of the comparison with DPDK")
	dpdkPage    = flag.String("dpdk.page", "", "file for the results of the comparison with DPDK")
)

// dpdkCase is a number of rules, and how they are made; goal is weir's time through rte_acl's with AVX-512.
type dpdkCase struct {
	name  string
	rules int
	deep  bool // no rule leaves both addresses open, so that few packets match early
	goal  float64
}

var dpdkCases = []dpdkCase{{"10", 10, false, 0.4}, {"100", 100, false, 0.9}, {"1,000", 1000, false, 0.5}, {"10,000", 10_000, false, 0.45}, {"10,000 deep", 10_000, true, 0.9}}

var dpdkImplementations = []string{"scalar", "avx2", "avx512"}

// TestAgainstDPDK compares DPDK's rte_acl in turns with what does the same here, the matcher, and with Decide, on equal rules that
// all lead to one table with one route. It fails if one packet has two answers, never for its figures. `make bench-acl` runs it.
func TestAgainstDPDK(t *testing.T) {
	if *dpdkProgram == "" {
		t.Skip("give the program: -args -dpdk bin/dpdk-acl")
	}
	versus.HugePages(t, 640)
	versus.Pin(t)
	page := versus.NewPage("Rules: weir and DPDK")
	results := make([]dpdkResult, len(dpdkCases))
	for i, c := range dpdkCases {
		results[i] = c.compare(t)
	}
	reportDPDK(page, results)
	page.Conditions("make bench-acl", [2]string{"packets", fmt.Sprintf("%d, nine of ten made to match a random rule", dpdkPackets)})
	page.Publish(t, *dpdkPage)
}

const (
	dpdkPackets = 1 << 14
	dpdkPorts   = 8
)

// randomClassifier draws rules as access lists have them: prefixes from a pool, some protocols and well-known ports, seldom a
// port of the router, a DSCP or a mark.
func randomClassifier(rng *rand.Rand, c dpdkCase) (rules []Selector) {
	pool := func() (list []netip.Prefix) {
		for range c.rules/20 + 4 {
			outer := [4]byte{byte(11 + rng.IntN(100)), byte(rng.IntN(256))}
			list = append(list, netip.PrefixFrom(netip.AddrFrom4(outer), 16))
			for range 5 {
				inner := netip.AddrFrom4([4]byte{outer[0], outer[1], byte(rng.IntN(256)), byte(rng.IntN(256))})
				list = append(list, netip.PrefixFrom(inner, []int{20, 22, 24, 24, 24, 28, 30, 32, 32, 32}[rng.IntN(10)]).Masked())
			}
		}
		return list
	}
	sources, destinations := pool(), pool()
	known := []uint16{22, 25, 53, 80, 110, 123, 143, 161, 179, 443, 445, 993, 1433, 3306, 3389, 5060, 8080, 8443}
	chance := func(percent int) bool { return rng.IntN(100) < percent }
	only := func(p uint16) PortMatch { return PortMatch{Kind: PortRange, Lo: p, Hi: p} }
	seen := map[string]bool{}
	for len(rules) < c.rules {
		var s Selector
		if chance(75) {
			s.From = sources[rng.IntN(len(sources))]
		}
		if chance(80) {
			s.To = destinations[rng.IntN(len(destinations))]
		}
		if !s.From.IsValid() && !s.To.IsValid() && (c.deep || chance(90)) {
			continue
		}
		switch x := rng.IntN(100); {
		case x < 60:
			s.HasProto, s.Proto = true, packet.ProtoTCP
		case x < 82:
			s.HasProto, s.Proto = true, packet.ProtoUDP
		case x < 90:
			s.HasProto, s.Proto = true, packet.ProtoICMP
		}
		if !s.HasProto && !s.From.IsValid() && !s.To.IsValid() {
			continue
		}
		if s.Proto == packet.ProtoTCP || s.Proto == packet.ProtoUDP {
			switch x := rng.IntN(100); {
			case x < 6:
				s.Sport = PortMatch{Kind: PortRange, Lo: 1024, Hi: 65535}
			case x < 10:
				s.Sport = only(known[rng.IntN(len(known))])
			}
			switch x := rng.IntN(100); {
			case x < 50:
				s.Dport = only(known[rng.IntN(len(known))])
			case x < 60:
				s.Dport = PortMatch{Kind: PortRange, Lo: 1024, Hi: 65535}
			case x < 72:
				low := uint16(1 + rng.IntN(60000))
				s.Dport = PortMatch{Kind: PortRange, Lo: low, Hi: low + uint16(rng.IntN(2000))}
			}
		}
		if chance(20) {
			s.HasIngress, s.Ingress = true, uint16(rng.IntN(dpdkPorts))
		}
		if chance(8) {
			s.HasDSCP, s.DSCP, s.DSCPMask = true, uint8(rng.IntN(8))<<3, 0x3f
		}
		switch x := rng.IntN(100); {
		case x < 8:
			s.HasMark, s.Mark, s.MarkMask = true, uint32(1+rng.IntN(16)), 0xffffffff
		case x < 14:
			s.HasMark, s.Mark, s.MarkMask = true, uint32(1+rng.IntN(16)), 0xff
		}
		if id := fmt.Sprintf("%+v", s); !seen[id] {
			seen[id] = true
			rules = append(rules, s)
		}
	}
	return rules
}

// randomPackets are nine of ten made to match a rule, which need not be the first that they match.
func randomPackets(rng *rand.Rand, rules []Selector) []packet.Key {
	within := func(p netip.Prefix, a [4]byte) netip.Addr {
		if !p.IsValid() {
			return netip.AddrFrom4(a)
		}
		mask := ^uint32(0) << (32 - p.Bits())
		base := p.Addr().As4()
		v := binary.BigEndian.Uint32(base[:])&mask | binary.BigEndian.Uint32(a[:])&^mask
		return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, v)))
	}
	port := func(m PortMatch) uint16 {
		if m.Kind == PortAny {
			return uint16(rng.IntN(65536))
		}
		return m.Lo + uint16(rng.IntN(int(m.Hi-m.Lo)+1))
	}
	keys := make([]packet.Key, dpdkPackets)
	for i := range keys {
		var s Selector
		if rng.IntN(10) > 0 {
			s = rules[rng.IntN(len(rules))]
		}
		any4 := func() [4]byte {
			return [4]byte{byte(11 + rng.IntN(100)), byte(rng.IntN(256)), byte(rng.IntN(256)), byte(rng.IntN(256))}
		}
		k := packet.Key{Family: packet.IPv4, TTL: 64, Length: 84, Src: within(s.From, any4()).As16(), Dst: within(s.To, any4()).As16(), L4: 34}
		k.Proto = []uint8{packet.ProtoTCP, packet.ProtoTCP, packet.ProtoUDP, packet.ProtoICMP}[rng.IntN(4)]
		k.TOS, k.Mark, k.Ingress = uint8(rng.IntN(8))<<5, uint32(rng.IntN(20)), uint16(rng.IntN(dpdkPorts))
		if s.HasProto {
			k.Proto = s.Proto
		}
		if s.HasDSCP {
			k.TOS = s.DSCP << 2
		}
		if s.HasMark {
			k.Mark = s.Mark | k.Mark&^s.MarkMask
		}
		if s.HasIngress {
			k.Ingress = s.Ingress
		}
		if hasPorts(&k) {
			k.SrcPort, k.DstPort = port(s.Sport), port(s.Dport)
		}
		keys[i] = k
	}
	return keys
}

// compileClassifier is a router with these rules, all of which lead to a table with a default route.
func compileClassifier(t testing.TB, rules []Selector) *Snapshot {
	l := &lab{t: t, Policy: Policy{Hostname: "lab"}}
	for i := range dpdkPorts {
		l.Ports = append(l.Ports, Port{Name: fmt.Sprintf("em%d", i), Device: uint16(i), MTU: 1500})
	}
	l.Ports[0].Addresses = []netip.Prefix{netip.MustParsePrefix("198.18.0.1/24")}
	l.defaults()
	main := l.table("main")
	main.Routes = append(main.Routes, fib.Route{
		Prefix: netip.MustParsePrefix("0.0.0.0/0"), Hops: []fib.NextHop{{Gateway: netip.MustParseAddr("198.18.0.2"), Port: 0, Weight: 1}},
	})
	for i, s := range rules {
		l.rule(uint32(1+i), "lookup main", s)
	}
	s := l.compile()
	if errs := s.Promote(); errs != nil {
		t.Fatal(errs)
	}
	return s
}

// dpdkFields are a rule's conditions as acl.c has them: protocol, source, destination, mark, ingress, TOS, ports; a value of
// each, and its mask, prefix length or upper end.
func dpdkFields(s *Selector) []byte {
	var value, mask [8]uint32
	set := func(i int, on bool, v, m uint32) {
		if on {
			value[i], mask[i] = v, m
		}
	}
	set(0, s.HasProto, uint32(s.Proto), 0xff)
	for i, p := range []netip.Prefix{s.From, s.To} {
		if p.IsValid() {
			set(1+i, true, word(p.Addr()), uint32(p.Bits()))
		}
	}
	set(3, s.HasMark, s.Mark, s.MarkMask)
	set(4, s.HasIngress, uint32(s.Ingress), 0xffff)
	set(5, s.HasDSCP, uint32(s.DSCP)<<2, uint32(s.DSCPMask)<<2)
	for i, p := range []PortMatch{s.Sport, s.Dport} {
		set(6+i, p.Kind == PortAny, 0, 65535)
		set(6+i, p.Kind == PortRange, uint32(p.Lo), uint32(p.Hi))
	}
	var b []byte
	for _, words := range [][8]uint32{value, mask} {
		for _, w := range words {
			b = binary.NativeEndian.AppendUint32(b, w)
		}
	}
	return b
}

// firstRules finds what rte_acl finds: the number of the first of n rules that a packet matches, from 1, or 0. Rule 0 is the default
// one for table local, which every packet matches.
func (s *Snapshot) firstRules(b *batch, keys []packet.Key, n int, first []uint16) {
	b.n = len(keys)
	for i := range keys {
		b.flows[i].fill(s, &keys[i])
		b.open[i] = uint8(i)
	}
	b.classify(&s.matchers.rules)
	m := s.matchers.rules[0]
	for i := range keys {
		c := cursor{m: m, class: &b.classes[i], lanes: &b.lanes[i], room: &b.room}
		c.seek(1, 1+n)
		item := c.next()
		for item >= 0 && m.checked(item) && !s.rules[item].matches(&b.flows[i]) {
			item = c.next()
		}
		first[i] = uint16(max(item, 0))
	}
}

func dpdkPacket(k *packet.Key) []byte {
	b := append([]byte{k.Proto, 0, 0, 0}, k.Src[12:]...)
	b = append(b, k.Dst[12:]...)
	b = binary.BigEndian.AppendUint32(b, k.Mark)
	for _, v := range []uint16{k.Ingress, uint16(k.TOS), k.SrcPort, k.DstPort} {
		b = binary.BigEndian.AppendUint16(b, v)
	}
	return b
}

// dpdkResult is a case's figures: ns per packet by round, of the matcher, of decisions with these rules and with the default rules
// alone, and of the implementations of DPDK's.
type dpdkResult struct {
	dpdkCase
	took           map[string]versus.Spread
	matched        float64 // share of the packets that one of the rules matches
	depth          int     // number of the rule that the median packet is decided by
	compile, build int64   // ns

	matcherBytes, peerBytes int
}

func (c dpdkCase) compare(t *testing.T) dpdkResult {
	r := dpdkResult{dpdkCase: c, took: map[string]versus.Spread{}}
	rng := rand.New(rand.NewPCG(11, uint64(c.rules)))
	rules := randomClassifier(rng, c)
	keys := randomPackets(rng, rules)
	var ruleBytes, packetBytes []byte
	for i := range rules {
		ruleBytes = append(ruleBytes, dpdkFields(&rules[i])...)
	}
	for i := range keys {
		packetBytes = append(packetBytes, dpdkPacket(&keys[i])...)
	}
	dir := t.TempDir()
	names := []string{filepath.Join(dir, "rules"), filepath.Join(dir, "packets"), filepath.Join(dir, "answers")}
	for i, data := range [][]byte{ruleBytes, packetBytes} {
		if err := os.WriteFile(names[i], data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	peer := versus.Start(t, *dpdkProgram, names[:2]...)
	var text string
	peer.Ask("", &text, &r.build, &r.peerBytes)
	r.compile = versus.ThreadTime()
	s := compileClassifier(t, rules)
	r.compile = versus.ThreadTime() - r.compile
	base := compileClassifier(t, nil)

	matching := s // with a matcher, however few the rules are
	if s.matchers.rules[0] == nil {
		matching = compileClassifier(t, rules)
		matching.match(0, 0)
	}
	first, room := make([]uint16, dpdkPackets), new(batch)
	match := func() {
		for i := 0; i < len(keys); i += 64 {
			matching.firstRules(room, keys[i:i+64], len(rules), first[i:i+64])
		}
	}
	r.matcherBytes = 8 * (matching.matchers.rules[0].size() + matching.matchers.rules[1].size())
	verdicts := make([]Verdict, dpdkPackets)
	decide := func(s *Snapshot, tally *Tally) {
		for i := 0; i < len(keys); i += 64 {
			s.Decide(keys[i:i+64], verdicts[i:i+64], tally)
		}
	}
	tally, baseTally := s.NewTally(), base.NewTally()
	decide(s, tally)
	match()
	var depths []int
	for _, implementation := range dpdkImplementations {
		peer.Ask("answers "+implementation+" "+names[2], &text)
		theirs, err := os.ReadFile(names[2])
		if err != nil {
			t.Fatal(err)
		}
		depths = depths[:0]
		matched, differ := 0, 0
		for i := range verdicts {
			ours := uint32(verdicts[i].Rule) // rule 0 is for table local, then come these
			if verdicts[i].Action != Forward || ours > uint32(len(rules)) {
				ours = 0
			}
			if ours != 0 {
				matched++
				depths = append(depths, int(ours))
			} else {
				depths = append(depths, len(rules))
			}
			if their := binary.NativeEndian.Uint32(theirs[4*i:]); ours != their || uint32(first[i]) != their {
				differ++
			}
		}
		if differ > 0 || matched == 0 {
			t.Errorf("%s rules, DPDK %s: %d of %d answers differ, %d match a rule", c.name, implementation, differ, len(keys), matched)
		}
		r.matched = float64(matched) / float64(len(keys))
	}
	slices.Sort(depths)
	r.depth = depths[len(depths)/2]

	turns := append([]string{"matcher", "weir", "base"}, dpdkImplementations...)
	passes := map[string]int64{}
	turn := func(who string, passes int64) (ns int64) {
		if slices.Contains(dpdkImplementations, who) {
			peer.Ask(fmt.Sprintf("classify %s %d", who, passes), &ns)
			return ns
		}
		ns = versus.ThreadTime()
		for range passes {
			switch who {
			case "matcher":
				match()
			case "weir":
				decide(s, tally)
			case "base":
				decide(base, baseTally)
			}
		}
		return versus.ThreadTime() - ns
	}
	const turnTime = 20e6 // ns
	for _, who := range turns {
		passes[who] = max(1, turnTime/max(turn(who, 1), 1))
	}
	for range *dpdkRounds {
		for _, who := range turns {
			r.took[who] = append(r.took[who], float64(turn(who, passes[who]))/float64(passes[who]*dpdkPackets))
		}
		slices.Reverse(turns)
	}
	return r
}
