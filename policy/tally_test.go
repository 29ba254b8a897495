package policy

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"weir/fib"
	"weir/policy/packet"
)

// stepHits counts by the steps of traces, which is what a tally must come to.
type stepHits map[string]Hits

func (h stepHits) add(what string, k *packet.Key, now int64) {
	c := h[what]
	c.add(&Hits{1, uint64(k.Length), now})
	h[what] = c
}

func (h stepHits) take(steps []Step, k *packet.Key, now int64) {
	for i := range steps {
		st := &steps[i]
		switch {
		case st.Kind == "rule" && st.Result == "matched":
			h.add("rule "+st.Name, k, now)
		case st.Kind == "mark" && st.Result == "matched":
			h.add("mark "+st.Chain+" "+st.Name, k, now)
		case st.Kind == "table" && st.Result == "miss":
			h.add("miss "+st.Name, k, now)
		case st.Kind == "table" && st.Result == "found":
			route := st.Name + " " + st.Prefix
			h.add("route "+route, k, now)
			if !strings.HasPrefix(st.Detail, "lookup ") {
				h.add("answer "+st.Name, k, now)
			}
		}
	}
}

// tallied lists everything that a tally has counted, in the words of stepHits.
func tallied(s *Snapshot, t *Tally) stepHits {
	all := stepHits{}
	put := func(what string, h Hits) {
		if h != (Hits{}) {
			c := all[what]
			c.add(&h)
			all[what] = c
		}
	}
	for i := range uint16(s.Rules()) {
		put("rule "+s.RuleName(i), s.RuleHits(t, i))
	}
	for i := range uint16(s.Statements()) {
		chain, name := s.StatementName(i)
		put("mark "+chain+" "+name, s.StatementHits(t, i))
	}
	for i := range uint16(s.Tables()) {
		answered, missed := s.TableHits(t, i)
		put("answer "+s.TableName(i), answered)
		put("miss "+s.TableName(i), missed)
		for r := range s.Routes(i).All() {
			if h, ok := s.RouteHits(t, r); ok {
				put("route "+s.TableName(i)+" "+r.Prefix.String(), h)
			}
		}
	}
	return all
}

// TestTally holds what is counted to what a trace says of the same packets: every rule and statement that matched,
// every answer and miss of a table, every route found.
func TestTally(t *testing.T) {
	ports := newLab(t).Ports
	counted := map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		p := genPolicy(t, ports)
		p.Marks = genMarks(t, len(ports))
		for i := range p.Rules {
			p.Rules[i].Name = strings.Repeat("r", i+1)
		}
		for i := range p.Tables {
			p.Tables[i].Counters = true
		}
		s, err := Compile(&p)
		if err != nil {
			t.Fatalf("compile: %v", err)
		}
		want, tally := stepHits{}, s.NewTally()
		var verdicts [1]Verdict
		for now := range int64(rapid.IntRange(1, 30).Draw(t, "packets")) {
			k := genMarkKey(t, len(ports))
			var trace Trace
			s.Evaluate(&k, &trace)
			want.take(trace.Steps, &k, now+1)
			tally.Now = now + 1
			s.Decide([]packet.Key{k}, verdicts[:], tally)
		}
		got := tallied(s, tally)
		for what, h := range want {
			if got[what] != h {
				t.Fatalf("%s: %+v, the traces have %+v", what, got[what], h)
			}
			counted[strings.Fields(what)[0]]++
		}
		for what, h := range got {
			if _, ok := want[what]; !ok {
				t.Fatalf("%s: %+v, the traces have none", what, h)
			}
		}
		twice := s.NewTally()
		twice.Add(tally)
		twice.Add(tally)
		s.Inherit(tally, s, tally)
		for what, h := range tallied(s, twice) {
			if h != tallied(s, tally)[what] || h.Packets != 2*want[what].Packets || h.Last != want[what].Last {
				t.Fatalf("%s: %+v twice", what, h)
			}
		}
		if twice.Clear(); len(tallied(s, twice)) != 0 {
			t.Fatal("a cleared tally counts")
		}
	})
	for _, what := range []string{"rule", "mark", "answer", "miss", "route"} {
		if counted[what] == 0 {
			t.Errorf("no %s was counted", what)
		}
	}
}

// TestInherit: items keep their hits by name, wherever they stand in the next policy; others begin at 0.
func TestInherit(t *testing.T) {
	build := func(change func(*lab)) *Snapshot {
		l := newLab(t)
		l.table("main", "10.0.0.0/8 via 198.51.100.9 em1", "10.1.0.0/16 via 198.51.100.9 em1").Counters = true
		l.table("x", "11.0.0.0/8 dev em2")
		l.chain(MainChain, l.when("mark 0x1/0xff", is(FieldProto, 17)), l.when("dscp 8", is(FieldDport, 53)))
		l.rule(10, "lookup x", Selector{})
		l.rule(20, "lookup main", Selector{})
		l.Rules[0].Name, l.Rules[1].Name = "first", "second"
		change(l)
		return l.compile()
	}
	old := build(func(*lab) {})
	from := old.NewTally()
	from.Now = 7
	k := key(t, old, "iif=em0 src=9.0.0.1 dst=10.1.2.3 proto=udp dport=53 length=100")
	old.Decide([]packet.Key{k, k}, make([]Verdict, 2), from)

	next := build(func(l *lab) {
		l.Tables[0], l.Tables[1] = l.Tables[1], l.Tables[0] // the rules' indexes follow
		l.Rules[0].Table, l.Rules[1].Table = 0, 1
		l.Rules[1].Priority = 5
		l.Marks[0].Statements = l.Marks[0].Statements[1:]
		for i := range l.Tables {
			if l.Tables[i].Name == "main" {
				l.Tables[i].Routes = append([]fib.Route{l.route("10.0.0.0/9 dev em2")}, l.Tables[i].Routes[1:]...)
			}
		}
	})
	got := next.NewTally()
	next.Inherit(got, old, from)
	chain, statement := old.StatementName(1)
	two := Hits{2, 200, 7}
	for what, want := range map[string]Hits{
		"rule first": two, "rule second": two, "mark " + chain + " " + statement: two,
		"miss x": two, "answer main": two, "route main 10.1.0.0/16": two,
		"route main 10.0.0.0/9": {}, "miss main": {},
	} {
		if h := tallied(next, got)[what]; h != want {
			t.Errorf("%s: %+v, want %+v", what, h, want)
		}
	}
	if n := len(tallied(next, got)); n != 6 {
		t.Errorf("%d items have hits: %v", n, tallied(next, got))
	}
}
