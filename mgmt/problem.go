package mgmt

import (
	"fmt"
	"slices"
	"strings"

	"weir/mgmt/document"
)

// Severity says whether a problem refuses the configuration.
type Severity string

// Severities.
const (
	Error   Severity = "error"   // the configuration is refused
	Warning Severity = "warning" // it is accepted, and probably not what was meant
)

// Problem is one thing that is wrong with a configuration.
type Problem struct {
	Position
	Path     string   `json:"path,omitempty"` // tables.x.routes[2].via; empty for syntax errors
	Message  string   `json:"message"`
	Severity Severity `json:"severity"`
}

// String is FILE:LINE:COLUMN: path: message, on one line.
func (p Problem) String() string {
	var b strings.Builder
	if p.File != "" {
		if p.Line > 0 {
			b.WriteString(p.Position.String())
		} else {
			b.WriteString(p.File)
		}
		b.WriteString(": ")
	}
	if p.Path != "" {
		b.WriteString(p.Path)
		b.WriteString(": ")
	}
	if p.Severity == Warning {
		b.WriteString("warning: ")
	}
	b.WriteString(p.Message)
	return b.String()
}

// Problems is a list of problems in the order of their positions.
type Problems []Problem

// String is one problem a line.
func (p Problems) String() string {
	var b strings.Builder
	for _, q := range p {
		b.WriteString(q.String())
		b.WriteByte('\n')
	}
	return b.String()
}

// Refused reports whether one of the problems is an error.
func (p Problems) Refused() bool {
	return slices.ContainsFunc(p, func(q Problem) bool { return q.Severity == Error })
}

// Err is nil if nothing refuses the configuration, and else an error whose text is all of them, one a line.
func (p Problems) Err() error {
	if !p.Refused() {
		return nil
	}
	return &ConfigError{Problems: p}
}

// ConfigError is a refused configuration.
type ConfigError struct{ Problems Problems }

func (e *ConfigError) Error() string { return strings.TrimSuffix(e.Problems.String(), "\n") }

// Listed problems. What goes beyond is counted, not kept: a file with a million bad lines must not cost a million
// messages.
const (
	listedMax       = 100 // of the configuration, for each severity
	listedRoutesMax = 20  // of one routes-file
)

// found is a problem on its way to the list.
type found struct {
	at       spot
	problem  Problem
	sequence int // order of finding, for problems of one spot
}

// findings collects the problems of one configuration.
type findings struct {
	list    []found
	more    map[Severity]int // not listed
	errors  int
	listing map[Severity]int
}

// full reports that another error would only be counted, so that its message need not be made.
func (f *findings) full() bool { return f.listing[Error] >= listedMax }

func (f *findings) add(at spot, path, message string, severity Severity) {
	if severity == Error {
		f.errors++
	}
	if f.listing == nil {
		f.listing, f.more = map[Severity]int{}, map[Severity]int{}
	}
	if f.listing[severity] >= listedMax {
		f.more[severity]++
		return
	}
	f.listing[severity]++
	f.list = append(f.list, found{at, Problem{Path: path, Message: message, Severity: severity}, len(f.list)})
}

// problems is the list, sorted; files resolves the file indexes of spots.
func (f *findings) problems(files []string) Problems {
	slices.SortFunc(f.list, func(a, b found) int {
		switch {
		case a.at.before(b.at):
			return -1
		case b.at.before(a.at):
			return 1
		}
		return a.sequence - b.sequence
	})
	var list Problems
	for _, q := range f.list {
		q.problem.Position = Position{files[q.at.file], int(q.at.line), int(q.at.column)}
		list = append(list, q.problem)
	}
	for _, s := range []Severity{Error, Warning} {
		if n := f.more[s]; n > 0 {
			list = append(list, Problem{Position: Position{File: files[0]}, Message: fmt.Sprintf("and %d more", n), Severity: s})
		}
	}
	return list
}

// clip is document.Clip: text of the user's that goes into a message.
func clip(s string) string { return document.Clip(s) }
