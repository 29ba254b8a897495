package mgmt

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestShowConfiguration: all of it, parts, and commands that make them.
func TestShowConfiguration(t *testing.T) {
	b := newBench(t, "version: 1\nsystem: {hostname: edge1}\nrules:\n  - {name: gold, priority: 100, lookup: main}   # first\n")
	b.start()
	root := &Command{Commands: []*Command{{Name: "show", Role: ReadOnly, Commands: b.ShowCommands()}}}
	for line, want := range map[string]struct {
		status int
		output string
	}{
		"show configuration rules":                                                  {StatusOK, "- {name: gold, priority: 100, lookup: main}   # first\n"},
		"show configuration rules gold priority":                                    {StatusOK, "100\n"},
		"show configuration rules | display set":                                    {StatusOK, "set rules gold priority 100\nset rules gold lookup main\n"},
		"show configuration | display set | match host":                             {StatusOK, "set system hostname edge1\n"},
		"show configuration commands | count":                                       {StatusOK, "Count: 4 lines\n"},
		"show configuration ruels":                                                  {StatusRefused, "ruels: unknown key; did you mean rules?\n"},
		"show configuration rules silver":                                           {StatusRefused, "rules silver: is not there\n"},
		"show configuration | display xml":                                          {StatusBadCommand, "Invalid command: | display takes set\n"},
		"show configuration | count | display set":                                  {StatusBadCommand, "Invalid command: | display comes first\n"},
		"show configuration | display set | display set":                            {StatusBadCommand, "Invalid command: | display comes first\n"},
		"show configuration | dsplay set":                                           {StatusBadCommand, "Invalid command: | dsplay; did you mean display?\n"},
		"show commits | display set":                                                {StatusBadCommand, "Invalid command: | display\n"},
		`show configuration rules gold | json | match "text.:.{name: gold" | count`: {StatusOK, "Count: 1 lines\n"},
	} {
		i, output, status := root.Invoke(line, ReadOnly)
		if i != nil {
			output, status = i.Run(context.Background(), Request{Role: ReadOnly}, nil)
		}
		if status != want.status || string(output) != want.output {
			t.Errorf("%s: %d %q, want %d %q", line, status, output, want.status, want.output)
		}
	}
	for line, want := range map[string]string{
		"show configuration ":           "version system rules",
		"show configuration ru":         "rules",
		"show configuration rules ":     "gold",
		"show configuration rules gold": "gold",
		"show configuration | ":         "display json match except count no-more",
		"show commits | ":               "json match except count no-more",
	} {
		var words []string
		list, _ := root.Candidates(line, ReadOnly)
		for _, c := range list {
			words = append(words, c.Text)
		}
		if got := strings.Join(words, " "); got != want {
			t.Errorf("%q is completed by %q, want %q", line, got, want)
		}
	}
}

// TestTextProblems: places in a text are lines of it, and those in other files are theirs.
func TestTextProblems(t *testing.T) {
	b := newBench(t, oneRule)
	b.start()
	if err := os.WriteFile(filepath.Join(filepath.Dir(b.path), "x.routes"), []byte("10.0.0.0/8 via nowhere\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, problems := b.Check(context.Background(), Change{Text: []byte("version: 1\ntables:\n  x: {id: 100, routes-file: x.routes}\nrules:\n  - {priority: 5, lookup: y}\n")})
	got := b.TextProblems(problems)
	if !strings.Contains(got, "line 5: rules[0].lookup: no table is called y") || !strings.Contains(got, "x.routes:1:") || strings.Contains(got, b.path) {
		t.Errorf("%s", got)
	}
}
