package mgmt

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Change is a configuration that somebody wants in force.
type Change struct {
	Text      []byte
	Files     map[string]string // routes-files, by the name that the text gives them: paths of what they are to hold. The rest are what is on disk
	Base      string            // hash of the configuration that it was made from; empty: whatever runs
	By        Author
	Comment   string
	Confirm   time.Duration // > 0: rolled back unless it is confirmed in that time
	Overwrite bool          // files that were edited by hand and not committed are replaced, and kept aside

	temporary string // directory that goes with Close
}

// Close removes the files that ReadChange made for the change.
func (c *Change) Close() error {
	if c.temporary == "" {
		return nil
	}
	return os.RemoveAll(c.temporary)
}

// ConfirmMax is the longest time that a confirmation may be given.
const ConfirmMax = 7 * 24 * time.Hour

// commentMax bounds comments, in bytes.
const commentMax = 1024

// proposal is a configuration on its way to be in force.
type proposal struct {
	load      func() (*Config, Problems)
	files     map[string]string // what routes-files are to hold, by their paths
	install   bool              // the file on disk is to become it; else it is the file on disk
	overwrite bool              // what was edited by hand is kept aside, not a reason to refuse
	insist    bool              // it comes into force even if it cannot be written down
	forget    bool              // nothing is written down: it runs in place of what the file says
	confirm   time.Duration
	stay      bool // a confirmation that is outstanding stays so
	base      string
	by        Author
	comment   string
	why       string // of a rollback: what subscribers and the log are told
	restores  int
	undoes    int
}

// Check compiles a change as Commit would, and changes nothing. The Config is nil if a problem is an error.
func (e *Engine) Check(_ context.Context, c Change) (*Config, Problems) {
	return e.loadChange(&c)
}

// loadChange reads a change in the place of the file.
func (e *Engine) loadChange(c *Change) (*Config, Problems) {
	files := e.placed(c.Files)
	config, problems := Parse(e.path, c.Text, opener(files))
	if config == nil {
		return nil, problems
	}
	for _, path := range sortedKeys(files) {
		if !slices.ContainsFunc(config.routes, func(f RoutesFile) bool { return f.Path == path }) {
			problems = append(slices.Clip(problems), Problem{
				Position: Position{File: path}, Message: "no table has it as its routes-file; it is left out", Severity: Warning})
		}
	}
	return config, problems
}

// placed has the content of routes-files by where they belong.
func (e *Engine) placed(files map[string]string) map[string]string {
	placed := make(map[string]string, len(files))
	for name, source := range files {
		placed[e.beside(name)] = source
	}
	return placed
}

// beside is where a file is that the configuration names.
func (e *Engine) beside(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(filepath.Dir(e.path), name)
}

// opener opens routes-files: those that are given, and else those on disk.
func opener(files map[string]string) func(path string) (io.ReadCloser, error) {
	return func(path string) (io.ReadCloser, error) {
		if source, ok := files[path]; ok {
			return openRegular(source)
		}
		return openRegular(path)
	}
}

// Commit puts a change in force, and on the disk, or leaves everything as it is and says why. When it returns, no worker
// forwards by the earlier configuration any more, unless Trouble says so. Canceling ctx stops a commit that has not been
// published.
//
// While a commit waits for its confirmation, another one confirms it, unless it is to be confirmed itself: then it has a new
// deadline, and what would come back is still the last configuration that was confirmed.
func (e *Engine) Commit(ctx context.Context, c Change) Report {
	return e.run(ctx, &proposal{
		load: func() (*Config, Problems) { return e.loadChange(&c) }, files: e.placed(c.Files), install: true,
		overwrite: c.Overwrite, confirm: c.Confirm, base: c.Base, by: c.By, comment: c.Comment,
	})
}

// Reload reads the file again and puts it in force. A confirmation that is outstanding stays so: the deadline takes back what
// the file brings, too.
func (e *Engine) Reload(ctx context.Context, by Author) Report {
	return e.run(ctx, &proposal{load: func() (*Config, Problems) { return Load(e.path) }, stay: true, by: by})
}

// run has a proposal take its turn.
func (e *Engine) run(ctx context.Context, p *proposal) Report {
	if err := e.take(ctx); err != nil {
		r := e.report(p)
		r.Failed = err.Error()
		return r
	}
	defer e.put()
	return e.walk(ctx, p)
}

// walk is run for who has the turn.
func (e *Engine) walk(ctx context.Context, p *proposal) Report {
	report := e.report(p)
	e.commit(ctx, p, &report)
	report.Notices = append(report.Notices, e.keptNotice()...)
	e.tell(&report, p)
	return report
}

// report is a report of nothing yet.
func (e *Engine) report(p *proposal) Report {
	r := Report{By: p.by, Comment: p.comment}
	if config, generation := e.Running(); config != nil {
		r.Hash, r.Generation, r.Number = config.Hash, generation, e.number()
	}
	return r
}

// refusal says why a proposal cannot even be tried.
func (e *Engine) refusal(p *proposal, report *Report) error {
	if p.confirm < 0 || p.confirm > ConfirmMax {
		return fmt.Errorf("a confirmation may be given at most %v", ConfirmMax)
	}
	if len(p.comment) > commentMax {
		return fmt.Errorf("comment is longer than %d bytes", commentMax)
	}
	if shown := Escape(p.comment); shown != p.comment || strings.ContainsAny(shown, "\n\t") {
		return fmt.Errorf("comment is not one line of text that a terminal may show: %s", shown)
	}
	if err := e.locked(p); err != nil {
		return err
	}
	if config, _ := e.Running(); config != nil && p.base != "" && p.base != config.Hash {
		report.Conflict = e.conflict(p.base)
		return errConflict
	}
	return nil
}

// commit is the walk of a configuration. Every return before that of the last line leaves the running generation in force, and
// what is on the disk as it was.
func (e *Engine) commit(ctx context.Context, p *proposal, report *Report) {
	fail := func(what string, err error) { report.Failed = fmt.Sprintf("%s: %v", what, err) }
	if err := e.refusal(p, report); err != nil {
		report.Failed = err.Error()
		return
	}

	start := time.Now()
	config, problems := p.load()
	report.Problems = problems
	report.LoadMillis = millisSince(start)
	if config == nil {
		return
	}
	if err := ctx.Err(); err != nil {
		fail("load", err)
		return
	}
	before, _ := e.Running()
	if before != nil {
		report.Changed = Differences(before, config)
		report.LoadMillis = millisSince(start)
	}

	start = time.Now()
	if before == nil {
		if err := e.openRouter(config); err != nil {
			report.Failed = err.Error()
			return
		}
	} else if !slices.Equal(e.workers, config.System.Workers) {
		report.Problems = append(slices.Clip(report.Problems), Problem{
			Position: config.workersPosition(), Path: "system.workers",
			Message: "workers stay as they are until weir starts again", Severity: Warning,
		})
	}
	lost := e.router.Lost()
	err := e.prepare(config)
	report.PrepareMillis = millisSince(start)
	if err != nil {
		fail("prepare", err)
		return
	}
	if err := ctx.Err(); err != nil {
		e.abort()
		fail("prepare", err)
		return
	}

	start = time.Now()
	w, err := e.persist(p, config, report)
	report.PersistMillis = millisSince(start)
	if err != nil {
		e.abort()
		fail("persist", err)
		return
	}

	start = time.Now()
	e.step("publish")
	generation, err := e.router.Publish()
	if generation == 0 {
		e.abort()
		if err == nil {
			err = errNoGeneration
		}
		fail("publish", err)
		if err := w.undo(); err != nil {
			report.Failed += "; " + err.Error()
		}
		return
	}
	if err != nil {
		report.Trouble = err.Error()
	}
	for _, s := range e.services {
		s.Publish()
	}
	report.PublishMillis = millisSince(start)
	if now := e.router.Lost(); now > lost { // less where a netdev has gone, and its counters with it
		report.PacketsLost = now - lost
	}
	e.running.Store(&running{config, generation, w.number})
	report.Generation, report.Hash, report.Number = generation, config.Hash, w.number

	start = time.Now()
	w.settle(report)
	report.PersistMillis += millisSince(start)
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
