package perf

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"
)

// String is the window in one line.
func (w *Window) String() string {
	return fmt.Sprintf("offered %.3f Mpps, received %.3f, lost %s, %4.0f ns a packet (worker %.0f, receive %.0f, softirq %.0f), core busy %.0f %%",
		w.Offered/1e6, w.Received/1e6, lossText(w.Lost()), w.Cost(), w.Worker, w.NAPI, w.Softirq, 100*w.Busy) +
		w.noise()
}

// noise says what else the router's core did, if it is worth a word.
func (w *Window) noise() string {
	const noise = 0.03
	text := ""
	if w.Foreign > noise {
		text += fmt.Sprintf(", other work %.0f %%", 100*w.Foreign)
	}
	if w.Stolen > noise {
		text += fmt.Sprintf(", stolen %.0f %%", 100*w.Stolen)
	}
	return text
}

func lossText(lost float64) string {
	switch {
	case lost <= 0:
		return "0"
	case lost < 0.0001:
		return fmt.Sprintf("%.0e", lost)
	}
	return fmt.Sprintf("%.2f %%", 100*lost)
}

func flowsText(o *PeersOptions) string {
	if len(o.Load.Routes) > 0 {
		return fmt.Sprintf("%d flows inside of the routes, Zipf's distribution, × %d source ports, UDP over IPv4", loadFlows, o.Ports)
	}
	return fmt.Sprintf("%d destinations × %d source ports, UDP over IPv4", o.Addresses, o.Ports)
}

// mpps is a spread of packets per second.
func (s Spread) mpps() string { return s.text(1e-6, "%.3f") }
func (s Spread) ns() string   { return s.text(1, "%.0f") }
func (s Spread) times() string {
	return s.text(1, "%.2f")
}

func (s Spread) text(factor float64, format string) string {
	if s.N == 0 {
		return "–"
	}
	return fmt.Sprintf(format+" ("+format+"–"+format+")", factor*s.Median, factor*s.Min, factor*s.Max)
}

// headline is the result in one sentence.
func (r *PeersResult) headline() string {
	weir := r.peer(Weir)
	if weir == nil {
		return fmt.Sprintf("%d rounds without weir", r.Rounds)
	}
	text := fmt.Sprintf("weir forwards %.3f Mpps of %s-byte frames on one core", weir.Best.Median/1e6, r.Sizes)
	for _, ratio := range r.Ratios {
		switch ratio.To {
		case Floor:
			text += fmt.Sprintf(", %.2f of what the I/O floor does in packets per second and %.2f in CPU time per packet",
				ratio.Best.Median, ratio.CostCommon.Median)
		case Plain:
			text += fmt.Sprintf(", %.2f of the CPU time per packet that it takes with one route and no rules", 1/ratio.CostBest.Median)
		case Testpmd:
			text += fmt.Sprintf(", %.2f of DPDK's testpmd over AF_XDP", ratio.Best.Median)
		case XDP:
			text += fmt.Sprintf(", %.2f of an XDP program that asks the kernel's tables", ratio.Best.Median)
		case Kernel:
			text += fmt.Sprintf(", %.2f of the kernel's forwarding", ratio.Best.Median)
		case Marked:
			text += fmt.Sprintf(", %.2f of the kernel's with the marks in nftables", ratio.Best.Median)
		}
	}
	return text + fmt.Sprintf(" (medians of %d interleaved rounds).", r.Rounds)
}

// limits says for each peer what its best windows ran into, and what disturbed the run.
func (r *PeersResult) limits() []string {
	var lines []string
	windows, repeated, noisy, worst := 0, 0, 0, 0.0
	for i := range r.Peers {
		p := &r.Peers[i]
		count := make(map[string]int)
		var order []string
		for j := range p.Turns {
			best := p.Turns[j].Best()
			if count[best.Limit()] == 0 {
				order = append(order, best.Limit())
			}
			count[best.Limit()]++
			for _, w := range p.Turns[j].Windows {
				windows++
				repeated += max(w.Tries, 1) - 1
				if worst = max(worst, w.disturbance()); w.disturbance() > disturbed {
					noisy++
				}
			}
		}
		parts := make([]string, len(order))
		for j, limit := range order {
			parts[j] = fmt.Sprintf("%s (%d of %d)", limit, count[limit], len(p.Turns))
		}
		lines = append(lines, fmt.Sprintf("%s's best windows were limited by %s.", p.Peer, strings.Join(parts, ", ")))
	}
	lines = append(lines, fmt.Sprintf("Other work and the hypervisor took more than %.0f %% of the router's core in %d of %d windows, "+
		"at worst %.0f %%; %d windows were measured again for it. Load average %.1f before, %.1f after.",
		100*disturbed, noisy, windows, 100*worst, repeated, r.LoadBefore, r.LoadAfter))
	return lines
}

// column is a figure of the tables.
type column struct {
	title string
	of    func(p *PeerResult) string
}

func (r *PeersResult) lowLoss() string {
	if r.LossRatio == 0 {
		return "no loss"
	}
	return "≤ " + lossText(r.LossRatio) + " loss"
}

// threads says who goes before whom on the router's core.
func (r *PeersResult) threads() string {
	if r.Yields {
		return "the worker before the receive threads, which run at nice 0"
	}
	return "worker and receive threads alike, all at nice −20"
}

func (r *PeersResult) peerColumns() []column {
	return []column{
		{"peer", func(p *PeerResult) string { return string(p.Peer) }},
		{"best Mpps", func(p *PeerResult) string { return p.Best.mpps() }},
		{"Mpps at " + r.lowLoss(), func(p *PeerResult) string { return p.LowLoss.mpps() }},
		{fmt.Sprintf("ns/packet at %.2f Mpps", r.Common/1e6), func(p *PeerResult) string { return p.CostCommon.ns() }},
		{"at best", func(p *PeerResult) string { return p.CostBest.ns() }},
		{"at " + r.lowLoss(), func(p *PeerResult) string { return p.CostLowLoss.ns() }},
	}
}

func (r *PeersResult) peerRows() [][]string {
	columns := r.peerColumns()
	rows := make([][]string, 1+len(r.Peers))
	for _, c := range columns {
		rows[0] = append(rows[0], c.title)
		for i := range r.Peers {
			rows[1+i] = append(rows[1+i], c.of(&r.Peers[i]))
		}
	}
	return rows
}

func (r *PeersResult) ratioRows() [][]string {
	rows := [][]string{{"ratio", "best Mpps", "Mpps at " + r.lowLoss(), fmt.Sprintf("cost at %.2f Mpps", r.Common/1e6), "cost at best"}}
	for _, o := range r.Ratios {
		rows = append(rows, []string{
			"weir to " + string(o.To), o.Best.times(), o.LowLoss.times(), o.CostCommon.times(), o.CostBest.times(),
		})
	}
	return rows
}

// WriteText writes the tables for a terminal.
func (r *PeersResult) WriteText(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, rows := range [][][]string{r.peerRows(), r.ratioRows()} {
		for _, row := range rows {
			fmt.Fprintln(t, strings.Join(row, "\t"))
		}
		fmt.Fprintln(t)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "Medians of %d rounds (min–max). Ratios are taken round by round, and more is better for weir.\n%s\n",
		r.Rounds, strings.Join(r.Limits, "\n"))
	return err
}

// WriteMarkdown writes a page with the tables, the conditions, and every window.
func (r *PeersResult) WriteMarkdown(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "# Peers\n\n%s\n\n", r.Headline)
	for _, rows := range [][][]string{r.peerRows(), r.ratioRows()} {
		markdownTable(&b, rows)
	}
	fmt.Fprintf(&b, "Medians of %d interleaved rounds (min–max). Ratios are taken round by round; cost is the other's time per "+
		"packet through weir's, so that more is better for weir everywhere. Time is that of the threads on the router's core: "+
		"worker, receive path, softirq, and with them the counter at the far end.\n\n", r.Rounds)
	for _, line := range r.Limits {
		fmt.Fprintf(&b, "- %s\n", line)
	}
	fmt.Fprintf(&b, "\n## Conditions\n\n")
	markdownTable(&b, [][]string{
		{"what", "value"},
		{"started", r.Started.UTC().Format(time.DateTime) + " UTC, " + r.Elapsed.String()},
		{"command", "`" + r.CommandLine + "`"},
		{"weir", r.Machine.Commit + ", " + r.Machine.Go},
		{"CPU", fmt.Sprintf("%s, %d cores", r.Machine.CPU, r.Machine.Cores)},
		{"memory", fmt.Sprintf("%.1f GiB", float64(r.Machine.Memory)/(1<<30))},
		{"kernel", r.Machine.Kernel},
		{"ports", r.Machine.Driver},
		{"frames", r.Sizes + " bytes, with FCS"},
		{"flows", r.Flows},
		{"load", r.Load},
		{"windows", fmt.Sprintf("%v each", r.Window)},
		{"router's core", r.threads()},
	})
	fmt.Fprintf(&b, "## Windows\n\n")
	rows := [][]string{{"round", "peer", "asked Mpps", "offered", "received", "lost", "worker ns", "receive ns", "softirq ns", "all", "core busy", "other work"}}
	for round := 1; round <= r.Rounds; round++ {
		for i := range r.Peers {
			rows = append(rows, windowRows(&r.Peers[i], round)...)
		}
	}
	markdownTable(&b, rows)
	_, err := io.WriteString(w, strings.TrimRight(b.String(), "\n")+"\n")
	return err
}

func windowRows(p *PeerResult, round int) (rows [][]string) {
	for _, t := range p.Turns {
		if t.Round != round {
			continue
		}
		for i := range t.Windows {
			w := &t.Windows[i]
			rows = append(rows, []string{
				fmt.Sprint(round), string(p.Peer), fmt.Sprintf("%.3f", w.Asked/1e6), fmt.Sprintf("%.3f", w.Offered/1e6),
				fmt.Sprintf("%.3f", w.Received/1e6), lossText(w.Lost()), fmt.Sprintf("%.0f", w.Worker),
				fmt.Sprintf("%.0f", w.NAPI), fmt.Sprintf("%.0f", w.Softirq), fmt.Sprintf("%.0f", w.Cost()),
				fmt.Sprintf("%.0f %%", 100*w.Busy), fmt.Sprintf("%.0f %%", 100*w.disturbance()),
			})
		}
	}
	return rows
}

func markdownTable(b *strings.Builder, rows [][]string) {
	for i, row := range rows {
		fmt.Fprintf(b, "| %s |\n", strings.Join(row, " | "))
		if i == 0 {
			b.WriteString(strings.Repeat("|---", len(row)) + "|\n")
		}
	}
	b.WriteString("\n")
}

// Write writes NAME.md and NAME.json into a directory.
func (r *PeersResult) Write(dir, name string) (err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	page, err := os.Create(filepath.Join(dir, name+".md"))
	if err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	if err := errors.Join(r.WriteMarkdown(page), page.Close()); err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	text, err := json.MarshalIndent(r, "", "\t")
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, name+".json"), append(text, '\n'), 0o644)
	}
	if err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	return nil
}
