package appliance

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
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"weir/fib"
	"weir/policy"
	"weir/policy/packet"
)

// internetPrefixes are those that bart tests itself with: the Internet's tables of some day.
func internetPrefixes(tb testing.TB) (list []netip.Prefix) {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/gaissmai/bart").Output()
	need(tb, err)
	f, err := os.Open(filepath.Join(strings.TrimSpace(string(dir)), "internal", "tests", "testdata", "prefixes.txt.gz"))
	need(tb, err)
	defer f.Close()
	z, err := gzip.NewReader(f)
	need(tb, err)
	for lines := bufio.NewScanner(z); lines.Scan(); {
		p, err := netip.ParsePrefix(lines.Text())
		need(tb, err)
		list = append(list, p.Masked())
	}
	return list
}

// decider is a router with one worker that has no queues, and decides on the same packets again and again.
type decider struct {
	router *Router
	w      *Worker
	keys   []packet.Key
	stop   atomic.Bool
	ns     atomic.Int64 // of the worker's thread
	n      atomic.Int64 // packets
	done   sync.WaitGroup
}

const benchGateways = 64

func benchGateway(four bool, i int) policy.RouteHop {
	if four {
		return policy.RouteHop{Gateway: netip.AddrFrom4([4]byte{192, 0, 2, byte(2 + i)}), Port: fmt.Sprintf("em%d", i%4)}
	}
	return policy.RouteHop{Gateway: netip.MustParseAddr(fmt.Sprintf("2001:db8::%x", 2+i)), Port: fmt.Sprintf("em%d", i%4)}
}

func newDecider(b testing.TB, prefixes []netip.Prefix) *decider {
	p := &policy.Policy{Tables: []policy.Table{{Name: "main", ID: policy.TableMain}, {Name: "x", ID: 100}}, Rules: []policy.Rule{{Name: "all", Action: policy.RuleLookup, SuppressPrefixLength: -1}}}
	for i := range 4 {
		p.Ports = append(p.Ports, policy.Port{Name: fmt.Sprintf("em%d", i), Device: uint16(i), MTU: 1500})
	}
	for i := range benchGateways { // so that the gateways are the configuration's
		for _, four := range []bool{true, false} {
			h := benchGateway(four, i)
			p.Tables[1].Routes = append(p.Tables[1].Routes, fib.Route{Prefix: netip.PrefixFrom(h.Gateway, h.Gateway.BitLen()), Hops: []fib.NextHop{{Gateway: h.Gateway, Port: uint16(i % 4), Weight: 1}}})
		}
	}
	snap, err := policy.Compile(p)
	need(b, err)
	d := &decider{router: &Router{log: zap.NewNop(), settings: settingsIn(b)}}
	d.router.neighbors.init()
	d.w, err = newWorker(d.router, 0, 0)
	need(b, err)
	d.router.workers = []*Worker{d.w}
	d.router.running = newSetup(snap)
	d.router.tallies.move(snap)
	d.router.publish(&generation{snap: snap, lanes: make([]lane, 1), tallies: d.router.tallies.fresh(snap, d.router.workers, 1)})
	rng := rand.New(rand.NewPCG(3, 4))
	for range 1 << 16 {
		dst := prefixes[rng.IntN(len(prefixes))].Addr()
		k := packet.Key{Family: packet.IPv4, Src: netip.MustParseAddr("9.0.0.1").As16(), Dst: dst.As16(), TTL: 64, Length: 64, Proto: 17}
		if dst.Is6() {
			k.Family, k.Src = packet.IPv6, netip.MustParseAddr("2001:db8:9::9").As16()
		}
		d.keys = append(d.keys, k)
	}
	d.done.Go(d.run)
	b.Cleanup(func() {
		d.stop.Store(true)
		d.done.Wait()
		need(b, d.w.poller.Close())
	})
	return d
}

// run is the worker's life, as Worker.run, without rings.
func (d *decider) run() {
	runtime.LockOSThread()
	var verdicts [64]policy.Verdict
	last := threadTime()
	for at := 0; !d.stop.Load(); at = (at + 64) % len(d.keys) {
		d.w.follow()
		d.w.gen.snap.Decide(d.keys[at:at+64], verdicts[:], d.w.tally)
		if at == 0 {
			now := threadTime()
			d.ns.Add(now - last)
			d.n.Add(int64(len(d.keys)))
			last = now
		}
	}
}

// cost is what a packet takes of the worker's time while something is done.
func (d *decider) cost(during func()) float64 {
	ns, n := d.ns.Load(), d.n.Load()
	during()
	return float64(d.ns.Load()-ns) / float64(d.n.Load()-n)
}

// threadTime is the CPU time of the calling thread, in ns.
func threadTime() int64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts)
	return ts.Nano()
}

// BenchmarkRouteUpdates changes the Internet's table while a worker decides on packets by it: a route goes, comes back, or gets another
// gateway. It reports what a change costs, with all that belongs to it, and how long one alone takes to be in force, and
// what a decision takes with and without a stream of changes, as measured in turns.
func BenchmarkRouteUpdates(b *testing.B) {
	prefixes := internetPrefixes(b)
	d := newDecider(b, prefixes)
	rng := rand.New(rand.NewPCG(5, 6))
	there := make([]bool, len(prefixes))
	change := func(i int) policy.RouteChange {
		p := prefixes[i]
		c := policy.RouteChange{Op: policy.ReplaceRoute, Table: "main", Prefix: p, Hops: []policy.RouteHop{benchGateway(p.Addr().Is4(), rng.IntN(benchGateways))}}
		if there[i] && rng.IntN(2) == 0 {
			c.Op = policy.DeleteRoute
		}
		there[i] = c.Op != policy.DeleteRoute
		return c
	}
	apply := func(changes []policy.RouteChange) {
		if refused, err := d.router.ChangeRoutes(changes); err != nil || len(refused) > 0 {
			b.Fatal(refused, err)
		}
	}
	var all []policy.RouteChange
	for i := range prefixes {
		all = append(all, change(i))
	}
	rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	begin := time.Now()
	apply(all)
	all = nil
	b.Logf("%d routes in %v, form %s", len(prefixes), time.Since(begin), d.router.running.snap.Form(0))

	random := make([]policy.RouteChange, 1<<19) // made beforehand: the benchmark is about changing
	for i := range random {
		random[i] = change(rng.IntN(len(prefixes)))
	}
	slice := 0
	next := func(n int) []policy.RouteChange {
		if slice+n > len(random) {
			slice = 0
			for i := range random { // what goes now comes then
				if random[i].Op == policy.DeleteRoute {
					random[i].Op, random[i].Hops = policy.ReplaceRoute, []policy.RouteHop{benchGateway(random[i].Prefix.Addr().Is4(), i%benchGateways)}
				}
			}
		}
		slice += n
		return random[slice-n : slice]
	}
	for _, n := range []int{1, routesSlice} {
		b.Run(fmt.Sprintf("together=%d", n), func(b *testing.B) {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			var took []int64
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			cpu, begin, count := threadTime(), time.Now(), 0
			for b.Loop() {
				changes := next(n)
				begin := time.Now()
				apply(changes)
				took = append(took, int64(time.Since(begin)))
				count += n
			}
			cpu = threadTime() - cpu
			wall := time.Since(begin)
			runtime.ReadMemStats(&after)
			slices.Sort(took)
			b.ReportMetric(float64(count)/wall.Seconds(), "changes/s")
			b.ReportMetric(float64(cpu)/float64(count), "CPU-ns/change")
			b.ReportMetric(float64(took[len(took)/2])/1000, "µs-p50")
			b.ReportMetric(float64(took[len(took)*99/100])/1000, "µs-p99")
			b.ReportMetric(float64(after.TotalAlloc-before.TotalAlloc)/float64(count), "B/change")
		})
	}
	b.Run("forwarding", func(b *testing.B) {
		var ratios, quiet, busy []float64
		changes, took := 0, time.Duration(0)
		for b.Loop() {
			const window = 300 * time.Millisecond
			without := d.cost(func() { time.Sleep(window) })
			with := d.cost(func() {
				begin := time.Now()
				for time.Since(begin) < window {
					apply(next(routesSlice))
					changes += routesSlice
				}
				took += time.Since(begin)
			})
			ratios, quiet, busy = append(ratios, without/with), append(quiet, without), append(busy, with)
		}
		for name, list := range map[string][]float64{"ratio": ratios, "ns/packet-quiet": quiet, "ns/packet-changing": busy} {
			slices.Sort(list)
			b.ReportMetric(list[len(list)/2], name)
		}
		b.ReportMetric(float64(changes)/took.Seconds(), "changes/s")
	})
}
