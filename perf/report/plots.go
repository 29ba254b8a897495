package report

import (
	"fmt"
	"math"
	"slices"
	"strconv"

	"weir/perf/procedure"
	"weir/perf/trial"
)

// plots are those that a result has points for.
func plots(r *procedure.Result) (all []plot) {
	for _, make := range []func(*procedure.Result) []plot{throughputPlot, lossPlot, latencyPlots, seriesPlots} {
		for _, p := range make(r) {
			if len(p.lines) > 0 {
				all = append(all, p)
			}
		}
	}
	return all
}

// logFrom is how many times what a device does a link allows, where a linear axis would no longer show the device.
const logFrom = 20

// throughputPlot is frames per second by frame size, a line for each goal, with the rates that links allow (RFC 2544 section
// 26.1). Mixes have no place on the axis, and what was refused is not drawn.
func throughputPlot(r *procedure.Result) []plot {
	p := plot{title: "Throughput by frame size", x: axis{label: "frame size, bytes with FCS", log: true}, y: axis{label: "Mpps", zero: true}}
	var goals []string
	of := make(map[string][]point)
	speeds := make(map[uint64]bool)
	for _, b := range r.Bounds {
		if len(b.Sizes) > 1 || b.Refused != "" || b.Throughput == 0 {
			continue
		}
		if of[b.Goal.Name] == nil {
			goals = append(goals, b.Goal.Name)
		}
		size := float64(b.Sizes[0])
		p.y.log = p.y.log || b.Line/b.Throughput > logFrom
		of[b.Goal.Name] = append(of[b.Goal.Name], point{size, b.Throughput / 1e6})
		if !slices.ContainsFunc(p.x.ticks, func(t tick) bool { return t.at == size }) {
			p.x.ticks = append(p.x.ticks, tick{size, strconv.Itoa(b.Sizes[0])})
		}
	}
	if len(p.x.ticks) < 2 {
		return nil
	}
	for _, name := range goals {
		p.lines = append(p.lines, line{name: name, points: of[name]})
	}
	for _, c := range r.Calibrations {
		if c.LinkSpeed == 0 || speeds[c.LinkSpeed] {
			continue
		}
		speeds[c.LinkSpeed] = true
		l := line{name: "link, " + speedText(float64(c.LinkSpeed)), theory: true}
		from, to := p.x.ticks[0].at, p.x.ticks[len(p.x.ticks)-1].at
		for n := range 65 {
			size := from * math.Pow(to/from, float64(n)/64)
			l.points = append(l.points, point{size, float64(c.LinkSpeed) / 8 / (size + 20) / 1e6})
		}
		p.lines = append(p.lines, l)
	}
	return []plot{p}
}

// lossPlot is loss by rate, a line for each mix, on the axes of RFC 2544 section 26.3: both in percent, the rate of the highest.
func lossPlot(r *procedure.Result) []plot {
	p := plot{title: "Frame loss by rate", x: axis{label: "offered, % of the highest rate"}, y: axis{label: "loss, %", zero: true}}
	for percent := 0; percent <= 100; percent += 10 {
		p.x.ticks = append(p.x.ticks, tick{float64(percent), strconv.Itoa(percent)})
	}
	for _, at := range r.Losses {
		if at.Refused != "" {
			continue
		}
		name := at.Sizes.String() + " bytes"
		i := slices.IndexFunc(p.lines, func(l line) bool { return l.name == name })
		if i < 0 {
			i = len(p.lines)
			p.lines = append(p.lines, line{name: name})
		}
		p.lines[i].points = append(p.lines[i].points, point{100 * at.Share, 100 * at.Loss})
	}
	return []plot{p}
}

// latencyPlots are latencies by percentile, a line for each rate and a plot for each mix. The axis has a tick for every nine.
func latencyPlots(r *procedure.Result) (all []plot) {
	for _, at := range r.Latencies {
		title := fmt.Sprintf("Latency by percentile, %s bytes", at.Sizes)
		i := slices.IndexFunc(all, func(p plot) bool { return p.title == title })
		if i < 0 {
			i = len(all)
			all = append(all, plot{title: title, y: axis{label: "latency, µs", log: true},
				x: axis{label: "share of frames that are not slower", ticks: []tick{{0, "0"}, {nines(0.5), "50 %"}, {1, "90 %"}, {2, "99 %"}}}})
		}
		p := &all[i]
		// A percentile that less than one frame lies beyond says nothing.
		most := math.Log10(max(1, float64(at.Latency.Count())))
		for n := 3; n <= 6 && float64(n) <= most; n++ {
			if at := float64(n); p.x.ticks[len(p.x.ticks)-1].at < at {
				p.x.ticks = append(p.x.ticks, tick{at, fmt.Sprintf("99.%s %%", "9999"[:n-2])})
			}
		}
		l := line{name: fmt.Sprintf("%s (%s)", percentText(at.Share), rateText(at.Rate)), plain: true}
		for n := 0.0; n <= min(6, most); n += 0.05 {
			l.points = append(l.points, point{n, float64(at.Latency.Quantile(1-math.Pow(10, -n))) / 1e3})
		}
		p.lines = append(p.lines, l)
	}
	return all
}

// nines is where a percentile is on the axis: 0.9 at 1, 0.99 at 2.
func nines(share float64) float64 { return -math.Log10(1 - share) }

// seriesPlots are the rates and the loss over time of trials where that matters: those of runs and soaks, and the first of what is done to
// a device.
func seriesPlots(r *procedure.Result) (all []plot) {
	var shown []*trial.Record
	for _, at := range r.Runs {
		shown = append(shown, r.Find(at.Trial))
	}
	steps := make(map[string]bool)
	for i := range r.Trials {
		t := &r.Trials[i]
		if key := t.Trial.Sizes.String(); (t.Trial.During != nil || len(t.Trial.Then) > 0) && !steps[key] {
			steps[key] = true
			shown = append(shown, t)
		}
	}
	for _, t := range shown {
		if len(t.Series) < 2 {
			continue
		}
		sent, received, lost := line{name: "sent", plain: true}, line{name: "of that received", plain: true}, line{name: "lost", plain: true}
		loses := false
		for _, part := range t.Series {
			seconds := part.Duration.Seconds()
			middle := part.At.Seconds() + seconds/2
			sent.points = append(sent.points, point{middle, float64(part.Sent) / seconds / 1e6})
			received.points = append(received.points, point{middle, float64(part.Received) / seconds / 1e6})
			gone := part.Sent - min(part.Sent, part.Received)
			lost.points = append(lost.points, point{middle, 100 * float64(gone) / float64(max(1, part.Sent))})
			loses = loses || gone > 0
		}
		title := fmt.Sprintf("Trial %d over time, %s bytes", t.Number, t.Trial.Sizes)
		x := axis{label: "s", zero: true}
		all = append(all, plot{title: title, x: x, y: axis{label: "Mpps", zero: true}, lines: []line{sent, received}})
		if loses { // which need not show between rates
			all = append(all, plot{title: title + ": loss", x: x, y: axis{label: "loss, %", zero: true}, lines: []line{lost}})
		}
	}
	return all
}
