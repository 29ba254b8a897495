package perf

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"weir/perf/environment"
)

// Stage is what one takes, ns of CPU time per packet: by medians, and the range over rounds.
type Stage struct {
	Name         string
	NS, Min, Max float64
}

func (t *Stage) text() string { return fmt.Sprintf("%.1f (%.1f–%.1f)", t.NS, t.Min, t.Max) }

// StagesResult is what Stages has measured.
type StagesResult struct {
	Setting     string // rules, marks, routes, traffic
	Machine     environment.Machine
	CommandLine string
	Started     time.Time
	Elapsed     time.Duration
	Rounds      int
	Packets     int // of a pass
	Stages      []Stage
	Total       Stage   // the sum of the stages: the router's code, without the delivery of frames
	Deliver     float64 // copying a frame into its chunk, ns, in place of the kernel's
	LoadAfter   float64 // of the machine, runnable threads in the last minute
}

func newStagesResult(o *StagesOptions) *StagesResult {
	r := &StagesResult{Setting: o.setting(), Machine: environment.ThisMachine(), CommandLine: o.CommandLine, Started: time.Now(), Rounds: o.Rounds, Packets: o.Packets}
	r.Machine.Driver = "none: frames are copied in"
	if o.Version != "" && o.Version != "unknown" {
		r.Machine.Commit = o.Version
	}
	return r
}

// setting is the configuration and the traffic in a few words.
func (o *StagesOptions) setting() string {
	family, wide, traffic := "IPv4", "", "1024 destinations"
	if o.Load.IPv6 {
		family = "IPv6"
	}
	if o.Load.Wide {
		wide = "wide "
	}
	if len(o.Load.Routes) > 0 {
		traffic = "zipf"
		if o.Uniform {
			traffic = "uniform"
		}
	}
	return fmt.Sprintf("%s, %d %srules, %d marks, %d routes, %s", family, o.Load.Rules, wide, o.Load.Marks, max(1, len(o.Load.Routes)), traffic)
}

// Goals of the router's code per packet: 1,000 rules, the Internet's table, traffic by Zipf's distribution.
const (
	stagesGoal    = 120 // ns
	stagesStretch = 60
)

// verdict holds the total to the goal.
func (r *StagesResult) verdict() string {
	switch {
	case r.Total.NS <= stagesStretch:
		return fmt.Sprintf("met, and the stretch of %d", stagesStretch)
	case r.Total.NS <= stagesGoal:
		return "met"
	}
	return "missed"
}

const stagesLegend = "`match` finds the rules that match, and asks tables without array forms as if they were empty; `trees` is what these have more to do, and all that " +
	"is left for packets that one of them has a route for; `arrays` asks the others. " +
	"`send` has the adjacency, Encap, the egress's batch, and the worker's clock and counters of each batch."

// WriteText writes the table for a terminal.
func (r *StagesResult) WriteText(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "stage\tns/packet (min–max)\tshare\n")
	for i := range r.Stages {
		s := &r.Stages[i]
		fmt.Fprintf(t, "%s\t%s\t%.0f %%\n", s.Name, s.text(), 100*s.NS/r.Total.NS)
	}
	fmt.Fprintf(t, "total\t%s\tgoal for 1,000 rules, full table, zipf: ≤ %d, stretch ≤ %d\n", r.Total.text(), stagesGoal, stagesStretch)
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "%s: medians of %d rounds of %d packets in batches of 64, CPU time of the thread. %s\n",
		r.Setting, r.Rounds, r.Packets, strings.ReplaceAll(stagesLegend, "`", ""))
	return err
}

// WriteStages writes a page with several settings, of which goal is the one that the goal is for.
func WriteStages(w io.Writer, results []*StagesResult, goal int, command string) error {
	var b strings.Builder
	r := results[goal]
	fmt.Fprintf(&b, "# Stages\n\nThe router's code takes %.0f ns (%.0f–%.0f) of CPU time a packet with %s: everything but I/O. The goal is ≤ %d ns: %s.\n\n",
		r.Total.NS, r.Total.Min, r.Total.Max, r.Setting, stagesGoal, r.verdict())
	head, total, rows := []string{"stage, ns"}, []string{"total"}, make([][]string, len(r.Stages))
	var settings [][]string
	for i, r := range results {
		head, total = append(head, string(rune('A'+i))), append(total, "**"+r.Total.text()+"**")
		settings = append(settings, []string{string(rune('A' + i)), r.Setting, fmt.Sprintf("%.1f", r.Deliver), r.Started.UTC().Format(time.DateTime), fmt.Sprintf("%.1f", r.LoadAfter)})
		for j := range r.Stages {
			if i == 0 {
				rows[j] = []string{r.Stages[j].Name}
			}
			rows[j] = append(rows[j], r.Stages[j].text())
		}
	}
	markdownTable(&b, append(append([][]string{head}, rows...), total))
	markdownTable(&b, append([][]string{{"", "setting", "delivery of a frame, ns, not counted", "started, UTC", "load average after"}}, settings...))
	fmt.Fprintf(&b, "Medians of %d rounds (min–max) of %d packets in batches of 64, CPU time of the thread. The loop is run as far as a stage over all packets; "+
		"a stage is the difference to the one before, so that they add up to the total; a small one may come out below 0 in a round. %s\n\n"+
		"Rules and statements ask for sources that do not occur; wide ones also for destinations, protocols, ports, the port a packet came in on, marks and DSCP. No packet matches one.\n\n## Conditions\n\n",
		r.Rounds, r.Packets, stagesLegend)
	markdownTable(&b, [][]string{
		{"what", "value"},
		{"command", "`" + command + "`"},
		{"weir", r.Machine.Commit + ", " + r.Machine.Go},
		{"CPU", fmt.Sprintf("%s, %d cores", r.Machine.CPU, r.Machine.Cores)},
		{"kernel", r.Machine.Kernel},
		{"frames", "UDP, 64 bytes with FCS, IPv6 66"},
	})
	_, err := io.WriteString(w, strings.TrimRight(b.String(), "\n")+"\n")
	return err
}
