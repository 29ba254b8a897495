package policy

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"weir/fib"
	"weir/policy/packet"
)

// TestDecideUpTo wants every stage to have done what it is for, and not what comes after it, in whichever form.
func TestDecideUpTo(t *testing.T) {
	ports := newLab(t).Ports
	matched, arrays := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		p := genPolicy(t, ports)
		for i := range p.Tables { // short prefixes fill hundred thousands of entries
			p.Tables[i].Routes = slices.DeleteFunc(p.Tables[i].Routes, func(r fib.Route) bool { return r.Prefix.Bits() > 0 && r.Prefix.Bits() < 9 })
		}
		p.Marks = genMarks(t, len(ports))
		s := compileFor(t, &p)
		if rapid.Bool().Draw(t, "matchers") {
			s.match(0, 0)
		}
		if rapid.Bool().Draw(t, "arrays") {
			if errs := s.promote(func(*fib.Table) bool { return true }); errs != nil {
				t.Fatal(errs)
			}
		}
		keys := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) packet.Key { return genMarkKey(t, len(ports)) }), 1, fib.BatchMax).Draw(t, "keys")
		want := make([]Verdict, len(keys))
		all, stages := s.NewTally(), NewStages(s)
		s.Decide(keys, want, all)
		sum := func(hits []Hits) (n uint64) {
			for _, h := range hits {
				n += h.Packets
			}
			return n
		}
		statements := func(t *Tally) uint64 {
			return sum(t.hits[s.cells.statements:][:len(s.marks.statements)])
		}
		rules := func(t *Tally) uint64 { return sum(t.hits[:len(s.rules)]) }
		for last := range StageEnd {
			got, tally := make([]Verdict, len(keys)), s.NewTally()
			stages.DecideUpTo(last, keys, got, tally)
			if n, whole := statements(tally), statements(all); last < StageMarks && n != 0 || last >= StageMarks && n != whole {
				t.Fatalf("%s: %d statements hit, %d in all", last, n, whole)
			}
			if last < StageMatch && rules(tally) != 0 || last == StageMatch && rules(tally) < rules(all) && !s.arrays {
				t.Fatalf("%s: %d rules hit, %d in all", last, rules(tally), rules(all))
			}
			for i := range keys {
				if last >= StageMarks && (got[i].Mark != want[i].Mark || got[i].SetDSCP != want[i].SetDSCP) {
					t.Fatalf("%s: %+v, want the mark of %+v", last, got[i], want[i])
				}
				if last < StageMatch && got[i].Action == Forward && got[i].Adjacency != Unresolved || last == StageConclude && got[i] != want[i] {
					t.Fatalf("%s: %+v, want %+v", last, got[i], want[i])
				}
				if last == StageTrees && !s.arrays && got[i] != want[i] {
					t.Fatalf("%s without arrays: %+v, want %+v", last, got[i], want[i])
				}
			}
			if last == StageMatch && s.matches && rules(tally) > 0 {
				matched++
			}
			if last == StageArrays && s.arrays && !slices.Equal(got, want) { // looked up, not concluded
				arrays++
			}
		}
	})
	if matched == 0 || arrays == 0 {
		t.Errorf("%d matched, %d with arrays", matched, arrays)
	}
}
