package mgmt

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"weir/mgmt/document"
	"weir/mgmt/store"
)

// Commits are those that are kept, the newest first.
func (e *Engine) Commits() []store.Commit {
	s := e.store.Load()
	if s == nil {
		return nil
	}
	list := s.Commits()
	if n := e.number(); n != 0 {
		for i := range list {
			list[i].Running = list[i].Number == n
		}
	}
	return list
}

// CommitText returns a commit, by its number, as a change to commit.
func (e *Engine) CommitText(n int) (Change, error) {
	change, _, err := e.change(n)
	return change, err
}

// change is a commit as a change, and the hash that it had.
func (e *Engine) change(n int) (change Change, hash string, err error) {
	s := e.store.Load()
	if s == nil {
		return change, "", errors.Join(errNoStore, e.Kept())
	}
	c, text, err := s.Commit(n)
	if err != nil {
		return change, "", err
	}
	change = Change{Text: text, Files: map[string]string{}, Comment: c.Comment, By: c.By}
	for _, f := range c.Files {
		change.Files[f.Name] = s.Blob(f.SHA256)
	}
	return change, c.Hash, nil
}

// Back finds the commit that is n before the one in force; 0 is that one.
func (e *Engine) Back(n int) (store.Commit, error) {
	list := e.Commits()
	for i := range list {
		if !list[i].Running {
			continue
		}
		if n < 0 || i+n >= len(list) {
			return store.Commit{}, fmt.Errorf("rollback %d: %d are kept before the one in force", n, len(list)-i-1)
		}
		return list[i+n], nil
	}
	return store.Commit{}, fmt.Errorf("rollback %d: the configuration in force is not recorded", n)
}

// Rollback puts the configuration in force again that is n commits back: 1 is the one before, 0 the one in force, which brings
// the files back. It is a commit as any other.
func (e *Engine) Rollback(ctx context.Context, n int, by Author, comment string, confirm time.Duration) Report {
	p := &proposal{by: by, comment: comment, confirm: confirm}
	if err := e.take(ctx); err != nil {
		r := e.report(p)
		r.Failed = err.Error()
		return r
	}
	defer e.put()
	c, err := e.Back(n)
	if err != nil {
		r := e.report(p)
		r.Failed = err.Error()
		return r
	}
	p.why = fmt.Sprintf("%v rolled back to commit %d", by, c.Number)
	return e.walk(ctx, e.again(c.Number, p))
}

// Compare is the unified difference between the text of the commit that is n back and the running one.
func (e *Engine) Compare(n int) (string, error) {
	c, err := e.Back(n)
	if err != nil {
		return "", err
	}
	return e.since(c.Number)
}

// CompareText is the unified difference between the running text and another one.
func (e *Engine) CompareText(text []byte) string {
	config, _ := e.Running()
	if config == nil {
		return ""
	}
	return document.Unified("running", "candidate", string(config.Text), string(text))
}

// since is the unified difference between the text of a commit and the running one.
func (e *Engine) since(n int) (string, error) {
	change, _, err := e.change(n)
	if err != nil {
		return "", err
	}
	config, _ := e.Running()
	return document.Unified(fmt.Sprintf("commit %d", n), "running", string(change.Text), string(config.Text)), nil
}

var errConflict = errors.New("conflict: the configuration in force is not the one that this was made from")

// conflict says who has committed what since a configuration ran.
func (e *Engine) conflict(base string) string {
	list := e.Commits()
	at := slices.IndexFunc(list, func(c store.Commit) bool { return c.Hash == base })
	since := list[:max(at, min(len(list), 1))]
	var b strings.Builder
	for _, c := range since {
		fmt.Fprintf(&b, "commit %d, %s, %v", c.Number, c.Time.Local().Format(time.DateTime), c.By)
		if c.Comment != "" {
			fmt.Fprintf(&b, ": %s", c.Comment)
		}
		b.WriteByte('\n')
	}
	if at < 0 {
		fmt.Fprintf(&b, "%s, which it was made from, is not kept\n", shortHash(clip(base)))
	} else if text, err := e.since(list[at].Number); err != nil {
		fmt.Fprintf(&b, "%v\n", err)
	} else {
		b.WriteString(text)
	}
	return b.String()
}
