package mgmt

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
)

// pipes are what may follow a command behind a `|`.
var pipes = []Candidate{
	{"json", "for programs"},
	{"match", "lines that a regular expression fits (RE2): match REGEX"},
	{"except", "lines that it does not fit: except REGEX"},
	{"count", "how many lines"},
	{"no-more", "without a pager, as always"},
}

// filter is a part of a line behind a `|` that works on lines: one of the two.
type filter struct {
	expression *regexp.Regexp
	except     bool

	count bool
}

// pipe takes a part of the line behind a `|`.
func (i *Invocation) pipe(words []string) error {
	if len(words) == 0 {
		return errors.New("nothing behind |")
	}
	name, args := words[0], words[1:]
	takes := 0
	if name == "match" || name == "except" {
		takes = 1
	}
	switch {
	case !slices.ContainsFunc(pipes, func(c Candidate) bool { return c.Text == name }):
		return fmt.Errorf("| %s%s", clip(name), suggest(name, func(yield func(string) bool) {
			for _, p := range pipes {
				if !yield(p.Text) {
					return
				}
			}
		}))
	case len(args) != takes && takes == 1:
		return fmt.Errorf("| %s takes one regular expression, quoted where it has spaces or bars", name)
	case len(args) != takes:
		return fmt.Errorf("| %s takes nothing", name)
	case i.Command.Binary && name != "no-more" && name != "json":
		return fmt.Errorf("| %s is for text", name)
	}
	switch name {
	case "json":
		if len(i.filters) > 0 {
			return errors.New("| json comes first")
		}
		i.json = true
	case "count":
		i.filters = append(i.filters, filter{count: true})
	case "match", "except":
		expression, err := regexp.Compile(args[0])
		if err != nil {
			return fmt.Errorf("| %s: %s", name, strings.TrimPrefix(err.Error(), "error parsing regexp: "))
		}
		i.filters = append(i.filters, filter{expression: expression, except: name == "except"})
	}
	return nil
}

func pipeCandidates(words []string, word string) (list []Candidate) {
	if len(words) > 0 {
		return nil
	}
	for _, p := range pipes {
		if strings.HasPrefix(p.Text, word) {
			list = append(list, p)
		}
	}
	return list
}

// filtered passes a command's output through the filters, by lines.
type filtered struct {
	filters []filter
	counts  []int // by filter
	out     io.Writer
	line    []byte // that has begun
}

// outputLineMax is how long a line of filtered output may become; a longer one is cut into several.
const outputLineMax = 64 << 10

func (i *Invocation) filter(out io.Writer) *filtered {
	return &filtered{filters: i.filters, counts: make([]int, len(i.filters)), out: out}
}

// Write passes on what p completes.
func (f *filtered) Write(p []byte) (int, error) {
	if len(f.filters) == 0 {
		return f.out.Write(p)
	}
	if _, err := f.out.Write(f.pass(p)); err != nil {
		return 0, err
	}
	return len(p), nil
}

// finish is the rest of the output, whose end is p.
func (f *filtered) finish(p []byte) []byte {
	if len(f.filters) == 0 {
		return p
	}
	rest := f.pass(p)
	if len(f.line) > 0 {
		rest = f.add(rest, append(f.line, '\n'), 0)
	}
	for i, filter := range f.filters {
		if filter.count {
			rest = f.add(rest, fmt.Appendf(nil, "Count: %d lines\n", f.counts[i]), i+1)
		}
	}
	return rest
}

// pass is what is left of the lines that p completes.
func (f *filtered) pass(p []byte) (left []byte) {
	for len(p) > 0 {
		end := bytes.IndexByte(p, '\n') + 1
		if end == 0 && len(f.line)+len(p) < outputLineMax {
			f.line = append(f.line, p...)
			break
		}
		if end == 0 {
			end = len(p)
		}
		line := p[:end]
		if len(f.line) > 0 {
			line = append(f.line, line...)
			f.line = f.line[:0]
		}
		left = f.add(left, line, 0)
		p = p[end:]
	}
	return left
}

// add adds a line, if the filters from the given one on let it pass.
func (f *filtered) add(to, line []byte, from int) []byte {
	for i, filter := range f.filters[from:] {
		switch {
		case filter.count:
			f.counts[from+i]++
			return to
		case filter.expression.Match(bytes.TrimRight(line, "\n")) == filter.except:
			return to
		}
	}
	return append(to, line...)
}
