package fib

import (
	"bufio"
	"compress/gzip"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// internetPrefixes are those of the full Internet table that bart ships for its own tests (of its module's cache), and
// where that is not to be had, as many random ones with the same distribution of lengths.
var internetPrefixes = sync.OnceValues(func() ([]netip.Prefix, string) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/gaissmai/bart").Output()
	if err == nil {
		if list, err := readPrefixes(filepath.Join(strings.TrimSpace(string(out)), "internal/tests/testdata/prefixes.txt.gz")); err == nil {
			return list, "real"
		}
	}
	return syntheticPrefixes(900_000, 160_000), "synthetic"
})

func readPrefixes(name string) (list []netip.Prefix, err error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, err
	}
	lines := bufio.NewScanner(z)
	for lines.Scan() {
		p, err := netip.ParsePrefix(lines.Text())
		if err != nil {
			return nil, err
		}
		list = append(list, p.Masked())
	}
	return list, lines.Err()
}

// Shares of prefix lengths in the Internet's tables, in thousandths.
var (
	lengths4 = map[int]int{24: 620, 23: 100, 22: 110, 21: 50, 20: 45, 19: 27, 18: 14, 17: 9, 16: 14, 15: 3, 14: 2, 13: 1, 12: 1, 8: 1, 32: 3}
	lengths6 = map[int]int{48: 480, 44: 80, 40: 90, 36: 60, 32: 140, 33: 30, 34: 20, 29: 30, 47: 20, 46: 20, 45: 10, 64: 5, 56: 5, 28: 5, 128: 5}
)

func syntheticPrefixes(four, six int) (list []netip.Prefix) {
	rng := rand.New(rand.NewPCG(4, 6))
	seen := map[netip.Prefix]bool{}
	add := func(p netip.Prefix) {
		if p = p.Masked(); !seen[p] {
			seen[p] = true
			list = append(list, p)
		}
	}
	for bits, share := range lengths4 {
		for range four * share / 1000 {
			v := rng.Uint32()%0xdf000000 + 0x01000000
			add(netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)}), bits))
		}
	}
	for bits, share := range lengths6 {
		for range six * share / 1000 {
			var b [16]byte
			for i := range b {
				b[i] = byte(rng.Uint32())
			}
			b[0], b[1] = 0x20+b[0]%12, b[1]&0x1f // some thousand blocks of /24, as registries give out
			add(netip.PrefixFrom(netip.AddrFrom16(b), bits))
		}
	}
	return list
}

// internetTable is a table of the prefixes, with 64 gateways.
func internetTable(tb testing.TB) *Table {
	prefixes, kind := internetPrefixes()
	tb.Log(kind, "table of", len(prefixes), "prefixes")
	t := NewTable("internet")
	rng := rand.New(rand.NewPCG(1, 2))
	for _, p := range prefixes {
		t.Insert(internetRoute(p, rng.IntN(64)))
	}
	return t
}

var internetHops = func() (hops [2][64][]NextHop) {
	for i := range 64 {
		hops[0][i] = []NextHop{{Gateway: netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), Port: uint16(i % 4), Weight: 1}}
		hops[1][i] = []NextHop{{Gateway: netip.MustParseAddr(fmt.Sprintf("2001:db8::%x", 1+i)), Port: uint16(i % 4), Weight: 1}}
	}
	return hops
}()

func internetRoute(p netip.Prefix, gateway int) Route {
	if p.Addr().Is4() {
		return Route{Prefix: p, Hops: internetHops[0][gateway]}
	}
	return Route{Prefix: p, Hops: internetHops[1][gateway]}
}

// traffic draws addresses: uniformly, inside of random prefixes, or as one million flows of Zipf's distribution to inside
// of random prefixes.
func traffic(kind string, four bool, n int) []netip.Addr {
	rng := rand.New(rand.NewPCG(7, 8))
	prefixes, _ := internetPrefixes()
	var of []netip.Prefix
	for _, p := range prefixes {
		if p.Addr().Is4() == four {
			of = append(of, p)
		}
	}
	inside := func() netip.Addr {
		p := of[rng.IntN(len(of))]
		b := p.Addr().AsSlice()
		for i := range b {
			if from := p.Bits() - 8*i; from < 8 {
				b[i] |= byte(rng.Uint32()) & byte(0xff>>max(0, from))
			}
		}
		a, _ := netip.AddrFromSlice(b)
		return a
	}
	list := make([]netip.Addr, n)
	switch kind {
	case "uni":
		for i := range list {
			var b [16]byte
			for j := range b {
				b[j] = byte(rng.Uint32())
			}
			if list[i] = netip.AddrFrom16(b); four {
				list[i] = netip.AddrFrom4([4]byte(b[:4]))
			} else {
				b[0] = 0x20 | b[0]&0xf
				list[i] = netip.AddrFrom16(b)
			}
		}
	case "pfx":
		for i := range list {
			list[i] = inside()
		}
	case "zipf":
		flows := make([]netip.Addr, 1_000_000)
		for i := range flows {
			flows[i] = inside()
		}
		z := rand.NewZipf(rng, 1.0001, 1, uint64(len(flows)-1))
		for i := range list {
			list[i] = flows[z.Uint64()]
		}
	}
	return list
}

// perLookup reports the thread's own time for each lookup, which the neighbours on a shared machine stretch least.
func perLookup(b *testing.B) (end func()) {
	runtime.LockOSThread()
	begin := threadTime()
	return func() {
		b.ReportMetric(float64(threadTime()-begin)/float64(b.N*BatchMax), "ns/lookup")
		runtime.UnlockOSThread()
	}
}

// threadTime is the CPU time of the calling thread, in ns.
func threadTime() int64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts)
	return ts.Nano()
}

func BenchmarkInternet(b *testing.B) {
	table := internetTable(b)
	if err := table.Build(); err != nil {
		b.Fatal(err)
	}
	array, _ := table.Array()
	for i, t := range array.a.tries {
		b.Logf("family %d: narrow %v, %d blocks, %d tails, %d answers, huge %v", i, t.narrow, t.blockPool.used(), t.tailPool.used(), array.a.answers.pool.used(), t.rootRegion.huge)
	}
	const n = 1 << 20
	for _, four := range []bool{true, false} {
		for _, kind := range []string{"uni", "zipf", "pfx"} {
			list := traffic(kind, four, n)
			v4, v6 := make([][BatchMax]uint32, n/BatchMax), make([][4][BatchMax]uint32, n/BatchMax)
			for i, a := range list {
				k := keyOf(a)
				v4[i/BatchMax][i%BatchMax] = uint32(k.hi >> 32)
				for j, w := range [4]uint32{uint32(k.hi >> 32), uint32(k.hi), uint32(k.lo >> 32), uint32(k.lo)} {
					v6[i/BatchMax][j][i%BatchMax] = w
				}
			}
			name := map[bool]string{true: "IPv4", false: "IPv6"}[four] + "/" + kind
			b.Run(name+"/array", func(b *testing.B) {
				var found Found
				at := 0
				defer perLookup(b)()
				for b.Loop() {
					if four {
						array.Lookup4(&v4[at], BatchMax, &found)
					} else {
						array.Lookup6(&v6[at], BatchMax, &found)
					}
					at = (at + 1) % len(v4)
				}
			})
			b.Run(name+"/bart", func(b *testing.B) {
				at := 0
				defer perLookup(b)()
				for b.Loop() {
					for _, a := range list[at : at+BatchMax] {
						table.Tree().Lookup(a, 0)
					}
					at = (at + BatchMax) & (n - 1)
				}
			})
		}
	}
}

func BenchmarkBuild(b *testing.B) {
	table := internetTable(b)
	for b.Loop() {
		if err := table.Build(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkUpdate changes the full table: one of its routes goes, comes back by another gateway, or changes its gateway.
// It reports what one change takes of the thread's time, at the median and at 99 of 100, and what garbage it leaves.
func BenchmarkUpdate(b *testing.B) {
	table := internetTable(b)
	if err := table.Build(); err != nil {
		b.Fatal(err)
	}
	prefixes, _ := internetPrefixes()
	for _, four := range []bool{true, false} {
		var of []netip.Prefix
		for _, p := range prefixes {
			if p.Addr().Is4() == four {
				of = append(of, p)
			}
		}
		b.Run(map[bool]string{true: "IPv4", false: "IPv6"}[four], func(b *testing.B) {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			rng := rand.New(rand.NewPCG(5, 6))
			var took []int64
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			all := threadTime()
			for b.Loop() {
				p := of[rng.IntN(len(of))]
				begin := threadTime()
				if rng.IntN(2) == 0 {
					table.Delete(p, 0, 0)
				} else {
					table.Insert(internetRoute(p, rng.IntN(64)))
				}
				took = append(took, threadTime()-begin)
				if table.Retired() > 4096 {
					table.Reclaim()
				}
			}
			all = threadTime() - all
			runtime.ReadMemStats(&after)
			slices.Sort(took)
			b.ReportMetric(float64(all)/float64(b.N), "ns/change")
			b.ReportMetric(float64(took[len(took)/2]), "ns-p50")
			b.ReportMetric(float64(took[len(took)*99/100]), "ns-p99")
			b.ReportMetric(float64(after.TotalAlloc-before.TotalAlloc-uint64(cap(took)*16))/float64(b.N), "B/change")
		})
	}
}

// resident is the process's memory in bytes.
func resident(tb testing.TB) int {
	var total, pages int
	text, err := os.ReadFile("/proc/self/statm")
	if err == nil {
		_, err = fmt.Sscan(string(text), &total, &pages)
	}
	if err != nil {
		tb.Fatal(err)
	}
	return pages * os.Getpagesize()
}

// BenchmarkMemory is what the array forms of tables of one size take beside the routing information base. The prefixes
// stand close together, as those of one network do, or are scattered all over the Internet.
func BenchmarkMemory(b *testing.B) {
	prefixes, _ := internetPrefixes()
	for _, c := range []struct {
		tables, routes int
		scattered      bool
	}{{500, 10, false}, {500, 10, true}, {200, 1000, false}, {200, 1000, true}, {20, 10_000, false}, {20, 10_000, true}, {1, len(prefixes), true}} {
		b.Run(fmt.Sprintf("%dx%d/scattered=%v", c.tables, c.routes, c.scattered), func(b *testing.B) {
			for b.Loop() {
				rng := rand.New(rand.NewPCG(9, 10))
				tables := make([]*Table, c.tables)
				for i := range tables {
					tables[i] = NewTable("x")
					from := rng.IntN(len(prefixes) - c.routes + 1)
					for j := range c.routes {
						p := prefixes[from+j]
						if c.scattered && c.tables > 1 {
							p = prefixes[rng.IntN(len(prefixes))]
						}
						tables[i].Insert(internetRoute(p, rng.IntN(4)))
					}
				}
				debug.FreeOSMemory()
				before := resident(b)
				for _, t := range tables {
					if err := t.Build(); err != nil {
						b.Fatal(err)
					}
				}
				debug.FreeOSMemory()
				took := resident(b) - before
				b.ReportMetric(float64(took)/float64(c.tables), "B/table")
				b.ReportMetric(float64(took)/float64(c.tables*c.routes), "B/route")
				runtime.KeepAlive(tables)
			}
		})
	}
}
