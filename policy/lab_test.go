package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"weir/fib"
	"weir/policy/packet"
)

// lab builds a policy for a test. It begins with three netdevs and a VLAN:
//
//	em0      192.0.2.1/24 2001:db8:1::1/64 group priority (1) mtu 1500
//	em1      198.51.100.1/24 2001:db8:2::1/64 mtu 1400
//	em2      no address, group guests (2), mtu 1500
//	em0.100  203.0.113.1/24, group guests (2), mtu 1500
type lab struct {
	t testing.TB
	Policy
}

func newLab(t testing.TB) *lab {
	prefixes := func(list ...string) (p []netip.Prefix) {
		for _, s := range list {
			p = append(p, netip.MustParsePrefix(s))
		}
		return p
	}
	return &lab{t: t, Policy: Policy{Hostname: "lab", Ports: []Port{
		{Name: "em0", Device: 0, Group: 1, GroupName: "priority", MTU: 1500, Addresses: prefixes("192.0.2.1/24", "2001:db8:1::1/64")},
		{Name: "em1", Device: 1, MTU: 1400, Addresses: prefixes("198.51.100.1/24", "2001:db8:2::1/64")},
		{Name: "em2", Device: 2, Group: 2, GroupName: "guests", MTU: 1500},
		{Name: "em0.100", Device: 0, VLAN: 100, Group: 2, GroupName: "guests", MTU: 1500, Addresses: prefixes("203.0.113.1/24")},
	}}}
}

// table adds a table, or routes to one that is there. Routes are written as
//
//	10.0.0.0/8 via 198.51.100.7 em1 [weight 3 via …] [tos 0x10] [metric 5] [mtu 1400]
//	10.0.0.0/8 dev em1 | local | throw | blackhole | unreachable | prohibit | lookup x [resume]
func (l *lab) table(name string, routes ...string) *Table {
	l.t.Helper()
	i := l.tableIndex(name)
	for _, r := range routes {
		route := l.route(r) // may add a table
		l.Tables[i].Routes = append(l.Tables[i].Routes, route)
	}
	return &l.Tables[i]
}

func (l *lab) tableIndex(name string) uint16 {
	i := slices.IndexFunc(l.Tables, func(t Table) bool { return t.Name == name })
	if i < 0 {
		i = len(l.Tables)
		l.Tables = append(l.Tables, Table{Name: name, ID: uint32(100 + i)})
	}
	return uint16(i)
}

func (l *lab) port(name string) uint16 {
	l.t.Helper()
	i := slices.IndexFunc(l.Ports, func(p Port) bool { return p.Name == name })
	if i < 0 {
		l.t.Fatalf("no port %q", name)
	}
	return uint16(i)
}

func (l *lab) route(text string) fib.Route {
	l.t.Helper()
	words := strings.Fields(text)
	next := func() string {
		if len(words) == 0 {
			l.t.Fatalf("route %q ends early", text)
		}
		w := words[0]
		words = words[1:]
		return w
	}
	number := func(bits int) uint64 {
		n, err := strconv.ParseUint(next(), 0, bits)
		if err != nil {
			l.t.Fatalf("route %q: %v", text, err)
		}
		return n
	}
	r := fib.Route{Prefix: netip.MustParsePrefix(next())}
	for len(words) > 0 {
		switch w := next(); w {
		case "via":
			r.Hops = append(r.Hops, fib.NextHop{Gateway: netip.MustParseAddr(next()), Port: l.port(next()), Weight: 1})
		case "dev":
			r.Hops = append(r.Hops, fib.NextHop{Port: l.port(next()), Weight: 1})
		case "weight":
			r.Hops[len(r.Hops)-1].Weight = uint16(number(16))
		case "tos":
			r.TOS = uint8(number(8))
		case "metric":
			r.Metric = uint32(number(32))
		case "mtu":
			r.MTU = uint16(number(16))
		case "resume":
			r.Resume = true
		case "lookup":
			r.Action, r.Target = fib.Lookup, l.tableIndex(next())
		default:
			action := slices.IndexFunc([]fib.Action{0, 1, 2, 3, 4, 5}, func(a fib.Action) bool { return a.String() == w })
			if action < 0 {
				l.t.Fatalf("route %q: unknown word %q", text, w)
			}
			r.Action = fib.Action(action)
		}
	}
	return r
}

// rule adds a rule: its action is "lookup x", "goto 900", or a word of RuleAction. Its name is r and its number.
func (l *lab) rule(priority uint32, action string, match Selector) *Rule {
	l.t.Helper()
	r := Rule{Name: fmt.Sprintf("r%d", len(l.Rules)), Priority: priority, Match: match, SuppressPrefixLength: -1}
	word, arg, _ := strings.Cut(action, " ")
	r.Action = RuleAction(slices.Index(ruleActions[:], word))
	switch r.Action {
	case RuleLookup:
		r.Table = l.tableIndex(arg)
	case RuleGoto:
		n, _ := strconv.Atoi(arg)
		r.Goto = uint32(n)
	}
	l.Rules = append(l.Rules, r)
	return &l.Rules[len(l.Rules)-1]
}

// defaults adds what a running router has: the default rules and tables, with the connected routes.
func (l *lab) defaults() {
	local, main := ConnectedRoutes(l.Ports)
	for i, t := range []struct {
		name   string
		id     uint32
		routes []fib.Route
	}{{"local", TableLocal, local}, {"main", TableMain, main}, {"default", TableDefault, nil}} {
		index := l.tableIndex(t.name)
		l.Tables[index].ID = t.id
		l.Tables[index].Routes = append(l.Tables[index].Routes, t.routes...)
		if i == 2 {
			l.Rules = append(l.Rules, DefaultRules(l.tableIndex("local"), l.tableIndex("main"), l.tableIndex("default"))...)
		}
	}
}

func (l *lab) compile() *Snapshot {
	l.t.Helper()
	s, err := Compile(&l.Policy)
	if err != nil {
		l.t.Fatalf("compile: %v", err)
	}
	return s
}

func key(t testing.TB, s *Snapshot, spec string) packet.Key {
	t.Helper()
	k, err := s.ParsePacket(strings.Fields(spec))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// decide is the decision on a packet in short: verdict, ICMP error, way out, and "rule/table/prefix" that decided.
func decide(t testing.TB, s *Snapshot, spec string) string {
	t.Helper()
	k := key(t, s, spec)
	e := s.explanation(&k, s.Evaluate(&k, nil))
	text := e.Verdict
	if e.ICMP != nil {
		text += fmt.Sprintf(" %d/%d", e.ICMP.Type, e.ICMP.Code)
	}
	if e.Port != "" {
		text += " " + e.Port
	}
	if e.Gateway != "" {
		text += " via " + e.Gateway
	}
	dash := func(s string) string {
		if s == "" {
			return "-"
		}
		return s
	}
	return text + " " + dash(e.Rule) + " " + dash(e.Table) + " " + dash(e.Prefix)
}

// expect compares decisions with what a table of lines "packet => decision" says.
func expect(t *testing.T, s *Snapshot, lines string) {
	t.Helper()
	for line := range strings.Lines(lines) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		spec, want, ok := strings.Cut(line, "=> ")
		if !ok {
			t.Fatalf("no => in %q", line)
		}
		if got := decide(t, s, spec); got != want {
			k := key(t, s, spec)
			var b strings.Builder
			s.Explain(&k).WriteText(&b)
			t.Errorf("%s\ngot  %s\nwant %s\n%s", spec, got, want, &b)
		}
	}
}
