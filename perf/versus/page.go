package versus

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"weir/perf/environment"
)

// Spread is a figure of every round: the median is what is said, minimum and maximum are how much it is worth.
type Spread []float64

// Per divides round by round.
func (s Spread) Per(other Spread) Spread {
	ratios := make(Spread, len(s))
	for i := range s {
		ratios[i] = s[i] / other[i]
	}
	return ratios
}

// Median is the middle one, the upper of two.
func (s Spread) Median() float64 { return slices.Sorted(slices.Values(s))[len(s)/2] }

// Text is "median (min–max)", each in a format.
func (s Spread) Text(format string) string {
	return fmt.Sprintf(format+" ("+format+"–"+format+")", s.Median(), slices.Min(s), slices.Max(s))
}

// Page is a page of results.
type Page struct {
	strings.Builder
	begun time.Time
}

// NewPage begins a page.
func NewPage(title string) *Page {
	p := &Page{begun: time.Now()}
	fmt.Fprintf(p, "# %s\n\n", title)
	return p
}

// Line writes a line of text, or a row of a table.
func (p *Page) Line(format string, args ...any) { fmt.Fprintf(p, format+"\n", args...) }

// Row writes a row of a table.
func (p *Page) Row(cells ...string) { p.Line("| %s |", strings.Join(cells, " | ")) }

// Table begins a table.
func (p *Page) Table(titles ...string) {
	p.Line("")
	p.Row(titles...)
	p.Line("|%s", strings.Repeat("---|", len(titles)))
}

// Conditions are what the figures were measured under. rows are pairs.
func (p *Page) Conditions(command string, rows ...[2]string) {
	m := environment.ThisMachine()
	p.Line("\n## Conditions")
	p.Table("what", "value")
	for _, row := range append([][2]string{
		{"started", fmt.Sprintf("%s UTC, %v", p.begun.UTC().Format(time.DateTime), time.Since(p.begun).Round(time.Second))},
		{"command", "`" + command + "`"},
		{"weir", m.Commit + ", " + m.Go},
		{"CPU", fmt.Sprintf("%s, %d cores", m.CPU, m.Cores)},
		{"kernel", m.Kernel},
		{"load average at the end", fmt.Sprintf("%.1f", environment.LoadAverage())},
	}, rows...) {
		p.Row(row[:]...)
	}
}

// Publish logs the page, and writes it to a file if there is a name.
func (p *Page) Publish(tb testing.TB, name string) {
	tb.Helper()
	tb.Log("\n" + p.String())
	if name == "" {
		return
	}
	if err := os.WriteFile(name, []byte(p.String()), 0o644); err != nil {
		tb.Fatal(err)
	}
}
