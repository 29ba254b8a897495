package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"weir/fib"
	"weir/policy/packet"
)

// linuxTwin is the policy that a translation means: rules of one family each, tables that fall through, by number.
func linuxTwin(l *Linux, ports []Port) *Policy {
	p := &Policy{Hostname: "random", Ports: ports}
	table := map[uint32]uint16{}
	index := func(id uint32) uint16 {
		if _, ok := table[id]; !ok {
			table[id] = uint16(len(p.Tables))
			p.Tables = append(p.Tables, Table{Name: fmt.Sprintf("t%d", id-1), ID: id})
		}
		return table[id]
	}
	for r := range l.Routes() {
		t := &p.Tables[index(r.Table)]
		t.Routes = append(t.Routes, r.Route)
	}
	for i, r := range l.Rules {
		rule := Rule{Name: fmt.Sprint(i), Priority: r.Priority, Not: r.Not, Action: r.Action, Goto: r.Goto,
			SuppressPrefixLength: r.SuppressPrefixLength, HasSuppressGroup: r.HasSuppressGroup, SuppressGroup: r.SuppressGroup,
			Match: Selector{Family: r.Family, From: r.From, To: r.To, HasMark: true, Mark: r.Mark, MarkMask: r.MarkMask, HasTOS: true, TOS: r.TOS,
				HasDSCP: r.HasDSCP, DSCP: r.DSCP, DSCPMask: r.DSCPMask, HasProto: r.Proto != 0, Proto: r.Proto, Sport: r.Sport, Dport: r.Dport,
				HasFlow: r.FlowMask != 0, FlowLabel: r.FlowLabel, FlowMask: r.FlowMask}}
		if r.Ingress != "" {
			rule.Match.HasIngress, rule.Match.IngressLo = true, r.Ingress == "lo"
			rule.Match.Ingress = uint16(max(0, slices.IndexFunc(ports, func(p Port) bool { return p.Name == r.Ingress })))
		}
		if r.Action == RuleLookup {
			rule.Table = index(r.Table)
		}
		p.Rules = append(p.Rules, rule)
	}
	return p
}

// expressible is the policy without what its translation warns of: a rule that is left out does nothing but be there for gotos.
func expressible(p Policy, warnings []*CompileError) Policy {
	p.Rules, p.Tables = slices.Clone(p.Rules), slices.Clone(p.Tables)
	for i := range p.Tables {
		t := &p.Tables[i]
		if t.OnMiss == MissLookup {
			t.OnMiss = MissFallThrough
		}
		of := linuxTable{miss: linuxMiss[t.OnMiss]}
		var kept []fib.Route
		for j, r := range t.Routes {
			replaced := slices.ContainsFunc(t.Routes[j+1:], func(o fib.Route) bool {
				return o.Prefix == r.Prefix && o.TOS == r.TOS && o.Metric == r.Metric
			})
			if _, ok, _ := of.express(&r); ok && !replaced {
				kept = append(kept, r)
			}
		}
		t.Routes = kept
	}
	for _, w := range warnings {
		if w.Rule >= 0 && strings.HasPrefix(w.Msg, "kernel routes") {
			p.Rules[w.Rule].Action = RuleNop
		}
	}
	return p
}

// TestLinux: what is given to the kernel decides as the policy does, as far as that is not warned of.
func TestLinux(t *testing.T) {
	ports := newLab(t).Ports
	rapid.Check(t, func(t *rapid.T) {
		p := genPolicy(t, ports)
		for i := range p.Tables {
			for j := range p.Tables[i].Routes { // hops that are the same become one, which the hash of flows shows
				r := &p.Tables[i].Routes[j]
				r.Hops = slices.CompactFunc(r.Hops, func(a, b fib.NextHop) bool { return a == b })
				if len(r.Hops) == 3 && r.Hops[0] == r.Hops[2] {
					r.Hops = r.Hops[:2]
				}
			}
		}
		p.KernelRoutes, p.ConsistentFragments = true, false // the kernel has the one, not the other
		s, err := Compile(&p)
		if err != nil {
			t.Fatal(err)
		}
		expressed := expressible(p, s.Warnings())
		want, err := Compile(&expressed)
		if err != nil {
			t.Fatal(err)
		}
		twin, err := Compile(linuxTwin(s.Linux(), ports))
		if err != nil {
			t.Fatalf("the translation is no policy: %v", err)
		}
		for range 20 {
			k := genKey(t, len(ports))
			a, b := want.Evaluate(&k, nil), twin.Evaluate(&k, nil)
			if a.Prefix == NoPrefix && a.Table != None && b.Prefix != NoPrefix { // an on-miss, which is a route there
				a.Prefix, a.Code = b.Prefix, b.Code
			}
			if want.TableName(a.Table) != twin.TableName(b.Table) {
				t.Fatalf("table %q, in the kernel %q", want.TableName(a.Table), twin.TableName(b.Table))
			}
			a.Table, a.Rule, a.Adjacency = b.Table, b.Rule, b.Adjacency
			if a != b {
				t.Fatalf("%+v\nin the kernel %+v\n%+v\n%+v", a, b, k, s.Linux().Rules)
			}
		}
	})
}

// TestLinuxRules has what a rule comes to in the kernel.
func TestLinuxRules(t *testing.T) {
	l := newLab(t)
	l.defaults()
	l.table("x", "10.0.0.0/8 dev em1")
	l.table("y").Key = BySource
	l.Ports[1].Group = 1 // with em0
	guests := Selector{HasGroup: true, Group: 2}
	l.rule(0, "lookup x", Selector{Family: packet.IPv4})
	l.rule(10, "lookup x", Selector{HasGroup: true, Group: 1, From: netip.MustParsePrefix("0.0.0.0/0")})
	l.rule(20, "goto 30", guests).Not = true
	l.rule(30, "lookup y", Selector{})
	l.rule(40, "goto 50", Selector{Family: packet.IPv6})
	l.rule(50, "lookup x", Selector{HasTOS: true, TOS: 4, HasDSCP: true, DSCPMask: 63})
	l.rule(60, "blackhole", Selector{HasGroup: true, Group: 9}) // of no port: matches nothing
	l.rule(70, "nop", Selector{HasGroup: true, Group: 9}).Not = true
	l.rule(80, "goto 32766", Selector{HasProto: true, Proto: 6, Dport: PortMatch{Kind: PortRange, Hi: 65535}, Family: packet.IPv6})
	l.rule(90, "prohibit", Selector{HasGroup: true, Group: 1, HasIngress: true, Ingress: 1, Sport: PortMatch{Kind: PortMask, Value: 0xffff, Mask: 0xf0}, Family: packet.IPv4})
	l.KernelRoutes = true
	s := l.compile()
	var got []string
	for _, r := range s.Linux().Rules {
		text := fmt.Sprintf("ipv%d %d %v", r.Family, r.Priority, r.Action)
		if r.Not {
			text += " not"
		}
		if r.Ingress != "" {
			text += " iif " + r.Ingress
		}
		if r.Proto != 0 {
			text += fmt.Sprint(" proto ", r.Proto)
		}
		if r.From.IsValid() || r.Dport != (PortMatch{}) {
			text += fmt.Sprint(" from ", r.From, r.Dport)
		}
		if r.Sport != (PortMatch{}) {
			text += fmt.Sprint(" sport ", r.Sport)
		}
		got = append(got, text)
	}
	want := []string{
		"ipv4 0 lookup",
		"ipv4 10 lookup iif em0", "ipv4 10 lookup iif em1",
		"ipv4 70 nop",
		"ipv4 90 prohibit iif em1 sport {0 0 240 240 2}",
		"ipv6 40 goto", "ipv6 50 nop", "ipv6 70 nop", "ipv6 80 goto proto 6",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	got = linuxWarnings(s)
	const out = "kernel routes: left out, since Linux has no "
	const next = ": there packets go on with the next rule"
	want = []string{
		"table y: " + out + "tables keyed by source",
		"rule r5: " + out + "rules that negate several ports, which iif-group is there" + next,
		"rule r6: " + out + "rules to tables keyed by source, as y is" + next,
		"rule r8: " + out + "rules by tos and dscp at once" + next,
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("warned\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	l.KernelRoutes = false
	if s := l.compile(); s.Linux() != nil || len(linuxWarnings(s)) > 0 {
		t.Errorf("without kernel routes: %v, warnings %v", s.Linux(), s.Warnings())
	}
}

// linuxWarnings are those about what the kernel cannot have.
func linuxWarnings(s *Snapshot) (list []string) {
	for _, w := range s.Warnings() {
		if strings.HasPrefix(w.Msg, "kernel routes") {
			list = append(list, w.Error())
		}
	}
	return list
}

// TestLinuxRoutes has what a table comes to in the kernel.
func TestLinuxRoutes(t *testing.T) {
	l := newLab(t)
	l.defaults()
	l.table("main", "0.0.0.0/0 via 192.0.2.9 em0", "192.0.2.0/24 dev em0 metric 5", "192.0.2.0/24 dev em1 tos 0x10")
	x := l.table("x", "10.0.0.0/8 throw", "10.1.0.0/16 via 192.0.2.9 em0 weight 6 via 192.0.2.8 em0 weight 2 via 192.0.2.9 em0 weight 2",
		"10.2.0.0/16 lookup z", "2001:db8:9::/48 blackhole metric 7", "2001:db8:8::/48 unreachable metric 4294966272", "0.0.0.0/0 dev em1 metric 4294967295",
		"2001:db8:7::/48 dev em0 dev em1")
	x.OnMiss = MissProhibit
	l.table("z", "10.0.0.0/8 throw")
	l.KernelRoutes = true
	var got []string
	for r := range l.compile().Linux().Routes() {
		text := fmt.Sprintf("%d %v %v metric %d tos %d", r.Table, r.Prefix, r.Action, r.Metric, r.TOS)
		for _, h := range r.Hops {
			text += fmt.Sprintf(" [%v %s weight %d]", h.Gateway, l.Ports[h.Port].Name, h.Weight)
		}
		got = append(got, text)
	}
	want := []string{
		"254 0.0.0.0/0 unicast metric 0 tos 0 [192.0.2.9 em0 weight 1]",
		"254 192.0.2.0/24 unicast metric 0 tos 16 [invalid IP em1 weight 1]",
		"254 192.0.2.0/24 unicast metric 5 tos 0 [invalid IP em0 weight 1]",
		"103 10.0.0.0/8 prohibit metric 0 tos 0",
		"103 10.1.0.0/16 unicast metric 0 tos 0 [192.0.2.9 em0 weight 4] [192.0.2.8 em0 weight 1]",
		"103 2001:db8:9::/48 blackhole metric 1031 tos 0",
		"103 0.0.0.0/0 prohibit metric 4294967295 tos 0",
		"103 ::/0 prohibit metric 4294967295 tos 0",
		"104 10.0.0.0/8 throw metric 0 tos 0",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestLinuxHops: weights keep their proportions, exactly wherever the kernel's range allows it.
func TestLinuxHops(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var hops []fib.NextHop
		sum := map[uint16]int{}
		for _, w := range rapid.SliceOfN(rapid.Uint16(), 2, 20).Draw(t, "weights") {
			port := rapid.Uint16Range(0, 3).Draw(t, "port")
			hops = append(hops, fib.NextHop{Port: port, Weight: w})
			sum[port] += int(max(w, 1))
		}
		list, exact := linuxHops(hops)
		if len(list) != len(sum) {
			t.Fatalf("%d hops of %d: %v", len(list), len(sum), list)
		}
		for _, a := range list {
			for _, b := range list {
				// a.Weight/b.Weight is sum[a]/sum[b], or as near as whole numbers come: no weight is off by more than 1.
				difference := int(a.Weight)*sum[b.Port] - int(b.Weight)*sum[a.Port]
				if exact && difference != 0 || max(difference, -difference) > sum[a.Port]+sum[b.Port] {
					t.Fatalf("weights %v of %v, exact %v", list, sum, exact)
				}
			}
			if a.Weight < 1 || a.Weight > linuxWeightMax {
				t.Fatalf("weight %d", a.Weight)
			}
		}
	})
}
