package mgmt

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"weir/mgmt/store"
)

var (
	errNoGeneration = errors.New("the router gave no generation")
	errNoStore      = errors.New("commits are not kept")
)

// written is what a commit has put on the disk before it is published.
type written struct {
	e      *Engine
	store  *store.Store // nil: nothing
	before store.State
	after  store.State
	number int // of the commit; 0: it is not recorded

	rollback bool // of a commit that was not confirmed, where there is no store
	fresh    bool // its record was made for it
}

// persist writes a prepared configuration down, all but that it is good. On an error nothing has changed on the disk.
// Where the file itself is what is committed, or the proposal insists, an error does not stop it: commits are then not kept, and
// State says so.
func (e *Engine) persist(p *proposal, config *Config, report *Report) (*written, error) {
	w := &written{e: e}
	if p.forget {
		w.number = p.restores
		return w, nil
	}
	err := w.write(p, config, report)
	var edited *store.EditedError
	if !errors.As(err, &edited) { // that one is no reason not to keep others
		e.setUnkept(err)
	}
	if err == nil || p.install && !p.insist {
		return w, err
	}
	e.log.Warn("commits are not kept", zap.String("file", e.path), zap.Error(err))
	return &written{e: e, rollback: p.undoes != 0}, nil
}

func (w *written) write(p *proposal, config *Config, report *Report) (err error) {
	e := w.e
	s, err := e.opened()
	if err != nil {
		return err
	}
	if err := e.catchUp(s); err != nil {
		return err
	}
	w.store, w.before = s, s.State()
	defer func() {
		if err != nil {
			err = errors.Join(err, w.undo())
		}
	}()
	if err := w.record(p, config); err != nil {
		return err
	}
	w.after = store.State{Good: w.number, Pending: w.pendingAfter(p)}
	if w.after.Pending != nil && w.after.Pending.Restore == 0 {
		return errors.New("nothing to roll back to: the configuration in force is not recorded")
	}
	if !p.install {
		return nil
	}
	targets := e.targets(p, config)
	edited, err := store.Edited(targets)
	if err != nil {
		return err
	}
	if len(edited) > 0 {
		if !p.overwrite {
			return fmt.Errorf("%w: `weir reload` commits it, and `commit overwrite` replaces it", &store.EditedError{Paths: edited})
		}
		kept, err := s.Rescue(edited, w.number)
		if err != nil {
			return err
		}
		for i := range kept {
			report.Notices = append(report.Notices, fmt.Sprintf("%s was edited by hand and not committed; that is kept as %s", edited[i], kept[i]))
		}
	}
	installing := w.after
	installing.Good = w.before.Good
	return s.Install(w.number, targets, installing)
}

// opened is the store, which is made by the first commit, or by the first one that can.
func (e *Engine) opened() (*store.Store, error) {
	if s := e.store.Load(); s != nil {
		return s, nil
	}
	s, err := store.Open(e.path, e.Step)
	if err != nil {
		return nil, err
	}
	// What runs was read from the file as it is, whatever was under way when somebody last wrote here.
	if state := s.State(); state.Installing != nil || state.Pending != nil {
		if err := s.SetState(store.State{Good: state.Good}); err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	e.store.Store(s)
	return s, nil
}

// record gives the configuration a number. One that runs already, and is not to be confirmed, has one.
func (w *written) record(p *proposal, config *Config) error {
	e, s := w.e, w.store
	if p.confirm == 0 && p.undoes == 0 {
		if c, ok := e.recorded(s, config.Hash); ok {
			w.number = c.Number
			return nil
		}
	}
	sources := make([]string, len(config.routes))
	c := store.Commit{Time: time.Now(), By: p.by, Comment: p.comment, Hash: config.Hash, Restores: p.restores, Undoes: p.undoes}
	for i, f := range config.routes {
		c.Files = append(c.Files, store.File{Name: f.Name, SHA256: f.SHA256})
		sources[i] = f.Path
		if source, ok := p.files[f.Path]; ok {
			sources[i] = source
		}
	}
	c, err := s.Record(c, config.Text, sources)
	if err != nil {
		return err
	}
	w.number, w.fresh = c.Number, true
	return nil
}

// recorded finds the record of a configuration where it is that of the commit in force, or at the start of the one that was.
func (e *Engine) recorded(s *store.Store, hash string) (store.Commit, bool) {
	state := s.State()
	n := state.Good
	if e.running.Load() != nil && e.number() != n {
		return store.Commit{}, false
	}
	if state.Installing != nil {
		n = state.Installing.Number
	}
	c, _, err := s.Commit(n)
	return c, err == nil && c.Hash == hash
}

// pendingAfter is the confirmation that is outstanding when the proposal is in force.
func (w *written) pendingAfter(p *proposal) *store.Pending {
	was := w.e.outstanding()
	switch {
	case p.confirm > 0:
		pending := &store.Pending{Number: w.number, Restore: w.e.number(), Deadline: time.Now().Add(p.confirm), By: p.by}
		if was != nil {
			pending.Restore = was.Restore
		}
		return pending
	case p.stay && was != nil:
		pending := *was
		pending.Number = w.number
		return &pending
	}
	return nil
}

// targets are the files that a commit replaces: the configuration comes last, so that its routes-files are there before it.
func (e *Engine) targets(p *proposal, config *Config) []store.Target {
	before, _ := e.Running()
	knew := map[string][]string{}
	if before != nil {
		knew[e.path] = []string{store.Sum(before.Text)}
		for _, f := range before.routes {
			knew[f.Path] = []string{f.SHA256}
		}
	}
	var targets []store.Target
	for _, f := range config.routes {
		if _, ok := p.files[f.Path]; ok {
			targets = append(targets, store.Target{Path: f.Path, SHA256: f.SHA256, Knew: knew[f.Path]})
		}
	}
	return append(targets, store.Target{Path: e.path, SHA256: store.Sum(config.Text), Text: config.Text, Knew: knew[e.path]})
}

// catchUp writes down what an earlier commit could not: that it is in force, or that there was one at all.
func (e *Engine) catchUp(s *store.Store) error {
	r := e.running.Load()
	if r == nil {
		return nil
	}
	state := s.State()
	if i := state.Installing; i != nil && i.Number == r.number {
		return s.SetState(store.State{Good: r.number, Pending: e.outstanding()})
	} else if i != nil { // one that did not come into force, and could not be taken back
		if err := s.Undo(store.State{Good: state.Good, Pending: e.outstanding()}); err != nil {
			return err
		}
	}
	if r.number != 0 {
		return nil
	}
	w := &written{e: e, store: s, before: state}
	err := w.record(&proposal{by: Author{Via: "boot"}, comment: "in force before commits were kept"}, r.config)
	if err == nil {
		err = s.SetState(store.State{Good: w.number, Pending: e.outstanding()})
	}
	if err != nil {
		return errors.Join(err, w.undo())
	}
	e.running.Store(&running{r.config, r.generation, w.number})
	return nil
}

// undo takes back what was written, when the configuration does not come into force.
func (w *written) undo() error {
	if w.store == nil {
		return nil
	}
	err := w.store.Undo(w.before)
	if err == nil && w.fresh {
		err = w.store.Drop(w.number)
	}
	if err != nil {
		w.e.degrade(fmt.Sprintf("commit %d was refused, but is on the disk and would be in force after a start", w.number), err)
	}
	return err
}

// settle says on disk that the configuration is in force. If that cannot be written, the next start or the next commit
// does it: the state says which commit is being installed.
func (w *written) settle(report *Report) {
	e := w.e
	e.recovered()
	if w.store == nil {
		if w.rollback { // the disk still says that it is due, and the next start does it again
			e.arm(nil)
		}
		return
	}
	if err := w.store.SetState(w.after); err != nil {
		e.setUnkept(err)
		e.log.Warn("commits are not kept", zap.String("file", e.path), zap.Error(err))
	}
	w.store.Prune()
	e.arm(w.after.Pending)
	if p := w.after.Pending; p != nil {
		report.ConfirmBy = &p.Deadline
	}
}

func (e *Engine) setUnkept(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.unkept = err
}

// Kept is nil if commits are kept, and else why not.
func (e *Engine) Kept() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.unkept
}

// Deadline is when the commit that waits for its confirmation is rolled back; zero where none does.
func (e *Engine) Deadline() time.Time {
	if p := e.outstanding(); p != nil {
		return p.Deadline
	}
	return time.Time{}
}

// keptNotice says that commits are not kept, if that is so.
func (e *Engine) keptNotice() []string {
	if err := e.Kept(); err != nil {
		return []string{fmt.Sprintf("commits are not kept: %v", err)}
	}
	return nil
}

// degrade notes that what runs is not what should, for everybody to see.
func (e *Engine) degrade(what string, err error) {
	e.log.Error(what, zap.Error(err))
	e.mu.Lock()
	defer e.mu.Unlock()
	e.degraded = fmt.Sprintf("%s: %v", what, err)
}

// recovered: something is in force that should be.
func (e *Engine) recovered() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.degraded = ""
}

// Trouble lists what is wrong with what runs: it is not what the file says.
func (e *Engine) Trouble() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.degraded == "" {
		return nil
	}
	return []string{e.degraded}
}

// Notices list what one should know of the configuration in force: that it waits for its confirmation, that it is there
// because another one was not confirmed, that commits are not kept.
func (e *Engine) Notices() []string {
	notices := e.keptNotice()
	if p := e.outstanding(); p != nil {
		notices = append(notices, fmt.Sprintf("commit %d (%v) is rolled back to %d at %s unless it is confirmed",
			p.Number, p.By, p.Restore, p.Deadline.Local().Format(time.DateTime)))
	}
	list := e.Commits()
	if i := slices.IndexFunc(list, func(c store.Commit) bool { return c.Running }); i >= 0 && list[i].Undoes != 0 {
		c := list[i]
		notices = append(notices, fmt.Sprintf("commit %d: %s (%s)", c.Number, c.Comment, c.Time.Local().Format(time.DateTime)))
	}
	return notices
}
