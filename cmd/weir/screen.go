package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode/utf8"
)

// screen draws rates on a terminal, over what it drew before (ECMA-48 control sequences).
type screen struct {
	file  *os.File
	color bool
	begun bool
}

const (
	screenHome  = "\x1b[H"    // to the first column of the first row
	screenClear = "\x1b[2J"   // everything
	screenRest  = "\x1b[J"    // from here to the end
	screenLine  = "\x1b[K"    // from here to the end of the line
	cursorHide  = "\x1b[?25l" // (DEC, as xterm)
	cursorShow  = "\x1b[?25h"
	styleBold   = "\x1b[1m"
	stylePlain  = "\x1b[0m"
)

// newScreen draws on a terminal; without styles where NO_COLOR says so (no-color.org).
func newScreen(f *os.File) *screen { return &screen{file: f, color: os.Getenv("NO_COLOR") == ""} }

// close leaves the last table where it is, and the cursor below it.
func (s *screen) close() {
	if s.begun {
		fmt.Fprint(s.file, cursorShow)
	}
}

// draw shows the rates, as much of them as fits.
func (s *screen) draw(out io.Writer, r *rates, again bool) error {
	columns, rows, _ := terminalSize(s.file)
	var b bytes.Buffer
	if !s.begun || again {
		b.WriteString(cursorHide + screenClear)
		s.begun = true
	}
	b.WriteString(screenHome)
	for i, line := range strings.Split(strings.TrimSuffix(ratesText(r), "\n"), "\n") {
		if i == rows-1 {
			break // the last row stays free, for the cursor
		}
		heading := strings.ToUpper(line) == line
		line = clip(line, columns)
		if heading && s.color {
			line = styleBold + line + stylePlain
		}
		b.WriteString(line + screenLine + "\n")
	}
	b.WriteString(screenRest)
	_, err := out.Write(b.Bytes())
	return err
}

// clip cuts a line to the width of the terminal.
func clip(line string, columns int) string {
	if utf8.RuneCountInString(line) <= columns {
		return line
	}
	return string([]rune(line)[:columns])
}

// ratesText is the table.
func ratesText(r *rates) string {
	var b strings.Builder
	fmt.Fprintf(&b, "weir  %s  generation %d\n", r.at.Format(time.TimeOnly), r.generation)
	for _, t := range r.trouble {
		fmt.Fprintf(&b, "DEGRADED: %s\n", t)
	}
	b.WriteString("\n" + table(func(row func(...any)) {
		row("PORT", "IN PKT/S", "IN BIT/S", "OUT PKT/S", "OUT BIT/S", "DROPS/S", "LINK")
		for _, p := range r.ports {
			row(p.name, scaled(p.in.packets), scaled(p.in.bits), scaled(p.out.packets), scaled(p.out.bits), scaled(p.dropped), p.link)
		}
	}))
	b.WriteString("\n" + table(func(row func(...any)) {
		row("WORKER", "CPU", "BUSY", "PKT/S", "PKT/BATCH")
		for _, w := range r.workers {
			row(w.worker, w.cpu, percent(w.busy), scaled(w.packets), perBatchText(w.perBatch))
		}
	}))
	b.WriteString("\n" + table(func(row func(...any)) {
		row("DROPPED", "PKT/S")
		for _, d := range r.drops {
			row(d.reason, scaled(d.packets))
		}
		if len(r.drops) == 0 {
			row("nothing", "0")
		}
	}))
	return b.String()
}
