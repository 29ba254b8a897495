package report

import (
	"encoding/csv"
	"io"
	"strconv"

	"weir/perf/trial"
)

// WriteCSV writes a row for every trial. Rates are frames per second, durations seconds, latencies ns.
func (r *Report) WriteCSV(to io.Writer) error {
	w := csv.NewWriter(to)
	titles := []string{"result", "procedure", "trial", "step", "sizes", "rate", "duration", "offered", "offered_duration",
		"sent", "received", "lost", "loss_ratio", "duplicated", "reordered", "foreign", "void", "cut"}
	for _, q := range trial.Quantiles {
		titles = append(titles, "latency_"+quantileName(q))
	}
	_ = w.Write(titles) // the error stays until Flush
	number := func(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }
	for i := range r.Results {
		for j := range r.Results[i].Trials {
			t := &r.Results[i].Trials[j]
			row := []string{strconv.Itoa(i + 1), r.Results[i].Procedure, strconv.Itoa(t.Number), t.Step, t.Trial.Sizes.String(),
				number(t.Trial.Rate), number(t.Trial.Length().Seconds()), number(t.Rate()), number(t.Duration.Seconds()),
				countText(t.Sent), countText(t.Received), countText(t.Lost()), number(t.LossRatio()), countText(t.Duplicated),
				countText(t.Reordered), countText(t.Foreign), t.Void, strconv.FormatBool(t.Cut)}
			for _, q := range trial.Quantiles {
				cell := ""
				if t.Latency != nil {
					cell = strconv.FormatInt(int64(t.Latency.Quantile(q)), 10)
				}
				row = append(row, cell)
			}
			_ = w.Write(row)
		}
	}
	w.Flush()
	return w.Error()
}
