package ssh

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"weir/mgmt"
	"weir/mgmt/document"
)

const commitUsage = "[check | and-quit] [confirmed [MINUTES]] [overwrite] [comment TEXT]"

// commitComplete ends what a commit says, and what is said before it where there will be a rollback, for clients that wait for the words of Junos.
const commitComplete = "commit complete\n"

func commitWords(args []string) []mgmt.Candidate {
	if slices.Contains(args, "comment") || slices.Contains(args, "check") {
		return nil
	}
	var list []mgmt.Candidate
	for _, c := range []mgmt.Candidate{
		{Text: "check", Help: "only check it"},
		{Text: "and-quit", Help: "leave configuration mode then"},
		{Text: "confirmed", Help: "roll back unless it is confirmed in 10 minutes, or as many as follow"},
		{Text: "overwrite", Help: "replace files that were edited by hand, and keep those aside"},
		{Text: "comment", Help: "why; the rest of the line"},
	} {
		if len(args) == 0 || c.Text != "check" && c.Text != "and-quit" && !slices.Contains(args, c.Text) {
			list = append(list, c)
		}
	}
	return list
}

func (m *configuration) change() mgmt.Change {
	return mgmt.Change{Text: m.candidate.Text(), Files: m.files, Base: m.base.hash, By: m.sh.s.c.author()}
}

func (m *configuration) commit(ctx context.Context, r *mgmt.Request) (any, error) {
	args := r.Args
	if slices.Equal(args, []string{"check"}) {
		r.Args = nil
		return m.runCheck(ctx, r)
	}
	quit := len(args) > 0 && args[0] == "and-quit"
	if quit {
		args = args[1:]
	}
	change := m.change()
	words := mgmt.Change{}
	if err := mgmt.CommitWords(args, &words); err != nil || words.Base != "" {
		return nil, &mgmt.UsageError{Message: "commit takes " + commitUsage}
	}
	change.Confirm, change.Comment, change.Overwrite = words.Confirm, words.Comment, words.Overwrite
	text, err := "No configuration changes to commit\n", error(nil)
	switch {
	case m.modified() || change.Confirm > 0:
		text, err = m.commitChange(ctx, change)
	case m.engine().Pending():
		var confirmed any
		confirmed, err = m.confirm(ctx, &mgmt.Request{By: r.By})
		text, _ = confirmed.(string)
	}
	if err != nil {
		return nil, err
	}
	text += commitComplete
	if quit {
		m.sh.pop()
		text += "Exiting configuration mode\n"
	}
	return text, nil
}

func (m *configuration) commitChange(ctx context.Context, change mgmt.Change) (string, error) {
	committing := func(now bool) {
		m.state.mu.Lock()
		defer m.state.mu.Unlock()
		m.state.committing = now
	}
	committing(true)
	defer committing(false)
	report := m.engine().Commit(ctx, change)
	text := m.engine().TextProblems(report.Problems)
	if !report.OK() {
		if report.Problems.Refused() {
			report.Failed = "refused"
		}
		text += report.Conflict
		hint := ""
		if report.Conflict != "" {
			hint = "`rebase` makes your changes to what runs now; `discard` forgets them\n"
		}
		report.Problems, report.Conflict = nil, ""
		return "", fmt.Errorf("%sCommit failed: %s%s", text, report.String(), hint)
	}
	report.Problems = nil
	m.base, m.files = base{string(change.Text), report.Hash}, nil
	if m.sent != nil {
		m.sh.s.c.server.candidates.forget(m.sh.s.c.user, *m.sent)
		m.sent = nil
	}
	m.settle()
	text += report.String()
	if change.Confirm > 0 {
		text += fmt.Sprintf("commit confirmed will be automatically rolled back in %g minutes unless confirmed\n", change.Confirm.Minutes())
	}
	return text, nil
}

func (m *configuration) runCheck(ctx context.Context, r *mgmt.Request) (any, error) {
	if len(r.Args) > 0 {
		return nil, &mgmt.UsageError{Message: "check takes nothing"}
	}
	_, problems := m.engine().Check(ctx, m.change())
	text := m.engine().TextProblems(problems)
	if problems.Refused() {
		return nil, errors.New(text + "configuration check fails")
	}
	return text + "configuration check succeeds\n", nil
}

func (m *configuration) confirm(_ context.Context, r *mgmt.Request) (any, error) {
	if len(r.Args) > 0 {
		return nil, &mgmt.UsageError{Message: "confirm takes nothing"}
	}
	if err := m.engine().Confirm(r.By); err != nil {
		return nil, err
	}
	return "The commit is confirmed\n", nil
}

// compare shows what has been changed since base, or what differs from an earlier commit.
func (m *configuration) compare(_ context.Context, r *mgmt.Request) (any, error) {
	asCommands, err := r.DisplaySet()
	if err != nil {
		return nil, err
	}
	name, from := "running", m.base.text
	if running, _ := m.engine().Running(); running.Hash != m.base.hash {
		name = "what ran at the beginning"
	}
	if len(r.Args) > 0 {
		n, err := strconv.Atoi(r.Args[0])
		if err != nil || n < 0 || len(r.Args) > 1 {
			return nil, &mgmt.UsageError{Message: "compare takes [N]"}
		}
		c, err := m.engine().Back(n)
		if err != nil {
			return nil, err
		}
		change, err := m.engine().CommitText(c.Number)
		if err != nil {
			return nil, err
		}
		name, from = fmt.Sprintf("commit %d", c.Number), string(change.Text)
	}
	text := document.Unified(name, "candidate", from, m.candidate.String())
	if asCommands {
		changes, err := changesOf(from, m.candidate)
		if err != nil {
			return nil, err
		}
		text = changeLines(changes)
	}
	if text == "" && !r.JSON {
		text = "No changes\n"
	}
	return answer(r, "difference", text), nil
}

func changesOf(from string, to *document.Document) ([]document.Change, error) {
	d, err := document.Parse(mgmt.Schema(), []byte(from))
	if err != nil {
		return nil, err
	}
	return document.Changes(d, to)
}

func changeLines(changes []document.Change) string {
	var b strings.Builder
	for _, c := range changes {
		b.WriteString(c.String() + "\n")
	}
	return b.String()
}

// rollback has the candidate be an earlier commit, its routes-files with it.
func (m *configuration) rollback(ctx context.Context, r *mgmt.Request) (any, error) {
	n, err := 0, error(nil)
	if len(r.Args) > 0 {
		n, err = strconv.Atoi(r.Args[0])
	}
	if err != nil || n < 0 || len(r.Args) > 1 {
		return nil, &mgmt.UsageError{Message: "rollback takes [N]"}
	}
	if n == 0 {
		r.Args = nil
		return m.discard(ctx, r)
	}
	c, err := m.engine().Back(n)
	if err != nil {
		return nil, err
	}
	change, err := m.engine().CommitText(c.Number)
	if err != nil {
		return nil, err
	}
	d, err := document.Parse(mgmt.Schema(), change.Text)
	if err != nil {
		return nil, err
	}
	m.candidate, m.files, m.sent = d, nil, nil
	if len(change.Files) > 0 {
		m.files = change.Files
	}
	return fmt.Sprintf("The candidate is commit %d; `commit` puts it in force\n", c.Number), nil
}

func (m *configuration) discard(_ context.Context, r *mgmt.Request) (any, error) {
	if len(r.Args) > 0 {
		return nil, &mgmt.UsageError{Message: "discard takes nothing"}
	}
	if err := m.begin(); err != nil {
		return nil, err
	}
	return "The candidate is what runs\n", nil
}

// rebase makes the changes from base to the candidate to what runs, all or none.
func (m *configuration) rebase(_ context.Context, r *mgmt.Request) (any, error) {
	if len(r.Args) > 0 {
		return nil, &mgmt.UsageError{Message: "rebase takes nothing"}
	}
	running, _ := m.engine().Running()
	if running.Hash == m.base.hash {
		return "The candidate is of what runs: there is nothing to do\n", nil
	}
	own, err := changesOf(m.base.text, m.candidate)
	if err != nil {
		return nil, fmt.Errorf("cannot rebase: %w", err)
	}
	d, err := document.Parse(mgmt.Schema(), running.Text)
	if err != nil {
		return nil, fmt.Errorf("cannot rebase: %w", err)
	}
	theirs, err := changesOf(m.base.text, d)
	if err != nil {
		return nil, fmt.Errorf("cannot rebase: %w", err)
	}
	before, err := mgmt.ShowDocument(d, nil, true)
	if err != nil {
		return nil, fmt.Errorf("cannot rebase: %w", err)
	}
	for _, c := range own {
		if slices.ContainsFunc(theirs, func(t document.Change) bool { return t.String() == c.String() }) {
			continue
		}
		if err := d.Apply(c); err != nil {
			return nil, fmt.Errorf("cannot rebase: %v: %w\nthe candidate stays as it is", c, err)
		}
	}
	after, err := mgmt.ShowDocument(d, nil, true)
	if err != nil {
		return nil, fmt.Errorf("cannot rebase: %w", err)
	}
	undone := slices.DeleteFunc(theirs, func(c document.Change) bool {
		return c.Verb != "set" || hasLine(after, c.String()) || !hasLine(before, c.String())
	})
	m.candidate, m.base = d, base{string(running.Text), running.Hash}
	text := fmt.Sprintf("%d changes are made to what runs now; `compare` shows them\n", len(own))
	if len(undone) > 0 {
		text += "Yours takes the place of what others changed:\n" + changeLines(undone)
	}
	return text, nil
}

func hasLine(text, line string) bool { return strings.Contains("\n"+text, "\n"+line+"\n") }
