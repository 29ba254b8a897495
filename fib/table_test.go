package fib

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func route(prefix string, tos uint8, metric uint32) Route {
	return Route{Prefix: netip.MustParsePrefix(prefix), TOS: tos, Metric: metric, Action: Local}
}

// genAddr draws addresses from a space so small that prefixes nest and collide.
func genAddr(t *rapid.T) netip.Addr {
	b := func(label string) byte { return rapid.SampledFrom([]byte{0, 1, 2, 3, 0x80, 0xff}).Draw(t, label) }
	if rapid.Bool().Draw(t, "ipv4") {
		return netip.AddrFrom4([4]byte{10, b("b1"), b("b2"), b("b3")})
	}
	return netip.AddrFrom16([16]byte{0x20, 1, b("b2"), b("b3"), 4: b("b4"), 15: b("b15")})
}

func genRoute(t *rapid.T) Route {
	addr := genAddr(t)
	r := Route{
		Prefix: netip.PrefixFrom(addr, rapid.IntRange(0, addr.BitLen()).Draw(t, "bits")).Masked(),
		Metric: rapid.Uint32Range(0, 2).Draw(t, "metric"),
		MTU:    rapid.Uint16().Draw(t, "mtu"), // tells a replaced route from its successor
	}
	if addr.Is4() {
		r.TOS = rapid.SampledFrom([]uint8{0, 0, 4, 8, 0x10, 0x1c, 0xe0}).Draw(t, "tos")
	}
	return r
}

func TestTableIsTheTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table, slow := NewTable("x"), twin{}
		for range rapid.IntRange(0, 60).Draw(t, "changes") {
			r := genRoute(t)
			if rapid.IntRange(0, 3).Draw(t, "delete") == 0 {
				if got, want := table.Delete(r.Prefix, r.TOS, r.Metric), slow.delete(r.Prefix, r.TOS, r.Metric); got != want {
					t.Fatalf("delete %v tos %#x metric %d: %v, want %v", r.Prefix, r.TOS, r.Metric, got, want)
				}
				continue
			}
			before := len(slow)
			slow.insert(r)
			if got, want := table.Insert(r), len(slow) == before; got != want {
				t.Fatalf("insert %v replaced: %v, want %v", r.Prefix, got, want)
			}
		}
		if table.Len() != len(slow) {
			t.Fatalf("%d routes, want %d", table.Len(), len(slow))
		}
		for range 40 {
			addr := genAddr(t)
			tos := rapid.Uint8().Draw(t, "packet tos")
			bits := rapid.IntRange(0, 129).Draw(t, "below")
			compare(t, "lookup", addr, tos, func() (*Route, bool) { return table.Tree().Lookup(addr, tos) },
				func() (Route, bool) { return slow.lookup(addr, tos, 999) })
			compare(t, "shorter", addr, tos,
				func() (*Route, bool) { return table.Tree().LookupShorter(addr, tos, min(bits, addr.BitLen()+1)) },
				func() (Route, bool) { return slow.lookup(addr, tos, bits) })
			all := append(twin(nil), slow...)
			r, ok := table.Tree().Lookup(addr, tos)
			for ok { // every route that there is for it, in turn
				all.delete(r.Prefix, r.TOS, r.Metric)
				was := r
				r, ok = table.Tree().After(was, addr, tos)
				compare(t, "after", addr, tos, func() (*Route, bool) { return r, ok }, func() (Route, bool) { return all.lookup(addr, tos, 999) })
			}
		}
	})
}

func compare(t *rapid.T, what string, addr netip.Addr, tos uint8, fast func() (*Route, bool), slow func() (Route, bool)) {
	got, ok := fast()
	want, wantOK := slow()
	if ok != wantOK || ok && (got.Prefix != want.Prefix || got.TOS != want.TOS || got.Metric != want.Metric || got.MTU != want.MTU) {
		t.Fatalf("%s %v tos %#x: %v %v, want %v %v", what, addr, tos, got, ok, want, wantOK)
	}
}

func TestLookupTOS(t *testing.T) {
	table := NewTable("x")
	for _, r := range []Route{
		route("0.0.0.0/0", 0, 0),
		route("10.0.0.0/8", 0, 0),
		route("10.1.0.0/16", 0x10, 0), // asks for a TOS, and there is no other in 10.1/16
		route("10.2.0.0/16", 0, 1), route("10.2.0.0/16", 0x10, 50), route("10.2.0.0/16", 0x10, 20),
		route("10.3.0.0/16", 0xe0, 0), // bits outside of the mask: never
	} {
		table.Insert(r)
	}
	for _, c := range []struct {
		addr   string
		tos    uint8
		prefix string
		rtos   uint8
		metric uint32
	}{
		{"10.1.1.1", 0x10, "10.1.0.0/16", 0x10, 0},
		{"10.1.1.1", 0x13, "10.1.0.0/16", 0x10, 0}, // ECN bits do not count
		{"10.1.1.1", 0xf0, "10.1.0.0/16", 0x10, 0}, // nor do the precedence bits
		{"10.1.1.1", 0, "10.0.0.0/8", 0, 0},        // backtracks
		{"10.2.1.1", 0x10, "10.2.0.0/16", 0x10, 20},
		{"10.2.1.1", 0x08, "10.2.0.0/16", 0, 1},
		{"10.3.1.1", 0xe0, "10.0.0.0/8", 0, 0},
		{"11.0.0.1", 0x10, "0.0.0.0/0", 0, 0},
	} {
		r, ok := table.Tree().Lookup(netip.MustParseAddr(c.addr), c.tos)
		if !ok || r.Prefix.String() != c.prefix || r.TOS != c.rtos || r.Metric != c.metric {
			t.Errorf("%s tos %#x: %+v %v, want %s tos %#x metric %d", c.addr, c.tos, r, ok, c.prefix, c.rtos, c.metric)
		}
	}
}

func TestFamiliesAreApart(t *testing.T) {
	table := NewTable("x")
	table.Insert(route("0.0.0.0/0", 0, 0))
	for _, addr := range []string{"2001:db8::1", "::ffff:10.0.0.1"} {
		if r, ok := table.Tree().Lookup(netip.MustParseAddr(addr), 0); ok {
			t.Errorf("%s found %v", addr, r.Prefix)
		}
	}
	if _, ok := table.Tree().Lookup(netip.Addr{}, 0); ok {
		t.Error("the zero address has a route")
	}
}

func TestAllIsOrdered(t *testing.T) {
	table := NewTable("x")
	want := []Route{
		route("0.0.0.0/0", 0, 0),
		route("10.0.0.0/8", 0x10, 1),
		route("10.0.0.0/8", 0x10, 2),
		route("10.0.0.0/8", 0x08, 0),
		route("10.0.0.0/8", 0, 0),
		route("10.0.0.0/8", 0, 7),
		route("10.0.0.0/16", 0, 0),
		route("192.0.2.0/24", 0, 0),
		route("::/0", 0, 0),
		route("2001:db8::/32", 0, 0),
	}
	for _, i := range rand.Perm(len(want)) {
		table.Insert(want[i])
	}
	var got []Route
	for r := range table.All() {
		got = append(got, *r)
	}
	same := func(a, b Route) bool { return a.Prefix == b.Prefix && a.TOS == b.TOS && a.Metric == b.Metric }
	if !slices.EqualFunc(got, want, same) {
		t.Errorf("got %v\nwant %v", got, want)
	}
	for range table.All() {
		break // an iteration may end early
	}
}

func TestInsertKeepsItsOwnCopy(t *testing.T) {
	table := NewTable("x")
	hops := []NextHop{{Port: 1}, {Port: 2}}
	table.Insert(Route{Prefix: netip.MustParsePrefix("10.1.2.3/8"), Hops: hops})
	hops[0].Port = 9
	r, _ := table.Tree().Lookup(netip.MustParseAddr("10.0.0.1"), 0)
	if r.Hops[0].Port != 1 || hops[0].ID != 0 {
		t.Error("table and caller share the hops")
	}
	if r.Prefix.String() != "10.0.0.0/8" {
		t.Errorf("prefix %v has host bits", r.Prefix)
	}
}

func TestLookupDoesNotAllocate(t *testing.T) {
	table := NewTable("x")
	table.Insert(route("0.0.0.0/0", 0, 0))
	table.Insert(route("10.1.0.0/16", 0x10, 0))
	hit, miss := netip.MustParseAddr("10.1.1.1"), netip.MustParseAddr("2001:db8::1")
	if n := testing.AllocsPerRun(100, func() {
		table.Tree().Lookup(hit, 0)
		table.Tree().Lookup(hit, 0x10)
		table.Tree().Lookup(miss, 0)
		table.Tree().LookupShorter(hit, 0, 16)
		r, _ := table.Tree().Lookup(hit, 0x10)
		table.Tree().After(r, hit, 0x10)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkLookup(b *testing.B) {
	for _, n := range []int{1, 10, 100, 1000, 10000} {
		b.Run(fmt.Sprintf("routes=%d", n), func(b *testing.B) {
			rng := rand.New(rand.NewPCG(1, 2))
			table := NewTable("x")
			addrs := make([]netip.Addr, 4096)
			for table.Len() < n {
				var a [4]byte
				u := rng.Uint32()
				a[0], a[1], a[2], a[3] = byte(u>>24), byte(u>>16), byte(u>>8), byte(u)
				table.Insert(Route{Prefix: netip.PrefixFrom(netip.AddrFrom4(a), 12+rng.IntN(13)), Action: Local})
			}
			i := 0
			for r := range table.All() {
				addrs[i%len(addrs)] = r.Prefix.Addr()
				i++
			}
			for j := i; j < len(addrs); j++ {
				addrs[j] = addrs[j%i]
			}
			rng.Shuffle(len(addrs), func(i, j int) { addrs[i], addrs[j] = addrs[j], addrs[i] })
			b.ReportAllocs()
			i = 0
			for b.Loop() {
				if _, ok := table.Tree().Lookup(addrs[i&4095], 0); !ok {
					b.Fatal("miss")
				}
				i++
			}
		})
	}
}

// TestFilter: whatever a table has, its filter lets through what a prefix contains; and it keeps most of the rest out.
func TestFilter(t *testing.T) {
	rng := rand.New(rand.NewPCG(8, 9))
	random := func(six bool) netip.Addr {
		if six {
			var b [16]byte
			b[0], b[1], b[2], b[3], b[15] = 0x20, 0x01, byte(rng.IntN(256)), byte(rng.IntN(256)), byte(rng.IntN(256))
			return netip.AddrFrom16(b)
		}
		return netip.AddrFrom4([4]byte{byte(rng.IntN(256)), byte(rng.IntN(256)), byte(rng.IntN(4)), byte(rng.IntN(4))})
	}
	for range 200 {
		table := NewTable("t")
		var prefixes []netip.Prefix
		for range 1 + rng.IntN(20) {
			a := random(rng.IntN(2) == 0)
			least := 16
			if a.Is6() {
				least = 32
			}
			if rng.IntN(40) == 0 {
				least = 0
			}
			p := netip.PrefixFrom(a, least+rng.IntN(a.BitLen()-least+1)).Masked()
			prefixes = append(prefixes, p)
			table.Insert(Route{Prefix: p, Action: Blackhole})
		}
		for range 1000 {
			a := random(rng.IntN(2) == 0)
			want := slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(a) })
			if _, ok := table.Tree().Lookup(a, 0); ok != want {
				t.Fatalf("%v is found: %v, in %v", a, ok, prefixes)
			}
		}
	}
	near := 0
	var f filter
	for i := range 30 {
		f.add(netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i), 0, 1}), 32))
	}
	const tries = 100_000
	for range tries {
		if f.has(random(false)) {
			near++
		}
	}
	if near > tries/50 {
		t.Errorf("%d of %d addresses are near 30 of a table", near, tries)
	}
}
