package main

import (
	"fmt"
	"os"
	"time"

	"weir/perf/procedure"
)

// progress shows how far a procedure is: on a terminal in one line that changes, elsewhere in a line for every trial.
type progress struct {
	file     *os.File
	terminal bool
	open     bool // the line on the terminal has no end yet
}

func newProgress(f *os.File) *progress {
	_, _, terminal := terminalSize(f)
	return &progress{file: f, terminal: terminal && os.Getenv("TERM") != "dumb"}
}

// show is procedure.Common's Progress.
func (p *progress) show(now procedure.Progress) {
	loss := "…"
	if now.Done {
		loss = fmt.Sprintf("loss %.4f %%", 100*now.Loss)
	}
	line := fmt.Sprintf("%s: %s, %s bytes, %s packets/s for %v, %s, %v left", now.Procedure, now.Step, now.Trial.Sizes, scaled(now.Trial.Rate),
		now.Trial.Length().Round(time.Millisecond), loss, now.Left.Round(time.Second))
	switch {
	case p.terminal:
		columns, _, _ := terminalSize(p.file)
		fmt.Fprint(p.file, "\r"+clip(line, columns-1)+screenLine)
		p.open = true
	case now.Done:
		fmt.Fprintln(p.file, line)
	}
}

// close ends the line.
func (p *progress) close() {
	if p.open {
		fmt.Fprint(p.file, "\r"+screenLine)
	}
}
