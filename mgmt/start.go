package mgmt

import (
	"context"
	"errors"
	"fmt"

	"go.uber.org/zap"

	"weir/mgmt/store"
)

// Start puts the first configuration in force. If the report is not OK, nothing runs.
//
// It goes on with what a crash has interrupted: a commit whose files were being put in place is put in place, and one that
// was to be confirmed is rolled back, whatever time there was left. If the file cannot be put in force, the last commit that was
// runs instead, and Trouble says so.
func (e *Engine) Start(ctx context.Context) Report {
	by := Author{Via: "boot"}
	if err := e.take(ctx); err != nil {
		r := e.report(&proposal{by: by})
		r.Failed = err.Error()
		return r
	}
	defer e.put()
	var pending *store.Pending
	if store.Exists(e.path) { // else the first commit makes it
		if s, err := store.Open(e.path, e.Step); err != nil {
			e.log.Warn("commits are not kept", zap.String("file", e.path), zap.Error(err))
		} else {
			e.store.Store(s)
			e.resume(s)
			pending = s.State().Pending
		}
	}
	var report Report
	file := &proposal{load: func() (*Config, Problems) { return Load(e.path) }, by: by}
	switch {
	case pending != nil:
		report = e.takeBack(ctx, pending, by, "not confirmed before weir ended")
	case e.Distrust != "":
		report = e.report(file)
		report.Failed = e.Distrust
		if good := e.lastGood(ctx, by, report, nil); good.OK() || ctx.Err() != nil {
			return good
		}
		report = e.walk(ctx, file)
	default:
		report = e.walk(ctx, file)
	}
	if report.OK() || e.Strict || ctx.Err() != nil {
		return report
	}
	return e.lastGood(ctx, by, report, pending)
}

// resume finishes a commit that a crash has interrupted.
func (e *Engine) resume(s *store.Store) {
	n, edited, err := s.Resume()
	if n == 0 {
		return
	}
	fields := []zap.Field{zap.Int("number", n), zap.Strings("edited_since", edited)}
	if err != nil {
		e.log.Error("go on with the commit that was interrupted", append(fields, zap.Error(err))...)
		return
	}
	e.log.Info("went on with the commit that was interrupted", fields...)
}

// lastGood puts the newest commit in force that can be, in place of a file that cannot.
func (e *Engine) lastGood(ctx context.Context, by Author, failed Report, pending *store.Pending) Report {
	s := e.store.Load()
	if s == nil {
		return failed
	}
	tried := map[string]bool{}
	if config, _ := Load(e.path); config != nil {
		tried[config.Hash] = true
	}
	for _, c := range s.Commits() {
		if tried[c.Hash] || pending != nil && c.Number >= pending.Number {
			continue
		}
		tried[c.Hash] = true
		p := e.again(c.Number, &proposal{by: by, comment: fmt.Sprintf("the last good configuration, commit %d", c.Number), forget: true})
		report := e.walk(ctx, p)
		if !report.OK() {
			continue
		}
		why := firstLine(failed.Err())
		what := fmt.Sprintf("%s is not in force: commit %d of %s is, the last good one", e.path, c.Number, c.Time.Format("2006-01-02 15:04"))
		e.degrade(what, why)
		for i := range failed.Problems { // this report is of what runs: to that they are none
			failed.Problems[i].Severity = Warning
		}
		report.Problems = append(failed.Problems, report.Problems...)
		report.Trouble = fmt.Sprintf("%s: %v", what, why)
		return report
	}
	return failed
}

// firstLine is an error without all but its first line.
func firstLine(err error) error {
	var refused *ConfigError
	if errors.As(err, &refused) {
		for _, p := range refused.Problems {
			if p.Severity == Error {
				return errors.New(p.String())
			}
		}
	}
	return err
}
