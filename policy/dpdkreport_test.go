package policy

import (
	"fmt"
	"strings"

	"weir/perf/versus"
)

// own is what the rules add to a decision: its time with them, less its time without.
func (r *dpdkResult) own() versus.Spread {
	own := make(versus.Spread, len(r.took["weir"]))
	for i := range own {
		own[i] = r.took["weir"][i] - r.took["base"][i]
	}
	return own
}

// reportDPDK writes the tables.
func reportDPDK(page *versus.Page, results []dpdkResult) {
	var parts []string
	missed := 0
	for i := range results {
		ratio := results[i].own().Per(results[i].took["avx512"]).Median()
		parts = append(parts, fmt.Sprintf("%.2f at %s", ratio, results[i].name))
		if ratio > results[i].goal {
			missed++
		}
	}
	page.Line("Rules add to a decision of weir's, of the time that DPDK's rte_acl with AVX-512 takes for the same rules: %s (medians of %d interleaved rounds; "+
		"less is better). %d of %d goals are missed. Both find the same rule for every packet.", strings.Join(parts, ", "), len(results[0].took["weir"]), missed, len(results))
	page.Line("\nrte_acl finds the first rule that matches, and that is all. `Decide` checks addresses, walks default rules and tables, finds the " +
		"next hop and counts besides: `without rules` is what that takes, and `rules alone` the difference.")
	page.Table("rules", "weir's Decide, ns", "without rules", "rte_acl scalar", "AVX2", "AVX-512")
	for i := range results {
		r := &results[i]
		row := []string{r.name}
		for _, who := range []string{"weir", "base", "scalar", "avx2", "avx512"} {
			row = append(row, r.took[who].Text("%.0f"))
		}
		page.Row(row...)
	}
	page.Table("rules", "Decide / AVX-512", "rules alone / AVX-512", "goal", "rules alone / AVX2", "/ scalar")
	for i := range results {
		r := &results[i]
		own := r.own()
		ratio, met := own.Per(r.took["avx512"]), "met"
		if ratio.Median() > r.goal {
			met = "missed"
		}
		page.Row(r.name, r.took["weir"].Per(r.took["avx512"]).Text("%.2f"), ratio.Text("%.2f"), fmt.Sprintf("≤ %.2f: %s", r.goal, met),
			own.Per(r.took["avx2"]).Text("%.2f"), own.Per(r.took["scalar"]).Text("%.2f"))
	}
	page.Table("rules", "packets that match one", "median packet's rule", "weir's Compile, ms", "rte_acl's build, ms", "its memory, KiB")
	for i := range results {
		r := &results[i]
		page.Row(r.name, fmt.Sprintf("%.0f %%", 100*r.matched), fmt.Sprint(r.depth), fmt.Sprintf("%.1f", float64(r.compile)/1e6),
			fmt.Sprintf("%.1f", float64(r.build)/1e6), fmt.Sprint(r.peerBytes/1024))
	}
}
