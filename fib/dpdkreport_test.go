package fib

import (
	"fmt"
	"os/exec"
	"strings"

	"weir/perf/versus"
)

func dpdkVersion() string {
	out, err := exec.Command("pkg-config", "--modversion", "libdpdk").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}

// Goals of full tables, as weir's time through DPDK's with AVX-512: by family and kind of traffic.
var dpdkGoals = []map[string]float64{{"uni": 1.0, "zipf": 0.95, "pfx": 0.95}, {"uni": 1.0, "zipf": 1.0, "pfx": 1.0}}

// headline is the result in a sentence.
func headline(page *versus.Page, lookups []map[string]versus.Spread) {
	var parts []string
	missed := 0
	for i, family := range []string{"IPv4", "IPv6"} {
		var ratios []string
		for _, kind := range trafficKinds {
			ratio := lookups[i][kind+" weir"].Per(lookups[i][kind+" avx512"]).Median()
			ratios = append(ratios, fmt.Sprintf("%s %.2f", kind, ratio))
			if ratio > dpdkGoals[i][kind] {
				missed++
			}
		}
		parts = append(parts, family+" "+strings.Join(ratios, ", "))
	}
	page.Line("A lookup in the Internet's table takes weir, of what it takes DPDK with AVX-512: %s (medians of %d interleaved rounds; less is better). "+
		"%d of 6 goals are missed. They, and the kernel, give every address the same next hop.", strings.Join(parts, "; "), len(lookups[0]["uni weir"]), missed)
}

func (f *dpdkFamily) report(page *versus.Page, took map[string]versus.Spread, u updates) {
	family, i := "IPv4: rte_fib, DIR24_8, next hops of 2 bytes", 0
	if !f.four {
		family, i = fmt.Sprintf("IPv6: rte_fib6, TRIE, next hops of %d bytes", f.hopBytes), 1
	}
	page.Line("\n## %s", family)
	page.Table("traffic", "weir ns", "DPDK scalar ns", "DPDK AVX-512 ns", "weir / scalar", "weir / AVX-512", "goal")
	for _, kind := range trafficKinds {
		weir, scalar, vectors := took[kind+" weir"], took[kind+" scalar"], took[kind+" avx512"]
		ratio := weir.Per(vectors)
		goal := fmt.Sprintf("≤ %.2f: missed", dpdkGoals[i][kind])
		if ratio.Median() <= dpdkGoals[i][kind] {
			goal = fmt.Sprintf("≤ %.2f: met", dpdkGoals[i][kind])
		}
		page.Row(kind, weir.Text("%.1f"), scalar.Text("%.1f"), vectors.Text("%.1f"), weir.Per(scalar).Text("%.2f"), ratio.Text("%.2f"), goal)
	}
	page.Table("traffic", "the kernel's bpf_fib_lookup, ns", "kernel / weir")
	for _, kind := range trafficKinds {
		page.Row(kind, took[kind+" kernel"].Text("%.0f"), took[kind+" kernel"].Per(took[kind+" weir"]).Text("%.0f"))
	}
	n := float64(len(f.routes))
	goal := func(met bool, text string) string {
		if met {
			return text + ": met"
		}
		return text + ": missed"
	}
	build := float64(f.build) / 1e6
	page.Table("", "weir", "DPDK", "weir / DPDK", "goal")
	page.Row("build, ms", fmt.Sprintf("%.0f routes in, %.0f arrays", float64(f.insert)/1e6, build), fmt.Sprintf("%.0f", float64(f.peerBuild)/1e6),
		fmt.Sprintf("%.2f", float64(f.insert+f.build)/float64(f.peerBuild)), goal(build <= 300, "arrays ≤ 300"))
	page.Row("memory, bytes per route", fmt.Sprintf("%.0f routes, %.0f arrays", float64(f.tree)/n, float64(f.bytes)/n), fmt.Sprintf("%.0f, as configured", float64(f.peerBytes)/n),
		fmt.Sprintf("%.2f", float64(f.tree+f.bytes)/float64(f.peerBytes)), "")
	for _, c := range []struct {
		name string
		of   [2]versus.Spread
		goal string
	}{{"one change, ns, mean", u.mean, ""}, {"one change, ns, median", u.p50, ""}, {"one change, ns, 99 %", u.p99, goal(u.p99[0].Median() <= 5000, "≤ 5000")}} {
		page.Row(c.name, c.of[0].Text("%.0f"), c.of[1].Text("%.0f"), c.of[0].Per(c.of[1]).Text("%.2f"), c.goal)
	}
	page.Row("garbage of a change, bytes", fmt.Sprintf("%.1f", u.garbage), "", "", goal(u.garbage < 0.5, "0"))
	page.Line("\nThe time of a change has one reading of the thread's clock in it, on both sides: some %.0f ns.", u.clock)
}
