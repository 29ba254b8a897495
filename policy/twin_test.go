package policy

import (
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"weir/fib"
	"weir/policy/packet"
)

// twin walks a Policy, not a Snapshot, as Linux would: one list of rules for each family, sorted by repeated
// search for the least, tables as lists of routes in the order of preference, and nothing prepared.
type twin struct {
	*Policy
	k *packet.Key
}

type twinAnswer struct {
	word   string // "" is a miss
	rule   string
	table  string
	prefix netip.Prefix
	route  *fib.Route
}

func (w twin) rules() (list []Rule) {
	for _, r := range w.Rules {
		v4 := r.Match.Family == 4 || r.Match.From.Addr().Is4() || r.Match.To.Addr().Is4()
		v6 := r.Match.Family == 6 || r.Match.From.Addr().Is6() || r.Match.To.Addr().Is6() || r.Match.HasFlow
		if v4 && w.k.Family == 4 || v6 && w.k.Family == 6 || !v4 && !v6 {
			list = append(list, r)
		}
	}
	for i := range list { // insertion sort: stable
		for j := i; j > 0 && list[j].Priority < list[j-1].Priority; j-- {
			list[j], list[j-1] = list[j-1], list[j]
		}
	}
	return list
}

func (w twin) walk(group uint32) twinAnswer {
	list := w.rules()
	for len(list) > 0 {
		r := list[0]
		list = list[1:]
		seen := *w.k
		if w.ConsistentFragments {
			seen.Fragment = packet.FragmentNone
		}
		if twinMatches(&r.Match, &seen, group) == r.Not {
			continue
		}
		switch r.Action {
		case RuleGoto:
			if i := slices.IndexFunc(list, func(to Rule) bool { return to.Priority == r.Goto }); i >= 0 {
				list = list[i:]
			}
		case RuleBlackhole, RuleUnreachable, RuleProhibit:
			return twinAnswer{word: r.Action.String() + " by rule", rule: r.Name}
		case RuleLookup:
			a := w.table(r.Table)
			if a.word == "unicast" || a.word == "local" {
				if r.SuppressPrefixLength >= a.prefix.Bits() {
					continue
				}
				if p := w.suppressPort(a.route); r.HasSuppressGroup && p != nil && p.Group == r.SuppressGroup {
					continue
				}
			}
			if a.word != "" {
				a.rule = r.Name
				return a
			}
		}
	}
	return twinAnswer{word: "no route"}
}

// suppressPort is the one whose group counts: the way out, or the port that a local address is of.
func (w twin) suppressPort(r *fib.Route) *Port {
	if len(r.Hops) > 0 {
		return &w.Ports[r.Hops[0].Port]
	}
	for i := range w.Ports {
		local, _ := ConnectedRoutes(w.Ports[i : i+1])
		if slices.ContainsFunc(local, func(l fib.Route) bool { return l.Prefix.Addr() == w.k.DstAddr() }) {
			return &w.Ports[i]
		}
	}
	return nil
}

func (w twin) table(index uint16) twinAnswer {
	t := &w.Tables[index]
	addr := w.k.DstAddr()
	if t.Key == BySource {
		addr = w.k.SrcAddr()
	}
	var list []fib.Route // that match, best first; of duplicates the last
	for i, r := range t.Routes {
		again := slices.ContainsFunc(t.Routes[i+1:], func(o fib.Route) bool {
			return o.Prefix == r.Prefix && o.TOS == r.TOS && o.Metric == r.Metric
		})
		if r.Prefix.Contains(addr) && (r.TOS == 0 || r.TOS == w.k.TOS&0x1c) && !again {
			list = append(list, r)
		}
	}
	slices.SortFunc(list, func(a, b fib.Route) int {
		if d := b.Prefix.Bits() - a.Prefix.Bits(); d != 0 {
			return d
		}
		if d := int(b.TOS) - int(a.TOS); d != 0 {
			return d
		}
		return int(a.Metric) - int(b.Metric)
	})
	for i, r := range list {
		if i > 0 && r.Prefix == list[i-1].Prefix {
			continue // not the best of its prefix
		}
		switch r.Action {
		case fib.Throw:
		case fib.Lookup:
			if a := w.table(r.Target); a.word != "" {
				return a
			}
			if r.Resume {
				continue
			}
		default:
			return twinAnswer{word: r.Action.String(), table: t.Name, prefix: r.Prefix, route: &r}
		}
		break
	}
	switch t.OnMiss {
	case MissUnreachable, MissProhibit, MissBlackhole:
		return twinAnswer{word: [...]string{1: "unreachable by rule", 2: "prohibit by rule", 3: "blackhole by rule"}[t.OnMiss], table: t.Name}
	case MissLookup:
		return w.table(t.MissTarget)
	}
	return twinAnswer{}
}

// TestWalkIsTheTwin compares walk and twin on random policies and packets. IPv6 multipath routes are excepted from
// suppression by group, where the hop depends on the hash.
func TestWalkIsTheTwin(t *testing.T) {
	ports := newLab(t).Ports
	seen := map[string]int{}
	checkUntil(t, seen, []string{"no route", "unicast", "local", "blackhole", "unreachable", "prohibit", "blackhole by rule", "prohibit by rule", "unreachable by rule"}, func(t *rapid.T) {
		p := genPolicy(t, ports)
		s, err := Compile(&p)
		if err != nil {
			t.Fatalf("compile: %v", err)
		}
		for range 10 {
			k := genKey(t, len(ports))
			if k.Family == packet.IPv6 {
				for i := range p.Rules {
					p.Rules[i].HasSuppressGroup = false
				}
				if s, err = Compile(&p); err != nil {
					t.Fatal(err)
				}
			}
			var f flow
			f.fill(s, &k)
			r := s.walk(&f, nil)
			word := map[outcome]string{blackholed: "blackhole by rule", prohibited: "prohibit by rule", netUnreachable: "unreachable by rule", noRoute: "no route"}[r.outcome]
			got := twinAnswer{rule: s.RuleName(r.rule), table: s.TableName(r.table), word: word}
			if r.route != nil {
				got.word, got.prefix = r.route.Action.String(), r.route.Prefix
			}
			want := twin{&p, &k}.walk(ports[k.Ingress].Group)
			want.route = nil
			if got != want {
				t.Fatalf("packet %+v: %+v, want %+v", k, got, want)
			}
			seen[got.word]++
		}
	})
}

// TestDecideIsEvaluate holds what workers run to the specification, with and without a trace.
func TestDecideIsEvaluate(t *testing.T) {
	ports := newLab(t).Ports
	rapid.Check(t, func(t *rapid.T) {
		p := genPolicy(t, ports)
		s, err := Compile(&p)
		if err != nil {
			t.Fatalf("compile: %v", err)
		}
		keys := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) packet.Key { return genKey(t, len(ports)) }), 1, 64).Draw(t, "keys")
		verdicts := make([]Verdict, len(keys))
		s.Decide(keys, verdicts, nil)
		for i := range keys {
			before := keys[i]
			var trace Trace
			if plain, traced := s.Evaluate(&keys[i], nil), s.Evaluate(&keys[i], &trace); verdicts[i] != plain || plain != traced {
				t.Fatalf("%+v: decide %+v, evaluate %+v, traced %+v", before, verdicts[i], plain, traced)
			}
			if len(trace.Steps) == 0 || trace.depth != 0 {
				t.Fatalf("%d steps, depth %d at the end", len(trace.Steps), trace.depth)
			}
			if keys[i] != before {
				t.Fatal("the key has changed")
			}
		}
	})
}
