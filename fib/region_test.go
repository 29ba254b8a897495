package fib

import (
	"net/netip"
	"strings"
	"testing"
)

// TestFellBack: a table whose huge pages the kernel refuses says so, and one that never asked for any does not.
func TestFellBack(t *testing.T) {
	table := NewTable("t")
	for i := range hugeRoutes + 1 {
		table.Insert(Route{Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(1 + i>>16), byte(i >> 8), byte(i), 0}), 24), Action: Blackhole})
		if i == 10 {
			if err := table.Build(); err != nil || table.FellBack() || strings.Contains(table.Form(), "huge") {
				t.Errorf("of %d routes: %v, %s, fell back: %v", table.Len(), err, table.Form(), table.FellBack())
			}
			table.Drop()
		}
	}
	if err := table.Build(); err != nil {
		t.Fatal(err)
	}
	if huge := strings.Contains(table.Form(), "huge"); huge == table.FellBack() && !onHeap {
		t.Errorf("%s, fell back: %v", table.Form(), table.FellBack())
	}
	root := table.arrays.Load().tries[0].rootRegion
	root.huge, root.small = false, true // as madvise answers EINVAL
	if !table.FellBack() || strings.Contains(table.Form(), "huge") {
		t.Errorf("refused: %s, fell back: %v", table.Form(), table.FellBack())
	}
}
