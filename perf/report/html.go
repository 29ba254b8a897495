package report

import (
	_ "embed"
	"html/template"
	"io"
	"strconv"
	"time"

	"weir/perf/procedure"
	"weir/perf/trial"
)

//go:embed page.html
var pageText string

var page = template.Must(template.New("page").Funcs(template.FuncMap{
	"headline": headline,
	"titles":   func(t table) []string { return t.Rows[0] },
	"cells":    func(t table) [][]string { return t.Rows[1:] },
	"svg":      func(p plot) template.HTML { return p.svg() },
	"trials":   trialsTable,
}).Parse(pageText))

// WriteHTML writes a page that stands on its own: styles and plots are in it, and it asks the network for nothing.
func (r *Report) WriteHTML(to io.Writer) error {
	return page.Execute(to, struct {
		Title       string
		Sections    []section
		Environment table
		Tester      table
	}{r.Title, r.sections(), r.environmentTable(), r.testerTable()})
}

// trialsMax is how many trials a page lists; the CSV has all.
const trialsMax = 400

func trialsTable(r *procedure.Result) table {
	var t table
	t.row("trial", "step", "frames, bytes", "rate", "for", "sent", "lost", "loss", "p50", "p99", "remark")
	for i := range r.Trials[:min(len(r.Trials), trialsMax)] {
		o := &r.Trials[i]
		p50, p99, remark := none, none, o.Void
		if o.Latency != nil {
			p50, p99 = timeText(o.Latency.Quantile(0.5)), timeText(o.Latency.Quantile(0.99))
		}
		if o.Cut {
			remark = "cut short"
		}
		t.row(strconv.Itoa(o.Number), o.Step, o.Trial.Sizes.String(), rateText(o.Trial.Rate), lengthText(&o.Trial),
			countText(o.Sent), countText(o.Lost()), lossText(o.LossRatio()), p50, p99, remark)
	}
	if more := len(r.Trials) - trialsMax; more > 0 {
		t.row("…", strconv.Itoa(more)+" more in the CSV", "", "", "", "", "", "", "", "", "")
	}
	return t
}

func lengthText(t *trial.Trial) string {
	if t.Frames > 0 {
		return countText(t.Frames) + " frames"
	}
	return t.Length().Round(time.Millisecond).String()
}
