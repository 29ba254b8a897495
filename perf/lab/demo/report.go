package demo

import (
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// columns is how wide the text is at most.
const columns = 80

// report writes the demonstration's text, at most 80 columns wide, in colour on a terminal.
type report struct {
	out   io.Writer
	color bool
}

func newReport(out io.Writer) *report {
	return &report{out: out, color: isTerminal(out) && os.Getenv("NO_COLOR") == ""}
}

func isTerminal(out io.Writer) bool {
	f, ok := out.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

const (
	bold  = "1"
	dim   = "2"
	red   = "31"
	green = "32"
)

func (r *report) paint(color, text string) string {
	if !r.color {
		return text
	}
	return "\x1b[" + color + "m" + text + "\x1b[0m"
}

func (r *report) printf(format string, args ...any) { fmt.Fprintf(r.out, format, args...) }

const picture = `
  client-a ── em0 (priority) ┐          ┌ wan0 ── uplink0
                             ├── weir ──┤
  client-b ── em1 (guests)   ┘          └ wan1 ── uplink1

`

func (r *report) head(text string) {
	r.printf("%s\n%s", r.paint(bold, text), picture)
}

func (r *report) flow(number int, f flow) {
	r.printf("%s\n", r.paint(bold, fmt.Sprintf("%d. %s", number, f.title)))
}

func (r *report) ends(f flow, e ends) {
	r.printf("   %s %s → %s\n", f.client, e.from, e.to)
}

func (r *report) decision(d decision) {
	for i, part := range wrap("weir says: "+d.String(), columns-7) {
		r.printf("     %s%s\n", strings.Repeat(" ", 2*min(i, 1)), r.paint(dim, part))
	}
}

func (r *report) outcome(p protocol, dport uint16, d decision, o outcome, err error) {
	name := "ping"
	if p != icmp {
		name = fmt.Sprintf("%s %d", p, dport)
	}
	mark := r.paint(green, "✓")
	if err != nil {
		mark = r.paint(red, "✗")
	}
	where := strings.Join(o.arrived, ", ")
	if where == "" {
		where = "refused"
		if o.refused == nil {
			where = "nowhere"
		}
	}
	r.printf("     %s %-9s %-9s %s\n", mark, name, where, o.detail)
	if err != nil {
		for line := range strings.Lines(err.Error()) {
			for _, part := range wrap(line, columns-7) {
				r.printf("       %s\n", r.paint(red, part))
			}
		}
	}
}

// wrap breaks a text between words into lines of at most width characters; longer words stay whole.
func wrap(text string, width int) []string {
	var lines []string
	for _, word := range strings.Fields(text) {
		last := len(lines) - 1
		if last >= 0 && utf8.RuneCountInString(lines[last])+1+utf8.RuneCountInString(word) <= width {
			lines[last] += " " + word
			continue
		}
		lines = append(lines, word)
	}
	return lines
}

// size and rate are numbers for people.
func size(bytes int64) string {
	if bytes < 1<<20 {
		return fmt.Sprintf("%d KiB", bytes>>10)
	}
	return fmt.Sprintf("%d MiB", bytes>>20)
}

func rate(bitsPerSecond float64) string {
	switch {
	case bitsPerSecond >= 1e9:
		return fmt.Sprintf("%.2f Gbit/s", bitsPerSecond/1e9)
	default:
		return fmt.Sprintf("%.1f Mbit/s", bitsPerSecond/1e6)
	}
}
