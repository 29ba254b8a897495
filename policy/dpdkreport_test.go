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
	var alone, within []string
	missed := 0
	for i := range results {
		r := &results[i]
		alone = append(alone, fmt.Sprintf("%.2f at %s", r.took["matcher"].Per(r.took["avx512"]).Median(), r.name))
		own := r.own().Per(r.took["avx512"]).Median()
		within = append(within, fmt.Sprintf("%.2f", own))
		if own > r.goal {
			missed++
		}
	}
	page.Line("weir's matcher alone takes, of the time of DPDK's rte_acl with AVX-512 for the same rules: %s. What rules add to a whole decision, of the same: %s "+
		"(medians of %d interleaved rounds; less is better). For the latter, %d of %d goals are missed. All find the same rule for every packet.",
		strings.Join(alone, ", "), strings.Join(within, ", "), len(results[0].took["weir"]), missed, len(results))
	page.Line("\nrte_acl finds the first rule that matches, and so does the `matcher`: for 64 packets at a time, from their keys to the rule's number, whatever " +
		"their number; where rules are few, decisions try them one by one instead. `Decide` checks addresses, walks default rules and tables, finds the next " +
		"hop and counts besides: `without rules` is what that takes, and `rules in Decide` the difference.")
	page.Table("rules", "matcher, ns", "Decide", "without rules", "rules in Decide", "rte_acl AVX-512", "AVX2", "scalar")
	for i := range results {
		r := &results[i]
		row := []string{r.name, r.took["matcher"].Text("%.0f"), r.took["weir"].Text("%.0f"), r.took["base"].Text("%.0f"), r.own().Text("%.0f")}
		for _, who := range []string{"avx512", "avx2", "scalar"} {
			row = append(row, r.took[who].Text("%.0f"))
		}
		page.Row(row...)
	}
	page.Table("rules", "matcher / AVX-512", "rules in Decide / AVX-512", "goal", "matcher / AVX2", "matcher / scalar", "Decide / AVX-512")
	for i := range results {
		r := &results[i]
		ratio, met := r.own().Per(r.took["avx512"]), "met"
		if ratio.Median() > r.goal {
			met = "missed"
		}
		matcher := r.took["matcher"]
		page.Row(r.name, matcher.Per(r.took["avx512"]).Text("%.2f"), ratio.Text("%.2f"), fmt.Sprintf("≤ %.2f: %s", r.goal, met),
			matcher.Per(r.took["avx2"]).Text("%.2f"), matcher.Per(r.took["scalar"]).Text("%.2f"), r.took["weir"].Per(r.took["avx512"]).Text("%.2f"))
	}
	page.Table("rules", "packets that match one", "median packet's rule", "weir's Compile and Promote, ms", "its matchers, KiB", "rte_acl's build, ms", "its memory, KiB")
	for i := range results {
		r := &results[i]
		page.Row(r.name, fmt.Sprintf("%.0f %%", 100*r.matched), fmt.Sprint(r.depth), fmt.Sprintf("%.1f", float64(r.compile)/1e6), fmt.Sprint(r.matcherBytes/1024),
			fmt.Sprintf("%.1f", float64(r.build)/1e6), fmt.Sprint(r.peerBytes/1024))
	}
}
