package mgmt

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"weir/mgmt/store"
)

// ErrNotPending says that no commit waits for a confirmation.
var ErrNotPending = errors.New("no commit waits for its confirmation")

// retryRollback is when a rollback that failed is tried again.
const retryRollback = 10 * time.Second

// outstanding is the confirmation that is waited for, nil if there is none.
func (e *Engine) outstanding() *store.Pending {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.pending
}

// Pending reports whether a commit waits for its confirmation.
func (e *Engine) Pending() bool { return e.outstanding() != nil }

// arm waits for a confirmation, or no longer for one. The time runs by the monotonic clock: setting the clock of the wall
// makes it neither shorter nor longer. Call it with the turn.
func (e *Engine) arm(p *store.Pending) {
	e.disarm()
	e.mu.Lock()
	e.pending = p
	e.mu.Unlock()
	if p != nil {
		e.timer = time.AfterFunc(time.Until(p.Deadline), func() { e.expire(p) })
	}
}

func (e *Engine) disarm() {
	if e.timer != nil {
		e.timer.Stop()
		e.timer = nil
	}
}

// expire rolls back what was not confirmed in time.
func (e *Engine) expire(p *store.Pending) {
	if e.take(context.Background()) != nil {
		return
	}
	defer e.put()
	if e.outstanding() != p {
		return // confirmed, or given another deadline, while this waited for its turn
	}
	report := e.takeBack(context.Background(), p, Author{Via: "timer"}, "not confirmed in time")
	if !report.OK() {
		e.degrade(fmt.Sprintf("commit %d was not confirmed, and cannot be rolled back to %d", p.Number, p.Restore), report.Err())
		e.timer = time.AfterFunc(retryRollback, func() { e.expire(p) })
	}
}

// takeBack puts the configuration in force again that was confirmed last.
func (e *Engine) takeBack(ctx context.Context, p *store.Pending, by Author, reason string) Report {
	why := fmt.Sprintf("commit %d was %s: rolled back to %d", p.Number, reason, p.Restore)
	return e.walk(ctx, e.again(p.Restore, &proposal{insist: true, overwrite: true, by: by, comment: why, why: why, undoes: p.Number}))
}

// again is a proposal to put a commit of the history in force again.
func (e *Engine) again(n int, p *proposal) *proposal {
	p.restores, p.install = n, true
	p.files = map[string]string{}
	change, hash, err := e.change(n)
	for name, source := range change.Files {
		p.files[e.beside(name)] = source
	}
	p.load = func() (*Config, Problems) {
		if err != nil {
			return nil, Problems{{Position: Position{File: e.path}, Message: err.Error(), Severity: Error}}
		}
		config, problems := e.loadChange(&change)
		if config != nil && config.Hash != hash {
			return nil, Problems{{Position: Position{File: e.path}, Message: fmt.Sprintf("commit %d on the disk is not what it was", n), Severity: Error}}
		}
		return config, problems
	}
	return p
}

// Confirm says that the commit that waits for it may stay.
func (e *Engine) Confirm(by Author) error {
	if err := e.take(context.Background()); err != nil {
		return err
	}
	defer e.put()
	p := e.outstanding()
	if p == nil {
		return ErrNotPending
	}
	s := e.store.Load()
	if err := e.catchUp(s); err != nil {
		return fmt.Errorf("confirm commit %d: %w", p.Number, err)
	}
	if err := s.SetState(store.State{Good: e.number()}); err != nil {
		return fmt.Errorf("confirm commit %d: %w", p.Number, err)
	}
	e.arm(nil)
	e.log.Info("confirmed", zap.Int("number", p.Number), zap.Stringer("by", by))
	e.announce(Event{Kind: EventConfirm, By: by, Number: p.Number, Text: fmt.Sprintf("commit %d is confirmed", p.Number)})
	return nil
}

// Abort rolls back the commit that waits for its confirmation, now.
func (e *Engine) Abort(ctx context.Context, by Author) Report {
	if err := e.take(ctx); err != nil {
		r := e.report(&proposal{by: by})
		r.Failed = err.Error()
		return r
	}
	defer e.put()
	p := e.outstanding()
	if p == nil {
		r := e.report(&proposal{by: by})
		r.Failed = ErrNotPending.Error()
		return r
	}
	return e.takeBack(ctx, p, by, "aborted")
}
