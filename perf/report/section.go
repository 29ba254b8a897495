package report

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"weir/perf/procedure"
	"weir/perf/trial"
)

// table is rows of cells, the first of which are titles.
type table struct {
	Title string
	Rows  [][]string
}

func (t *table) row(cells ...string) { t.Rows = append(t.Rows, cells) }

// section is a result as a page shows it.
type section struct {
	Result *procedure.Result
	Tables []table
	Plots  []plot
}

func (r *Report) sections() []section {
	sections := make([]section, len(r.Results))
	for i := range r.Results {
		result := &r.Results[i]
		sections[i] = section{Result: result, Tables: tables(result), Plots: plots(result)}
	}
	return sections
}

// tables are those of a result that have rows.
func tables(r *procedure.Result) (all []table) {
	for _, make := range []func(*procedure.Result) table{
		boundsTable, latencyTable, lossTable, burstTable, recoveryTable, resetTable, reconfigurationTable, runTable,
	} {
		if t := make(r); len(t.Rows) > 1 {
			t.trim()
			all = append(all, t)
		}
	}
	return all
}

// trim drops the last column, which has remarks, where there are none.
func (t *table) trim() {
	last := len(t.Rows[0]) - 1
	if slices.ContainsFunc(t.Rows[1:], func(row []string) bool { return row[last] != "" }) {
		return
	}
	for i, row := range t.Rows {
		t.Rows[i] = row[:last]
	}
}

func boundsTable(r *procedure.Result) table {
	t := table{Title: "Throughput"}
	t.row("frames, bytes", "goal", "throughput", "on the wire", "of the link", "relevant lower bound", "relevant upper bound", "remark")
	for _, b := range r.Bounds {
		remark := b.Note
		if !b.Regular {
			remark = strings.TrimSuffix("irregular: "+remark, ": ")
		}
		throughput, bits, share := rateText(b.Throughput), bitsText(b.Throughput, b.Sizes), none
		if b.Line > 0 && b.Throughput > 0 {
			share = percentText(b.Throughput / b.Line)
		}
		if b.Refused != "" {
			throughput, bits, share, remark = "not stated", none, none, b.Refused
		}
		t.row(b.Sizes.String(), b.Goal.Name, throughput, bits, share, rateText(b.Lower), rateText(b.Upper), remark)
	}
	return t
}

func latencyTable(r *procedure.Result) table {
	t := table{Title: "Latency"}
	titles := []string{"frames, bytes", "rate", "of throughput", "repeats", "mean of means"}
	for _, q := range trial.Quantiles {
		titles = append(titles, quantileName(q))
	}
	t.row(append(titles, "lost")...)
	for _, at := range r.Latencies {
		cells := []string{at.Sizes.String(), rateText(at.Rate), percentText(at.Share), fmt.Sprint(len(at.Means)), timeText(average(at.Means))}
		for _, q := range trial.Quantiles {
			cells = append(cells, timeText(at.Latency.Quantile(q)))
		}
		t.row(append(cells, countText(at.Lost))...)
	}
	return t
}

func average(times []time.Duration) time.Duration {
	var sum time.Duration
	for _, d := range times {
		sum += d
	}
	return sum / time.Duration(max(1, len(times)))
}

func lossTable(r *procedure.Result) table {
	t := table{Title: "Frame loss"}
	t.row("frames, bytes", "of the highest rate", "rate", "loss", "remark")
	for _, at := range r.Losses {
		loss := lossText(at.Loss)
		if at.Refused != "" {
			loss = "not stated"
		}
		t.row(at.Sizes.String(), percentText(at.Share), rateText(at.Rate), loss, at.Refused)
	}
	return t
}

func burstTable(r *procedure.Result) table {
	t := table{Title: "Back-to-back frames"}
	t.row("frames, bytes", "burst rate", "tests", "step", "mean", "min", "max", "standard deviation", "buffer time", "corrected", "remark")
	for _, b := range r.Bursts {
		if b.Refused != "" {
			t.row(b.Sizes.String(), rateText(b.Rate), fmt.Sprint(len(b.Lengths)), countText(b.Step), "not stated", none, none, none, none, none, b.Refused)
			continue
		}
		t.row(b.Sizes.String(), rateText(b.Rate), fmt.Sprint(len(b.Lengths)), countText(b.Step), fmt.Sprintf("%.1f", b.Mean),
			countText(b.Min), countText(b.Max), fmt.Sprintf("%.1f", b.Deviation), timeText(b.Implied), timeText(b.Corrected), "")
	}
	return t
}

func recoveryTable(r *procedure.Result) table {
	t := table{Title: "System recovery"}
	t.row("frames, bytes", "overload", "then", "mean", "times", "remark")
	for _, at := range r.Recoveries {
		mean := timeText(at.Mean)
		if len(at.Times) == 0 {
			mean = "not stated"
		}
		t.row(at.Sizes.String(), rateText(at.Overload), rateText(at.Then), mean, timesText(at.Times), at.Refused)
	}
	return t
}

func timesText(times []time.Duration) string {
	if len(times) == 0 {
		return none
	}
	texts := make([]string, len(times))
	for i, d := range times {
		texts[i] = timeText(d)
	}
	return strings.Join(texts, ", ")
}

func resetTable(r *procedure.Result) table {
	t := table{Title: "Reset"}
	t.row("frames, bytes", "rate", "reset", "without frames", "lost, in time", "remark")
	for _, at := range r.Resets {
		t.row(at.Sizes.String(), rateText(at.Rate), at.Reset, timesText(at.Gaps), timesText(at.Losses), at.Refused)
	}
	return t
}

func reconfigurationTable(r *procedure.Result) table {
	t := table{Title: "Reconfiguration"}
	t.row("frames, bytes", "rate", "change", "change took", "lost", "blocked")
	for _, at := range r.Reconfigurations {
		for i := range at.Lost {
			t.row(at.Sizes.String(), rateText(at.Rate), at.Change, timeText(at.Took[i]), countText(at.Lost[i]), timeText(at.Blocked[i]))
		}
	}
	return t
}

func runTable(r *procedure.Result) table {
	t := table{Title: "Trials"}
	titles := []string{"frames, bytes", "rate", "sent at", "for", "sent", "lost", "loss", "duplicated", "reordered", "foreign"}
	shares := []float64{0.5, 0.99, 0.999, 1}
	for _, q := range shares {
		titles = append(titles, quantileName(q))
	}
	t.row(titles...)
	for _, at := range r.Runs {
		o := r.Find(at.Trial)
		cells := []string{at.Sizes.String(), rateText(at.Rate), rateText(o.Rate()), o.Duration.Round(time.Millisecond).String(),
			countText(o.Sent), countText(o.Lost()), lossText(at.Loss), countText(o.Duplicated), countText(o.Reordered), countText(o.Foreign)}
		for _, q := range shares {
			text := none
			if o.Latency != nil {
				text = timeText(o.Latency.Quantile(q))
			}
			cells = append(cells, text)
		}
		t.row(cells...)
	}
	return t
}

// testerTable has what the tester measured of itself for any of the results, once.
func (r *Report) testerTable() table {
	t := table{Title: "The tester itself"}
	t.row("frames, bytes", "generator's ceiling", "link", "link's rate", "latency without a device: p50", "p99", "max")
	for i := range r.Results {
		for _, c := range r.Results[i].Calibrations {
			row := []string{c.Sizes.String(), rateText(c.Ceiling), speedText(float64(c.LinkSpeed)), rateText(c.Sizes.LineRate(c.LinkSpeed)), none, none, none}
			if c.Bias != nil {
				row = append(row[:4], timeText(c.Bias.Quantile(0.5)), timeText(c.Bias.Quantile(0.99)), timeText(c.Bias.Quantile(1)))
			}
			if !slices.ContainsFunc(t.Rows, func(have []string) bool { return slices.Equal(have, row) }) {
				t.Rows = append(t.Rows, row)
			}
		}
	}
	return t
}

// headline is a result in a sentence or a few.
func headline(r *procedure.Result) string {
	var parts []string
	for _, b := range r.Bounds {
		switch {
		case b.Refused != "":
			parts = append(parts, fmt.Sprintf("%s of %s bytes not stated (%s)", b.Goal.Name, b.Sizes, b.Refused))
		case b.Throughput > 0:
			parts = append(parts, fmt.Sprintf("%s of %s bytes %s", b.Goal.Name, b.Sizes, rateText(b.Throughput)))
		default:
			parts = append(parts, fmt.Sprintf("no %s of %s bytes: %s", b.Goal.Name, b.Sizes, b.Note))
		}
	}
	for _, at := range r.Latencies {
		parts = append(parts, fmt.Sprintf("latency of %s bytes at %s: %s in the median, p99 %s", at.Sizes, rateText(at.Rate),
			timeText(at.Latency.Quantile(0.5)), timeText(at.Latency.Quantile(0.99))))
	}
	parts = append(parts, lossHeadlines(r)...)
	for _, b := range r.Bursts {
		if b.Refused == "" && len(b.Lengths) > 0 {
			parts = append(parts, fmt.Sprintf("%.0f frames of %s bytes back to back", b.Mean, b.Sizes))
		}
	}
	for _, at := range r.Recoveries {
		if len(at.Times) > 0 {
			parts = append(parts, fmt.Sprintf("recovers in %s from %s of %s bytes", timeText(at.Mean), rateText(at.Overload), at.Sizes))
		}
	}
	for _, at := range r.Resets {
		if len(at.Gaps) > 0 {
			parts = append(parts, fmt.Sprintf("%s: %s without frames", at.Reset, timesText(at.Gaps)))
		}
	}
	for _, at := range r.Reconfigurations {
		parts = append(parts, fmt.Sprintf("%s at %s of %s bytes blocks for %s", at.Change, rateText(at.Rate), at.Sizes, timesText(at.Blocked)))
	}
	for _, at := range r.Runs {
		parts = append(parts, fmt.Sprintf("%s of %s bytes: %s lost", rateText(at.Rate), at.Sizes, lossText(at.Loss)))
	}
	text := strings.Join(parts, "; ")
	if text == "" && r.Partial == "" {
		text = "nothing can be stated"
	}
	if r.Partial != "" {
		text = strings.TrimSuffix("partial ("+r.Partial+"): "+text, ": ")
	}
	return text
}

// lossHeadlines say of every mix at which of the rates tried nothing was lost.
func lossHeadlines(r *procedure.Result) (parts []string) {
	best := make(map[string]float64)
	var order []string
	for _, at := range r.Losses {
		name := at.Sizes.String()
		if !slices.Contains(order, name) {
			order = append(order, name)
		}
		if at.Loss == 0 && at.Refused == "" {
			best[name] = max(best[name], at.Rate)
		}
	}
	for _, name := range order {
		if best[name] == 0 {
			parts = append(parts, fmt.Sprintf("%s bytes lose at every rate", name))
			continue
		}
		parts = append(parts, fmt.Sprintf("%s bytes lose nothing at %s", name, rateText(best[name])))
	}
	return parts
}

// environmentTable is the environment block.
func (r *Report) environmentTable() table {
	e, t := &r.Environment, table{Title: "Environment"}
	t.row("what", "value")
	t.row("device", e.Device)
	if e.Traffic != "" {
		t.row("traffic", e.Traffic)
	}
	t.row("command", e.CommandLine)
	t.row("weir", e.Machine.Commit+", "+e.Machine.Go)
	t.row("CPU", fmt.Sprintf("%s, %d cores", e.Machine.CPU, e.Machine.Cores))
	t.row("memory", fmt.Sprintf("%.1f GiB", float64(e.Machine.Memory)/(1<<30)))
	t.row("kernel", e.Machine.Kernel)
	for _, p := range e.Ports {
		text := fmt.Sprintf("%s: %s, %s, %d queues, MTU %d", p.Role, p.Driver, speedText(float64(p.Speed)), p.Queues, p.MTU)
		if p.Copy != "" {
			text += ", " + p.Copy
		}
		t.row("port "+p.Name, text)
	}
	t.row("started", fmt.Sprintf("%s UTC, took %v", e.Started.UTC().Format(time.DateTime), e.Elapsed.Round(time.Second)))
	t.row("load average", fmt.Sprintf("%.1f before, %.1f after", e.LoadBefore, e.LoadAfter))
	return t
}
