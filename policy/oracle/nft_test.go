package oracle

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"weir/fib"
	"weir/perf/lab"
	"weir/policy"
	"weir/policy/packet"
)

// findNft returns the path of nft(8), which is installed where that is possible.
func findNft(t testing.TB) string {
	t.Helper()
	nft, err := exec.LookPath("nft")
	if err == nil {
		return nft
	}
	out, installErr := exec.CommandContext(testContext(t), "apt-get", "install", "-qy", "--no-install-recommends", "nftables").CombinedOutput()
	if nft, err = exec.LookPath("nft"); err != nil {
		t.Skipf("nft is not installed and cannot be: %v: %s", installErr, out)
	}
	return nft
}

// ruleset is a mark program as nft(8) writes it, in a table of its own at the place where weir runs it: before routing.
// There is no connection tracking in the namespace, so nothing puts fragments together.
func ruleset(d *description) string {
	var b strings.Builder
	b.WriteString("table inet marks\ndelete table inet marks\ntable inet marks {\n")
	for _, c := range d.Marks { // declared first: chains refer to one another
		fmt.Fprintf(&b, "chain %s {\n", c.Name)
		if c.Name == policy.MainChain {
			b.WriteString("type filter hook prerouting priority mangle + 5\n")
		}
		b.WriteString("}\n")
	}
	for _, c := range d.Marks {
		fmt.Fprintf(&b, "chain %s {\n", c.Name)
		for i := range c.Statements {
			for _, ipv4 := range []bool{true, false} {
				if text, ok := nftRule(d, &c.Statements[i], ipv4); ok {
					b.WriteString(text + "\n")
				}
			}
		}
		b.WriteString("}\n")
	}
	b.WriteString("}\n")
	return b.String()
}

// nftRule is a statement for one family, of which a packet has one. ok is false where it cannot match there.
func nftRule(d *description, st *policy.Statement, ipv4 bool) (text string, ok bool) {
	family, ip, words := packet.IPv6, "ip6", []string{"meta nfproto ipv6"}
	if ipv4 {
		family, ip, words = packet.IPv4, "ip", []string{"meta nfproto ipv4"}
	}
	if st.Match.Family != 0 && st.Match.Family != family {
		return "", false
	}
	if ipv4 && looksBehindIP(st) {
		words = append(words, "ip frag-off & 0x1fff == 0")
	}
	for i := range st.Match.Conditions {
		word, ok := nftMatch(&st.Match.Conditions[i], ipv4, ip)
		if !ok {
			return "", false
		}
		words = append(words, word)
	}
	for _, then := range st.Then {
		switch then.Action {
		case policy.MarkSet:
			if then.Mask == policy.AllBits {
				words = append(words, fmt.Sprintf("meta mark set 0x%x", then.Mark))
			} else {
				words = append(words, fmt.Sprintf("meta mark set meta mark & 0x%x | 0x%x", ^then.Mask, then.Mark&then.Mask))
			}
		case policy.MarkDSCP:
			words = append(words, fmt.Sprintf("%s dscp set %d", ip, then.DSCP))
		case policy.MarkJump, policy.MarkGoto:
			words = append(words, then.Action.String()+" "+d.Marks[then.Chain].Name)
		default:
			words = append(words, then.Action.String())
		}
	}
	return strings.Join(words, " "), true
}

// looksBehindIP reports whether the statement reads an L4 header, which later fragments do not have.
//
// nftables takes the first bytes of a later fragment's payload for one where it loads 1, 2 or 4 of them
// (nft_payload_fast_eval in net/netfilter/nf_tables_core.c), but not where it loads 3 (nft_payload_eval in
// net/netfilter/nft_payload.c looks whether the packet is such a fragment): on 6.18, `udp sport 16705` matches the
// fragments of a datagram of A's. xt_tcp and xt_udp match no later fragment, and neither does weir. So the ruleset asks
// for that in IPv4. It cannot in IPv6, and where a program looks behind the IP header no later fragments of IPv6 are sent.
func looksBehindIP(st *policy.Statement) bool {
	return slices.ContainsFunc(st.Match.Conditions, func(c policy.Condition) bool {
		switch c.Field {
		case policy.FieldSport, policy.FieldDport, policy.FieldICMPType, policy.FieldICMPCode, policy.FieldTCPFlags:
			return true
		}
		return false
	})
}

// protocols is the number of conditions that speak of the protocol; nft(8) refuses some combinations of two.
func protocols(st *policy.Statement) (n int) {
	for i := range st.Match.Conditions {
		switch st.Match.Conditions[i].Field {
		case policy.FieldProto, policy.FieldSport, policy.FieldDport, policy.FieldICMPType, policy.FieldICMPCode, policy.FieldTCPFlags:
			n++
		}
	}
	return n
}

// nftMatch is a condition for one family; ok is false where no packet of the family meets it.
func nftMatch(c *policy.Condition, ipv4 bool, ip string) (text string, ok bool) {
	not, equal, unequal, icmp := "", "==", "!=", "icmpv6"
	if c.Not {
		not, equal, unequal = "!= ", "!=", "=="
	}
	if ipv4 {
		icmp = "icmp"
	}
	var values []string
	for _, p := range c.Prefixes {
		if p.Addr().Is4() == ipv4 {
			values = append(values, p.String())
		}
	}
	for _, r := range c.Numbers {
		switch {
		case c.Field == policy.FieldIngress:
			values = append(values, ports[r.Lo].Name)
		case c.Field == policy.FieldTOS && !ipv4:
			values = append(values, fmt.Sprint(r.Lo>>2))
		case r.Lo == r.Hi:
			values = append(values, fmt.Sprint(r.Lo))
		default:
			values = append(values, fmt.Sprintf("%d-%d", r.Lo, r.Hi))
		}
	}
	list := not + "{ " + strings.Join(values, ", ") + " }"
	number := func(what string) string {
		if r := c.Numbers[0]; r.Mask != policy.AllBits { // generated alone
			return fmt.Sprintf("%s & 0x%x %s 0x%x", what, r.Mask, equal, r.Lo)
		}
		return what + " " + list
	}
	switch c.Field {
	case policy.FieldFrom:
		return ip + " saddr " + list, len(values) > 0
	case policy.FieldTo:
		return ip + " daddr " + list, len(values) > 0
	case policy.FieldIngress:
		return "iifname " + list, true
	case policy.FieldGroup:
		return "iifgroup " + list, true
	case policy.FieldMark:
		return number("meta mark"), true
	case policy.FieldTOS: // one
		if !ipv4 {
			return "ip6 dscp " + list, true
		}
		return "@nh,8,8 & 0x1c " + equal + " " + values[0], true
	case policy.FieldDSCP:
		return ip + " dscp " + list, true
	case policy.FieldProto:
		return "meta l4proto " + list, true
	case policy.FieldSport, policy.FieldDport:
		return "meta l4proto { tcp, udp } " + number("th "+c.Field.String()), true
	case policy.FieldFlowLabel:
		return "ip6 flowlabel " + list, !ipv4
	case policy.FieldICMPType:
		return icmp + " type " + list, true
	case policy.FieldICMPCode:
		return icmp + " code " + list, true
	case policy.FieldTCPFlags:
		return number("tcp flags"), true
	case policy.FieldLength:
		return "meta length " + list, true
	case policy.FieldTTL:
		if ipv4 {
			return "ip ttl " + list, true
		}
		return "ip6 hoplimit " + list, true
	case policy.FieldFragment: // one, and in IPv6 neither negated nor none
		switch f := packet.Fragment(c.Numbers[0].Lo); {
		case f == packet.FragmentNone:
			return "ip frag-off & 0x3fff " + equal + " 0", ipv4
		case f == packet.FragmentFirst && ipv4:
			return "ip frag-off & 0x3fff " + equal + " 0x2000", true
		case f == packet.FragmentFirst:
			return "frag frag-off 0 frag more-fragments 1", true
		case ipv4:
			return "ip frag-off & 0x1fff " + unequal + " 0", true
		}
		return "frag frag-off != 0", true
	}
	panic("oracle: a field that nft does not know")
}

var (
	nftMarks   = []uint32{0, 1, 2, 3, 0x10, 0x11, 0x80000000, 0xffffffff}
	nftMasks   = []uint32{1, 2, 3, 0xff, 0xf0, 0xc0000000, 0xffffffff}
	flagValues = []uint8{0x02, 0x12, 0x10, 0x11, 0x04, 0x18, 0x00, 0xc2}
)

// condition draws one that nft(8) can express.
func (g *generator) condition(m *policy.Match) policy.Condition {
	c := policy.Condition{Not: g.one(4)}
	c.Field = pick(g, policy.FieldFrom, policy.FieldTo, policy.FieldIngress, policy.FieldGroup, policy.FieldMark, policy.FieldMark, policy.FieldTOS,
		policy.FieldDSCP, policy.FieldProto, policy.FieldProto, policy.FieldSport, policy.FieldDport, policy.FieldFlowLabel, policy.FieldICMPType,
		policy.FieldICMPCode, policy.FieldTCPFlags, policy.FieldLength, policy.FieldTTL, policy.FieldFragment)
	only := func(n uint32) { c.Numbers = []policy.Range{{Lo: n, Hi: n, Mask: policy.AllBits}} }
	under := func(v, mask uint32) { c.Numbers = []policy.Range{{Lo: v & mask, Hi: v & mask, Mask: mask}} }
	some := func(ranges bool, values ...uint32) { // sorted and disjoint, since a set of nft's refuses others
		values = slices.Sorted(slices.Values(values))
		for i := 0; i < len(values); i++ {
			switch {
			case g.one(2) && (len(c.Numbers) > 0 || i < len(values)-1):
			case ranges && i < len(values)-1 && g.one(3):
				c.Numbers = append(c.Numbers, policy.Range{Lo: values[i], Hi: values[i+1], Mask: policy.AllBits})
				i++
			default:
				c.Numbers = append(c.Numbers, policy.Range{Lo: values[i], Hi: values[i], Mask: policy.AllBits})
			}
		}
	}
	switch c.Field {
	case policy.FieldFrom, policy.FieldTo:
		usual := g.sources
		if c.Field == policy.FieldTo {
			usual = destinations
		}
		for range pick(g, 1, 1, 2, 9) {
			if p := g.prefix(usual, usual, g.one(2)); p.Bits() > 0 && !slices.ContainsFunc(c.Prefixes, p.Overlaps) {
				c.Prefixes = append(c.Prefixes, p)
			}
		}
		if len(c.Prefixes) == 0 {
			c.Prefixes = prefixes("60.0.0.0/9", "2001:db8:6000::/48")
		}
	case policy.FieldIngress:
		some(false, 0, 1, 2, 3)
	case policy.FieldGroup:
		some(false, 0, 1, 2)
	case policy.FieldMark:
		if g.one(2) {
			under(pick(g, nftMarks...), pick(g, nftMasks...))
		} else {
			some(true, nftMarks...)
		}
	case policy.FieldTOS:
		only(uint32(pick(g, tosValues...)))
	case policy.FieldDSCP:
		some(false, 0, 1, 4, 8, 10, 46, 63)
	case policy.FieldProto:
		some(true, 1, 6, 17, 47, 58, 132)
	case policy.FieldSport, policy.FieldDport:
		if g.one(4) {
			under(uint32(pick(g, portValues...)), pick[uint32](g, 0xfff0, 0x1, 0xff00))
		} else {
			some(true, 0, 1, 22, 53, 80, 81, 443, 1024, 65534, 65535)
		}
	case policy.FieldFlowLabel:
		some(false, flowValues...)
	case policy.FieldICMPType:
		some(true, 0, 3, 8, 128, 129)
	case policy.FieldICMPCode:
		some(true, 0, 1, 3)
	case policy.FieldTCPFlags:
		under(uint32(pick(g, flagValues...)), pick[uint32](g, 0x12, 0x02, 0x10, 0x17, 0x3f))
	case policy.FieldLength:
		some(true, 36, 44, 56, 64, 76, 84, 100)
	case policy.FieldTTL:
		some(true, 2, 3, 63, 64, 65, 255)
	case policy.FieldFragment:
		only(uint32(g.IntN(3)))
		if c.Not || c.Numbers[0].Lo == uint32(packet.FragmentNone) {
			m.Family = packet.IPv4
		}
	}
	return c
}

// statement draws one whose conditions both families, or one of them, can meet.
func (g *generator) statement(name string, shallow bool) policy.Statement {
	st := policy.Statement{Name: name}
	if g.one(8) {
		st.Match.Family = pick(g, packet.IPv4, packet.IPv6)
	}
	for range pick(g, 0, 1, 1, 1, 2, 2, 3) {
		before := st.Match
		c := g.condition(&st.Match)
		st.Match.Conditions = append(slices.Clone(before.Conditions), c)
		_, four := nftRule(nil, &st, true)
		_, six := nftRule(nil, &st, false)
		if !four && !six || protocols(&st) > 1 || shallow && looksBehindIP(&st) {
			st.Match = before
		}
	}
	for range g.IntN(3) {
		if g.one(3) {
			st.Then = append(st.Then, policy.Then{Action: policy.MarkDSCP, DSCP: pick[uint8](g, 0, 1, 8, 46, 63)})
		} else {
			st.Then = append(st.Then, policy.Then{Action: policy.MarkSet, Mark: pick(g, nftMarks...), Mask: pick(g, nftMasks...)})
		}
	}
	return st
}

// marks draws a mark program. Jumps and gotos lead to later chains only.
func (g *generator) marks() []policy.Chain {
	shallow := g.one(4) // none of it looks behind the IP header
	chains := make([]policy.Chain, 1+g.IntN(5))
	for i := range chains {
		c := &chains[i]
		c.Name = fmt.Sprintf("c%d", i)
		if i == 0 {
			c.Name = policy.MainChain
			c.Statements = append(c.Statements, policy.Statement{Name: "sentinels", Then: []policy.Then{{Action: policy.MarkAccept}},
				Match: policy.Match{Conditions: []policy.Condition{{Field: policy.FieldTo, Prefixes: prefixes("203.0.113.0/24")}}}})
		}
		for j := range 1 + g.IntN(6) {
			st := g.statement(fmt.Sprintf("s%d", j), shallow)
			end := pick(g, policy.MarkSet, policy.MarkSet, policy.MarkSet, policy.MarkSet, policy.MarkAccept, policy.MarkDrop, policy.MarkReturn,
				policy.MarkJump, policy.MarkJump, policy.MarkJump, policy.MarkGoto, policy.MarkGoto)
			switch leads := end == policy.MarkJump || end == policy.MarkGoto; {
			case end == policy.MarkSet, leads && i == len(chains)-1:
			case leads:
				st.Then = append(st.Then, policy.Then{Action: end, Chain: uint16(i + 1 + g.IntN(len(chains)-i-1))})
			default:
				st.Then = append(st.Then, policy.Then{Action: end})
			}
			if len(st.Then) == 0 {
				st.Then = []policy.Then{{Action: policy.MarkSet, Mark: pick(g, nftMarks...), Mask: pick(g, nftMasks...)}}
			}
			c.Statements = append(c.Statements, st)
		}
	}
	return chains
}

// markDescription has a mark program, and rules that show what it leaves: two bits of the mark, and whether the DSCP is 46,
// lead to ports.
func (g *generator) markDescription() *description {
	d := newDescription(true)
	reserve(d)
	bit := pick(g, 0, 0, 0, 4, 30)
	add := func(name string, priority uint32, port int, m policy.Selector) {
		var routes []fib.Route
		for _, p := range prefixes("0.0.0.0/0", "::/0") {
			routes = append(routes, fib.Route{Prefix: p, Metric: 1, Hops: []fib.NextHop{{Port: uint16(port), Gateway: gateway(port, p.Addr().Is4()), Weight: 1}}})
		}
		d.Rules = append(d.Rules, policy.Rule{Name: name, Priority: priority, Match: m, Table: uint16(len(d.Tables)), SuppressPrefixLength: -1})
		d.Tables = append(d.Tables, policy.Table{Name: name, ID: uint32(200 + len(d.Tables)), Routes: routes})
	}
	add("ef", 10, g.IntN(len(ports)), policy.Selector{HasDSCP: true, DSCP: 46, DSCPMask: 63, HasMark: true, MarkMask: 1 << bit})
	for v := range uint32(4) {
		add(fmt.Sprintf("mark%d", v), 20+v, int(v), policy.Selector{HasMark: true, Mark: v << bit, MarkMask: 3 << bit})
	}
	d.Marks = g.marks()
	return d
}

// markProbe draws a packet and its frame. Whatever the program does, it is forwarded or dropped.
func (g *generator) markProbe(d *description, id uint32) (p probe, frame []byte) {
	behind := slices.ContainsFunc(d.Marks, func(c policy.Chain) bool {
		return slices.ContainsFunc(c.Statements, func(st policy.Statement) bool { return looksBehindIP(&st) })
	})
	for {
		p = g.wireProbe()
		p.behind, p.padding = nil, pick(g, 0, 0, 8, 20, 40)
		p.ttl = pick[uint8](g, 64, 64, 63, 255, 2, 3)
		p.extensions = slices.DeleteFunc(p.extensions, func(e uint8) bool { return e == extAuth || e == extFragment })
		if behind && p.fragment == packet.FragmentLater && p.src.Is6() {
			continue
		}
		if slices.Contains(g.sources, p.src) && slices.Contains(destinations, p.dst) {
			break
		}
	}
	frame = p.frame(id)
	var k packet.Key
	if packet.Parse(frame, &k) == packet.None && k.L4 != 0 {
		switch k.Proto {
		case packet.ProtoTCP:
			frame[k.L4+13] = pick(g, flagValues...)
		case packet.ProtoICMP, packet.ProtoICMPv6:
			frame[k.L4+1] = pick[uint8](g, 0, 0, 1, 3)
		}
	}
	return p, frame
}

// TestNft holds the mark program to nftables: the same program in both, the same packets, the same way out, DSCP and drops.
func TestNft(t *testing.T) {
	nft := findNft(t)
	r := newRouter(t, lab.ForTest(t), "nft")
	k := &linux{kernel: newKernel(t, r), wires: openWires(t, r), spent: map[netip.Addr]int{}}
	k.neighbors(t, neighbors)
	k.marks = setMarks(t, r)
	counts := map[string]int{}
	series(t, 60, 150, func(t *testing.T, number, packets int, random *rand.Rand) {
		g := newWireGenerator(random, number)
		g.sources = slices.DeleteFunc(g.sources, func(a netip.Addr) bool {
			return slices.ContainsFunc([]int{0, 1, 2, 3}, func(port int) bool { return onLink(a, port) })
		})
		d := g.markDescription()
		s := d.compile(t)
		k.configure(t, d)
		rules := ruleset(d)
		load := must[*lab.Process](t)(r.Start(testContext(t), lab.Command{Name: nft, Args: []string{"-f", "-"}, Stdin: strings.NewReader(rules)}))
		if err := load.Wait(); err != nil {
			t.Fatalf("nft: %v: %s\n%s", err, load.Output(), rules)
		}
		var list []*trial
		for range packets {
			k.next++
			p, frame := g.markProbe(d, k.next)
			var key packet.Key
			if reason := packet.Parse(frame, &key); reason != packet.None {
				t.Fatalf("%+v does not parse: %v", p, reason)
			}
			key.Ingress, key.Mark = uint16(p.ingress), p.mark
			copy(frame[6:], markMAC(p.mark))
			list = append(list, &trial{decide(d, s, &p, key), k.next, frame})
		}
		seen := k.exchange(t, list)
		for i, x := range list {
			left := bytes.Clone(x.frame)
			if x.v.SetDSCP {
				key := x.key
				packet.SetDSCP(left, &key, x.v.TOS>>2)
			}
			e := x.expect(left)
			if problem := e.disagrees(x.decision, seen[i]); problem != "" {
				var why strings.Builder
				check(t, s.Explain(&x.key).WriteText(&why))
				t.Errorf("%s\nsent %x\nnft  %v\nweir %v\n%+v\n%s\n%s", problem, x.frame, seen[i], e.frames, *x.p, &why, rules)
				return
			}
			word := s.Explain(&x.key).Verdict
			if x.v.SetDSCP {
				word += ", dscp set"
			}
			if x.v.Mark != x.key.Mark {
				word += ", marked"
			}
			counts[word]++
		}
	})
	t.Logf("decisions: %v", counts)
	for _, word := range []string{"drop", "forward", "forward, marked", "forward, dscp set, marked"} {
		if counts[word] == 0 && *configsFlag == 0 {
			t.Errorf("no packet came to %q", word)
		}
	}
}
