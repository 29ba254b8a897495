package fib

import (
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// list is all routes of a tree.
func (t *Tree) list() (list []Route) {
	for _, l := range t.fast().AllSorted() {
		list = append(list, l.routes...)
	}
	return list
}

// TestShared: readers of a shared table see its changes with Turn, all of them at once, and after Reclaim the writer goes on
// from there; their answers' numbers come along. Once in a while the table gets, or loses, array forms, or more changes
// than are remembered.
func TestShared(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table, twin := NewTable("x"), NewTable("twin")
		var all []Route
		change := func() {
			if len(all) > 0 && rapid.IntRange(0, 2).Draw(t, "delete") == 0 {
				r := rapid.SampledFrom(all).Draw(t, "route")
				if got, want := table.Delete(r.Prefix, r.TOS, r.Metric), twin.Delete(r.Prefix, r.TOS, r.Metric); got != want {
					t.Fatalf("delete of %+v: %v", r, got)
				}
				return
			}
			r := genLongRoute(t)
			r.MTU = rapid.Uint16Range(0, 3).Draw(t, "small mtu")
			if got, want := table.Insert(r), twin.Insert(r); got != want {
				t.Fatalf("insert of %+v: %v", r, got)
			}
			all = append(all, r)
		}
		for range rapid.IntRange(0, 10).Draw(t, "before") {
			change()
		}
		table.Share()
		for range rapid.IntRange(1, 10).Draw(t, "rounds") {
			was := table.Tree().list()
			if rapid.IntRange(0, 4).Draw(t, "form") == 0 {
				if table.HasArrays() {
					table.Drop()
				} else if err := table.Build(); err != nil {
					t.Fatal(err)
				}
			}
			for range rapid.IntRange(0, 5).Draw(t, "changes") {
				change()
			}
			if rapid.IntRange(0, 9).Draw(t, "many") == 0 {
				table.renumbered()
			}
			if got := table.Tree().list(); !reflect.DeepEqual(got, was) {
				t.Fatalf("a tree changed under its readers: %+v, was %+v", got, was)
			}
			table.Turn()
			want := twin.Tree().list()
			if got := table.Tree().list(); !reflect.DeepEqual(got, want) {
				t.Fatalf("readers have %+v, want %+v", got, want)
			}
			table.Reclaim()
			if got := table.next.list(); !reflect.DeepEqual(got, want) || table.next == table.Tree() {
				t.Fatalf("the writer has %+v, want %+v", got, want)
			}
			if !table.HasArrays() {
				continue
			}
			for p, l := range table.Tree().fast().All() {
				if other, ok := table.next.fast().Get(p); !ok || other == l || other.answer != l.answer {
					t.Fatalf("%v: answer %d here, %+v there", p, l.answer, other)
				}
			}
		}
	})
}

// TestManyChanges: more than are remembered.
func TestManyChanges(t *testing.T) {
	table := NewTable("x")
	table.Share()
	rng := rand.New(rand.NewPCG(1, 2))
	for range changesMax + 10 {
		v := rng.Uint32()
		table.Insert(Route{Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)}), 24), Action: Local})
	}
	table.Turn()
	table.Reclaim()
	if len(table.changes) > 0 || !slices.EqualFunc(table.Tree().list(), table.next.list(), func(a, b Route) bool { return a.Prefix == b.Prefix }) {
		t.Error("the trees differ")
	}
	table.Turn()
	defer func() {
		if recover() == nil {
			t.Error("a change between Turn and Reclaim passes")
		}
	}()
	table.Delete(netip.MustParsePrefix("10.0.0.0/24"), 0, 0)
}
