package mgmt

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"weir/mgmt/store"
	"weir/policy"
)

// Router is the running router as commits see it; package appliance has one. It is called by one commit at a time.
type Router interface {
	// Prepare opens what the snapshot needs beyond what runs, and changes nothing that forwards. When it fails, it
	// has undone what it did.
	Prepare(*policy.Snapshot) error

	// Publish makes the prepared snapshot the running one by one atomic store, waits until every worker has
	// acknowledged it, and returns its generation. A generation of 0 means that nothing was published. An error
	// beside a generation is trouble after the store, which cannot be taken back: who has not acknowledged, or
	// what could not be released.
	Publish() (generation uint64, err error)

	// Abort undoes Prepare.
	Abort()

	// Lost counts the packets that came and could not be forwarded for want of room or time: what a commit is to blame for,
	// of the difference that it makes.
	Lost() uint64
}

// Service is what runs beside the router as the configuration says. Every commit asks it to change, in the same steps as the
// Router, and calls one method at a time.
type Service interface {
	// Prepare opens what the configuration needs beyond what runs, and changes nothing that does. When it fails, it has undone
	// what it did.
	Prepare(System) error

	// Publish makes the prepared the running one. It cannot fail.
	Publish()

	// Abort undoes Prepare.
	Abort()
}

// Outcomes count commits by what became of them.
type Outcomes struct {
	Succeeded, Refused, Failed uint64
	RolledBack                 uint64 // taken back for want of confirmation; their rollbacks are among the Succeeded
}

// Engine puts configurations in force, and keeps them: in the configuration file, and the last ones beside it. Its methods
// may be called by any goroutine; commits wait for one another.
//
// The steps of a commit, in their order:
//
//	load      read, check, compile                               nothing has changed if it fails
//	prepare   the router opens what it needs                     undone if it fails
//	persist   record, state, files (package store)               undone if it fails; prepare too
//	publish   one atomic store                                   from here on it is in force
//	settle    the state on disk says that it is good             after a crash before that, Start goes on with it
type Engine struct {
	// Strict has Start fail where the file does, rather than go back to the last good commit. Set it before Start.
	Strict bool

	// Distrust says why Start shall not put the file in force, but the last good commit with another configuration; empty: it shall. It was
	// put in force before and did no good, as whoever starts weir has seen. Where there is no such commit, it is the file's turn all the
	// same. Set it before Start.
	Distrust string

	// Step is called before each step that changes something on disk or in the router, by its name. Tests end the process
	// there. Set it before Start.
	Step func(name string)

	path    string
	open    func(System) (Router, error)
	log     *zap.Logger
	turn    chan struct{} // holds a token while a commit is under way
	router  Router        // nil before the first commit; guarded by turn
	workers []int         // that the router was opened with; guarded by turn
	timer   *time.Timer   // of the confirmation that is outstanding; guarded by turn
	warning *time.Timer   // before it; guarded by turn
	closed  bool          // guarded by turn
	running atomic.Pointer[running]
	store   atomic.Pointer[store.Store] // nil: commits are not kept

	services                               []Service
	succeeded, refused, failed, rolledBack atomic.Uint64

	mu          sync.Mutex // guards what follows
	lock        *exclusive
	subscribers map[*subscriber]bool
	unkept      error  // why commits are not kept, or not all
	degraded    string // what runs is not what should
	pending     *store.Pending
}

type running struct {
	config     *Config
	generation uint64
	number     int // of the commit; 0: it is not recorded
}

// NewEngine returns an engine for the configuration file at path. When the first configuration has been read, open
// makes the router that it asks for; everything else about that router and the services, and their end, is the caller's.
// Where Start goes back to an earlier configuration with other workers, open is called again: it ends the router before.
func NewEngine(path string, open func(System) (Router, error), log *zap.Logger, services ...Service) *Engine {
	return &Engine{path: path, open: open, log: log, turn: make(chan struct{}, 1), services: services, subscribers: map[*subscriber]bool{}}
}

// Outcomes returns what became of the commits so far.
func (e *Engine) Outcomes() Outcomes {
	return Outcomes{e.succeeded.Load(), e.refused.Load(), e.failed.Load(), e.rolledBack.Load()}
}

// Running returns the configuration in force and its generation, or nil and 0 before the first commit.
func (e *Engine) Running() (*Config, uint64) {
	if r := e.running.Load(); r != nil {
		return r.config, r.generation
	}
	return nil, 0
}

// number is that of the commit in force; 0: it is not recorded.
func (e *Engine) number() int {
	if r := e.running.Load(); r != nil {
		return r.number
	}
	return 0
}

// take waits for the turn; put gives it back.
func (e *Engine) take(ctx context.Context) error {
	select {
	case e.turn <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("wait for the commit before: %w", ctx.Err())
	}
	if e.closed {
		e.put()
		return errors.New("weir is stopping")
	}
	return nil
}

func (e *Engine) put() { <-e.turn }

// Close ends the engine: from then on nothing is committed, and no deadline acted upon. A confirmation that is outstanding
// stays so on disk, for the next start to roll back.
func (e *Engine) Close() error {
	e.turn <- struct{}{}
	defer e.put()
	if e.closed {
		return nil
	}
	e.closed = true
	e.disarm()
	if s := e.store.Load(); s != nil {
		return s.Close()
	}
	return nil
}

func (e *Engine) step(name string) {
	if e.Step != nil {
		e.Step(name)
	}
}

// prepare has everybody open what the configuration needs, or nobody.
func (e *Engine) prepare(config *Config) error {
	e.step("prepare")
	for i, s := range e.services {
		if err := s.Prepare(config.System); err != nil {
			abort(e.services[:i])
			return err
		}
	}
	if err := e.router.Prepare(config.Snapshot); err != nil {
		abort(e.services)
		return err
	}
	return nil
}

func (e *Engine) abort() {
	e.router.Abort()
	abort(e.services)
}

func abort(services []Service) {
	for _, s := range services {
		s.Abort()
	}
}

// openRouter makes the router for the first configuration, or anew where another one needs other workers.
func (e *Engine) openRouter(config *Config) error {
	if e.router != nil && slices.Equal(e.workers, config.System.Workers) {
		return nil
	}
	e.router = nil
	router, err := e.open(config.System)
	if err != nil {
		return fmt.Errorf("open router: %w", err)
	}
	e.router, e.workers = router, config.System.Workers
	return nil
}
