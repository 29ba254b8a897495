package fib

import (
	"encoding/binary"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"testing"

	"weir/perf/versus"
)

var (
	dpdkProgram = flag.String("dpdk", "", "program of DPDK's forwarding tables (perf/dpdk/fib.c) to compare with")
	dpdkRounds  = flag.Int("dpdk.rounds", 21, "rounds of the comparison with DPDK")
	dpdkPage    = flag.String("dpdk.page", "", "file for the results of the comparison with DPDK")
)

var trafficKinds = []string{"uni", "zipf", "pfx"}

// dpdkFamily is one family of the Internet's table in both implementations.
type dpdkFamily struct {
	four   bool
	routes []Route
	peer   *versus.Peer
	table  *Table
	kernel *versus.Kernel
	lists  [][]netip.Addr          // by kind
	v4     [][][BatchMax]uint32    // by kind
	v6     [][][4][BatchMax]uint32 // by kind

	bytes, tree, peerBytes, hopBytes int
	insert, build, peerBuild         int64
}

const trafficSize = 1 << 20

// TestAgainstDPDK compares lookups, building and updates of the Internet's table with DPDK's rte_fib and rte_fib6, in turns.
// It fails if one address has two answers, never for its figures. `make bench-fib` runs it.
func TestAgainstDPDK(t *testing.T) {
	if *dpdkProgram == "" {
		t.Skip("give the program: -args -dpdk bin/dpdk-fib")
	}
	versus.HugePages(t, 640)
	versus.Pin(t)
	page := versus.NewPage("Forwarding tables: weir and DPDK")
	_, kind := internetPrefixes()
	families := []*dpdkFamily{newDPDKFamily(t, true), newDPDKFamily(t, false)}
	lookups := make([]map[string]versus.Spread, len(families))
	for i, f := range families {
		f.sameAnswers(t, "before the updates")
		f.sameAsKernel(t)
		lookups[i] = f.compareLookups(t)
	}
	changes := make([]updates, len(families))
	for i, f := range families {
		changes[i] = f.compareUpdates(t)
		f.sameAnswers(t, "after the updates")
	}
	headline(page, lookups)
	for i, f := range families {
		f.report(page, lookups[i], changes[i])
	}
	page.Conditions("make bench-fib", [2]string{"table", fmt.Sprintf("%s: %d IPv4 and %d IPv6 prefixes, 64 next hops", kind, len(families[0].routes), len(families[1].routes))},
		[2]string{"DPDK", dpdkVersion()}, [2]string{"memory", "DPDK in 2 MiB pages set aside; weir in transparent ones: " + families[0].table.Form() + "; " + families[1].table.Form()})
	page.Publish(t, *dpdkPage)
}

// record is a route as fib.c reads it.
func record(p netip.Prefix, remove bool, hop int) []byte {
	b := make([]byte, 20)
	copy(b, p.Addr().AsSlice())
	b[16] = byte(p.Bits())
	if remove {
		b[17] = 1
	}
	binary.NativeEndian.PutUint16(b[18:], uint16(hop))
	return b
}

func newDPDKFamily(t *testing.T, four bool) *dpdkFamily {
	f := &dpdkFamily{four: four}
	dir := t.TempDir()
	rng := rand.New(rand.NewPCG(1, 2))
	prefixes, _ := internetPrefixes()
	var records []byte
	var own []netip.Prefix
	var hops []int
	for _, p := range prefixes {
		if hop := rng.IntN(64); p.Addr().Is4() == four {
			f.routes = append(f.routes, internetRoute(p, hop))
			records = append(records, record(p, false, hop)...)
			own, hops = append(own, p), append(hops, hop)
		}
	}
	f.kernel = versus.NewKernel(t, own, hops, trafficSize)
	args := []string{"6", writeFile(t, dir, "routes", records)}
	if four {
		args[0] = "4"
	}
	for _, kind := range trafficKinds {
		list := traffic(kind, four, trafficSize)
		f.lists = append(f.lists, list)
		args = append(args, writeFile(t, dir, kind, f.addTraffic(list)))
	}
	f.peer = versus.Start(t, *dpdkProgram, args...)
	var word string
	f.peer.Ask("", &word, &f.peerBuild, &f.peerBytes, &f.hopBytes)

	debug.FreeOSMemory()
	before, began := resident(t), versus.ThreadTime()
	f.table = NewTable("internet")
	for _, r := range f.routes {
		f.table.Insert(r)
	}
	f.insert = versus.ThreadTime() - began
	debug.FreeOSMemory()
	f.tree = resident(t) - before
	before, began = resident(t), versus.ThreadTime()
	if err := f.table.Build(); err != nil {
		t.Fatal(err)
	}
	f.build = versus.ThreadTime() - began
	debug.FreeOSMemory()
	f.bytes = resident(t) - before
	return f
}

func writeFile(t *testing.T, dir, name string, data []byte) string {
	name = filepath.Join(dir, name)
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// addTraffic keeps addresses in batches as weir takes them, and returns them as DPDK does: IPv4 as numbers, IPv6 as bytes.
func (f *dpdkFamily) addTraffic(list []netip.Addr) (bytes []byte) {
	v4, v6 := make([][BatchMax]uint32, len(list)/BatchMax), make([][4][BatchMax]uint32, len(list)/BatchMax)
	for i, a := range list {
		k := keyOf(a)
		if f.four {
			v4[i/BatchMax][i%BatchMax] = uint32(k.hi >> 32)
			bytes = binary.NativeEndian.AppendUint32(bytes, uint32(k.hi>>32))
			continue
		}
		bytes = append(bytes, a.AsSlice()...)
		for j, w := range [4]uint32{uint32(k.hi >> 32), uint32(k.hi), uint32(k.lo >> 32), uint32(k.lo)} {
			v6[i/BatchMax][j][i%BatchMax] = w
		}
	}
	f.v4, f.v6 = append(f.v4, v4), append(f.v6, v6)
	return bytes
}

func (f *dpdkFamily) lookup(array Array, kind, batch int, found *Found) {
	if f.four {
		array.Lookup4(&f.v4[kind][batch], BatchMax, found)
	} else {
		array.Lookup6(&f.v6[kind][batch], BatchMax, found)
	}
}

// noRoute is what fib.c has no route answered by.
const noRoute = 1000

// sameAnswers compares the next hops of every address.
func (f *dpdkFamily) sameAnswers(t *testing.T, when string) {
	array, _ := f.table.Array()
	for kind, name := range trafficKinds {
		for _, vectors := range []string{"scalar", "avx512"} {
			file := filepath.Join(t.TempDir(), "answers")
			var done string
			f.peer.Ask(fmt.Sprintf("answers %d %s %s", kind, vectors, file), &done)
			theirs, err := os.ReadFile(file)
			if err != nil || len(theirs) != 2*trafficSize {
				t.Fatalf("%d bytes of answers, %v", len(theirs), err)
			}
			differ, misses := 0, 0
			var found Found
			for b := range trafficSize / BatchMax {
				f.lookup(array, kind, b, &found)
				answers := array.Answers()
				for i, id := range found {
					ours := hopOf(answers[id])
					if ours == versus.NoRoute {
						misses++
						ours = noRoute
					}
					if uint16(ours) != binary.NativeEndian.Uint16(theirs[2*(b*BatchMax+i):]) {
						differ++
					}
				}
			}
			if differ > 0 || misses == trafficSize {
				t.Errorf("IPv4 %v, %s, DPDK %s, %s: %d of %d answers differ, %d without a route", f.four, name, vectors, when, differ, trafficSize, misses)
			}
		}
	}
}

// hopOf is the number of the next hop that an answer comes to.
func hopOf(a *Answer) int {
	if r, _ := a.Route(0); r != nil {
		return slices.IndexFunc(internetHops[r.Prefix.Addr().BitLen()/128][:], func(hops []NextHop) bool { return hops[0].Gateway == r.Hops[0].Gateway })
	}
	return versus.NoRoute
}

// sameAsKernel compares the next hops of every address with the kernel's.
func (f *dpdkFamily) sameAsKernel(t *testing.T) {
	array, _ := f.table.Array()
	for kind, name := range trafficKinds {
		f.kernel.Use(f.lists[kind])
		f.kernel.Lookup()
		theirs := f.kernel.Answers()
		differ := 0
		var found Found
		for b := range trafficSize / BatchMax {
			f.lookup(array, kind, b, &found)
			for i, id := range found {
				if ours := hopOf(array.Answers()[id]); ours != theirs[b*BatchMax+i] {
					differ++
				}
			}
		}
		if differ > 0 {
			t.Errorf("%s, kernel: %d of %d answers differ", name, differ, trafficSize)
		}
	}
}

// passes of a traffic's addresses in one turn, some 30 ms.
const passes = 4

// compareLookups returns ns per lookup in every round, by "kind implementation".
func (f *dpdkFamily) compareLookups(t *testing.T) map[string]versus.Spread {
	array, _ := f.table.Array()
	took := map[string]versus.Spread{}
	turns := []string{"weir", "scalar", "avx512", "kernel"}
	for range *dpdkRounds {
		for kind, name := range trafficKinds {
			for _, who := range turns {
				var ns int64
				if who == "kernel" {
					f.kernel.Use(f.lists[kind])
					ns = passes * f.kernel.Lookup() // which takes long enough
				} else if who == "weir" {
					var found Found
					ns = versus.ThreadTime()
					for range passes {
						for b := range trafficSize / BatchMax {
							f.lookup(array, kind, b, &found)
						}
					}
					ns = versus.ThreadTime() - ns
				} else {
					f.peer.Ask(fmt.Sprintf("lookup %d %s %d", kind, who, passes), &ns)
				}
				took[name+" "+who] = append(took[name+" "+who], float64(ns)/(passes*trafficSize))
			}
		}
		slices.Reverse(turns)
	}
	return took
}

// updates are what a change of a route costs, ns by round: of weir, and of DPDK.
type updates struct {
	mean, p50, p99 [2]versus.Spread
	garbage        float64 // bytes per change, in the last round
	clock          float64 // ns that reading the thread's time takes
}

// compareUpdates has both make the same changes: a route goes, comes back by another gateway, or changes its gateway.
func (f *dpdkFamily) compareUpdates(t *testing.T) (u updates) {
	const n = 20_000
	rng := rand.New(rand.NewPCG(5, 6))
	add := func(who int, all, p50, p99 int64) {
		u.mean[who] = append(u.mean[who], float64(all)/n)
		u.p50[who], u.p99[who] = append(u.p50[who], float64(p50)), append(u.p99[who], float64(p99))
	}
	took := make([]int64, n)
	began := versus.ThreadTime()
	for range n {
		versus.ThreadTime()
	}
	u.clock = float64(versus.ThreadTime()-began) / n
	dir := t.TempDir()
	for range max(3, *dpdkRounds/3) {
		var records []byte
		changes, remove := make([]Route, n), make([]bool, n)
		for i := range changes {
			hop := rng.IntN(64)
			changes[i], remove[i] = internetRoute(f.routes[rng.IntN(len(f.routes))].Prefix, hop), rng.IntN(2) == 0
			records = append(records, record(changes[i].Prefix, remove[i], hop)...)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		all := versus.ThreadTime()
		for i := range changes {
			began := versus.ThreadTime()
			if remove[i] {
				f.table.Delete(changes[i].Prefix, 0, 0)
			} else {
				f.table.Insert(changes[i])
			}
			took[i] = versus.ThreadTime() - began
			if f.table.Retired() > 4096 {
				f.table.Reclaim()
			}
		}
		all = versus.ThreadTime() - all
		runtime.ReadMemStats(&after)
		u.garbage = float64(after.TotalAlloc-before.TotalAlloc) / n
		slices.Sort(took)
		add(0, all, took[n/2], took[n*99/100])
		var theirs, p50, p99, refused int64
		f.peer.Ask("update "+writeFile(t, dir, "changes", records), &theirs, &p50, &p99, &refused)
		if refused > 0 {
			t.Errorf("DPDK refused %d of %d changes", refused, n)
		}
		add(1, theirs, p50, p99)
	}
	return u
}
