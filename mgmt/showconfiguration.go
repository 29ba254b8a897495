package mgmt

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"weir/mgmt/document"
)

// displayPipes has a configuration shown as commands.
var displayPipes = []Candidate{{Text: "display", Help: "as commands that make it: display set"}}

// DisplaySet reports whether `| display set` follows the command.
func (r *Request) DisplaySet() (bool, error) {
	if len(r.Pipe) == 0 || r.Pipe[0] != "display" {
		return false, nil
	}
	if len(r.Pipe) != 2 || r.Pipe[1] != "set" {
		return false, &UsageError{"| display takes set"}
	}
	return true, nil
}

// ShowDocument is what the words lead to in a configuration: as it is written, or as commands that make it.
func ShowDocument(d *document.Document, words []string, asCommands bool) (string, error) {
	if !asCommands {
		if len(words) == 0 {
			return d.String(), nil
		}
		return d.Get(words...)
	}
	commands, err := d.SetCommands(words...)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for _, words := range commands {
		b.WriteString(document.Change{Verb: "set", Words: words}.String() + "\n")
	}
	return b.String(), nil
}

func (e *Engine) showConfiguration(_ context.Context, r *Request) (any, error) {
	asCommands, err := r.DisplaySet()
	if err != nil {
		return nil, err
	}
	words := r.Args
	if slices.Equal(words, []string{"commands"}) { // as VyOS calls it
		words, asCommands = nil, true
	}
	config, generation := e.Running()
	if config == nil {
		return nil, errors.New("nothing runs")
	}
	text := string(config.Text)
	if asCommands || len(words) > 0 {
		d, err := document.Parse(schema, config.Text)
		if err != nil {
			return nil, err
		}
		if text, err = ShowDocument(d, words, asCommands); err != nil {
			return nil, err
		}
	}
	return outcome(r, map[string]any{
		"number": e.number(), "generation": generation, "hash": config.Hash, "text": text,
		"notices": orNone(e.Notices()), "trouble": orNone(e.Trouble()),
	}, text, true)
}

// completeMax bounds the text that is parsed because somebody pressed Tab.
const completeMax = 1 << 20

// completePath lists what follows in the configuration that runs.
func (e *Engine) completePath(args []string) []Candidate {
	config, _ := e.Running()
	if config == nil || len(config.Text) > completeMax {
		return nil
	}
	d, err := document.Parse(schema, config.Text)
	if err != nil {
		return nil
	}
	return DocumentCandidates(d, args, true)
}

// DocumentCandidates lists what may follow the words in a configuration: for what sets, or, if existing, for what is about what is there.
func DocumentCandidates(d *document.Document, words []string, existing bool) (list []Candidate) {
	for _, c := range d.Complete(words, "", existing) {
		list = append(list, Candidate{c.Word, c.Help})
	}
	return list
}

// TextProblems is the problems of a text that somebody is editing, one a line: places in it are lines of it, not of the file in whose place it
// is read.
func (e *Engine) TextProblems(list Problems) string {
	var b strings.Builder
	for _, p := range list {
		if p.File == e.path {
			if p.Line > 0 {
				fmt.Fprintf(&b, "line %d: ", p.Line)
			}
			p.Position = Position{}
		}
		b.WriteString(p.String() + "\n")
	}
	return b.String()
}
