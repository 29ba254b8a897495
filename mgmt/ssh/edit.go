package ssh

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"weir/mgmt"
)

// commands are those of configuration mode. They are words to the command tree as any others, so that quotes, pipes, completion and help
// are the same.
func (m *configuration) commands() []*mgmt.Command {
	possible := func(args []string) []mgmt.Candidate { return mgmt.DocumentCandidates(m.candidate, m.full(args), false) }
	existing := func(args []string) []mgmt.Candidate { return mgmt.DocumentCandidates(m.candidate, m.full(args), true) }
	display := mgmt.Candidate{Text: "display", Help: "as commands that make it: display set"}
	compare := mgmt.Candidate{Text: "compare", Help: "what has been changed: compare [N]"}
	return []*mgmt.Command{
		{Name: "set", Arguments: "PATH… VALUE", Help: "set a value, or add one to a list", Complete: possible, Run: m.edits("Set failed", m.set)},
		{Name: "delete", Arguments: "PATH… [VALUE]", Help: "delete a value, or a section with all that is in it", Complete: existing, Run: m.edits("Delete failed", m.delete)},
		{Name: "rename", Arguments: "PATH… to NAME", Help: "give something another name", Complete: m.completeRename, Run: m.edits("Rename failed", m.rename)},
		{Name: "insert", Arguments: "PATH… before|after NAME", Help: "move something in a list whose order means something", Complete: m.completeInsert, Run: m.edits("Insert failed", m.insert)},
		{Name: "edit", Arguments: "PATH…", Help: "go down: paths begin there then", Complete: possible, Run: m.edits("Invalid command", m.edit)},
		{Name: "up", Arguments: "[N]", Help: "go a level up, or N", Run: m.up},
		{Name: "top", Help: "go to the top", Run: m.top},
		{Name: "exit", Arguments: "[discard | configuration-mode]", Help: "go back to where edit was given, or leave configuration mode", Complete: exitWords, Run: m.exit},
		{Name: "quit", Arguments: "[discard | configuration-mode]", Help: "as exit", Complete: exitWords, Run: m.exit},
		{Name: "show", Arguments: "[PATH…]", Help: "the candidate, or a part of it", Complete: existing, Pipes: []mgmt.Candidate{display, compare}, Run: m.show},
		{Name: "compare", Arguments: "[N]", Help: "what has been changed, or what differs from the commit N back; | display set shows commands", Pipes: []mgmt.Candidate{display}, Run: m.compare},
		{Name: "check", Help: "check the candidate", Run: m.runCheck},
		{Name: "commit", Arguments: commitUsage, Help: "put the candidate in force", Complete: commitWords, Run: m.commit},
		{Name: "confirm", Help: "keep the commit that waits for its confirmation", Run: m.confirm},
		{Name: "rollback", Arguments: "[N]", Help: "have the candidate be the commit N back; 0, or nothing: what runs", Run: m.rollback},
		{Name: "discard", Help: "have the candidate be what runs", Run: m.discard},
		{Name: "rebase", Help: "make the candidate's changes to what runs now", Run: m.rebase},
		{Name: "load", Help: "a text into the candidate", Commands: m.loadCommands()},
		{Name: "run", Arguments: "COMMAND", Help: "a command of operational mode", Run: func(context.Context, *mgmt.Request) (any, error) {
			return nil, &mgmt.UsageError{Message: "run takes a command of operational mode"}
		}},
		{Name: "status", Help: "who is in configuration mode", Run: m.status},
		{Name: "save", Help: "accepted: what is committed is saved", Run: func(context.Context, *mgmt.Request) (any, error) {
			return "What is committed is saved: there is nothing to do", nil
		}},
	}
}

// cannotExit begins with the words that clients look for.
const cannotExit = "Cannot exit: configuration modified\n`commit` puts the changes in force, `exit discard` forgets them"

func exitWords([]string) []mgmt.Candidate {
	return []mgmt.Candidate{{Text: "discard", Help: "and forget the changes"}, {Text: "configuration-mode", Help: "from any level"}}
}

// full is a path from the top.
func (m *configuration) full(words []string) []string { return slices.Concat(m.path, words) }

// edits runs what changes the candidate, or where one is in it. The mark stands under what is wrong, where clients look for it.
func (m *configuration) edits(mark string, edit func(words []string) error) func(context.Context, *mgmt.Request) (any, error) {
	return func(_ context.Context, r *mgmt.Request) (any, error) {
		if len(r.Args) == 0 {
			return nil, &mgmt.UsageError{Message: "incomplete: expected what to change"}
		}
		if err := edit(r.Args); err != nil {
			return nil, fmt.Errorf("  %w\n  %s", err, mark)
		}
		return nil, nil
	}
}

func (m *configuration) set(words []string) error    { return m.candidate.Set(m.full(words)...) }
func (m *configuration) delete(words []string) error { return m.candidate.Delete(m.full(words)...) }

func (m *configuration) rename(words []string) error {
	to := len(words) - 2
	if to < 1 || words[to] != "to" {
		return errors.New("expected rename PATH… to NAME")
	}
	return m.candidate.Rename(m.full(words[:to]), words[to+1])
}

func (m *configuration) completeRename(args []string) []mgmt.Candidate {
	list := mgmt.DocumentCandidates(m.candidate, m.full(args), true)
	if len(args) > 1 && !slices.Contains(args, "to") {
		list = append(list, mgmt.Candidate{Text: "to", Help: "its new name follows"})
	}
	return list
}

// place finds before or after, behind the words of what is moved.
func place(words []string) (at int) {
	for at = len(words) - 2; at > 0 && words[at] != "before" && words[at] != "after"; at-- {
	}
	return at
}

func (m *configuration) insert(words []string) error {
	at := place(words)
	if at < 1 {
		return errors.New("expected insert PATH… before|after NAME")
	}
	return m.candidate.Insert(m.full(words[:at]), words[at] == "before", words[at+1:]...)
}

func (m *configuration) completeInsert(args []string) []mgmt.Candidate {
	if n := len(args); n > 1 && (args[n-1] == "before" || args[n-1] == "after") {
		return mgmt.DocumentCandidates(m.candidate, m.full(args[:n-2]), true)
	}
	list := mgmt.DocumentCandidates(m.candidate, m.full(args), true)
	if len(args) > 1 {
		list = append(list, mgmt.Candidate{Text: "before", Help: "to stand before another one"}, mgmt.Candidate{Text: "after", Help: "to stand behind another one"})
	}
	return list
}

func (m *configuration) edit(words []string) error {
	path := m.full(words)
	if err := m.candidate.Level(path...); err != nil {
		return err
	}
	m.outer, m.path = append(m.outer, m.path), path
	return nil
}

func (m *configuration) up(_ context.Context, r *mgmt.Request) (any, error) {
	n := 1
	if len(r.Args) > 0 {
		var err error
		if n, err = strconv.Atoi(r.Args[0]); err != nil || n < 1 || len(r.Args) > 1 {
			return nil, &mgmt.UsageError{Message: "up takes [N]"}
		}
	}
	for ; n > 0 && len(m.path) > 0; n-- {
		for m.path = m.path[:len(m.path)-1]; len(m.path) > 0 && m.candidate.Level(m.path...) != nil; {
			m.path = m.path[:len(m.path)-1] // a word that is no level of its own
		}
	}
	return nil, nil
}

func (m *configuration) top(_ context.Context, r *mgmt.Request) (any, error) {
	if len(r.Args) > 0 {
		return nil, &mgmt.UsageError{Message: "top takes nothing"}
	}
	m.path, m.outer = nil, nil
	return nil, nil
}

func (m *configuration) exit(_ context.Context, r *mgmt.Request) (any, error) {
	switch word := strings.Join(r.Args, " "); {
	case word == "" && len(m.path) > 0:
		m.path = nil
		if n := len(m.outer); n > 0 {
			m.path, m.outer = m.outer[n-1], m.outer[:n-1]
		}
		return nil, nil
	case word == "discard":
		m.forgotten = true
	case word != "" && word != "configuration-mode":
		return nil, &mgmt.UsageError{Message: "exit takes [discard | configuration-mode]"}
	case m.modified():
		return nil, fmt.Errorf("%s", cannotExit)
	}
	m.sh.pop()
	return "Exiting configuration mode", nil
}

func (m *configuration) show(ctx context.Context, r *mgmt.Request) (any, error) {
	if len(r.Pipe) > 0 && r.Pipe[0] == "compare" {
		if len(r.Args) > 0 {
			return nil, &mgmt.UsageError{Message: "| compare is of the whole candidate"}
		}
		r.Args, r.Pipe = r.Pipe[1:], nil
		return m.compare(ctx, r)
	}
	asCommands, err := r.DisplaySet()
	if err != nil {
		return nil, err
	}
	if len(r.Args) == 0 && len(m.path) > 0 && m.candidate.Names(m.path...) == nil {
		return nil, nil // nothing is there yet
	}
	text, err := mgmt.ShowDocument(m.candidate, m.full(r.Args), asCommands)
	if err != nil {
		return nil, fmt.Errorf("  %w", err)
	}
	return answer(r, "text", text), nil
}

// answer is text for people, and for programs by a name.
func answer(r *mgmt.Request, name, text string) any {
	if r.JSON {
		return map[string]string{name: text}
	}
	return text
}

func (m *configuration) status(_ context.Context, r *mgmt.Request) (any, error) {
	return answer(r, "configuring", m.sh.s.c.server.configuring.list(m)), nil
}
