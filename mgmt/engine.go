package mgmt

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

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
type Outcomes struct{ Succeeded, Refused, Failed uint64 }

// Engine puts configurations in force. Its methods may be called by any goroutine; commits wait for one another.
type Engine struct {
	path    string
	open    func(System) (Router, error)
	log     *zap.Logger
	turn    chan struct{} // holds a token while a commit is under way
	router  Router        // nil before the first commit; guarded by turn
	workers []int         // that the router was opened with; guarded by turn
	running atomic.Pointer[running]

	services                   []Service
	succeeded, refused, failed atomic.Uint64
}

type running struct {
	config     *Config
	generation uint64
}

// NewEngine returns an engine for the configuration file at path. When the first configuration has been read, open
// makes the router that it asks for; everything else about that router and the services, and their end, is the caller's.
func NewEngine(path string, open func(System) (Router, error), log *zap.Logger, services ...Service) *Engine {
	return &Engine{path: path, open: open, log: log, turn: make(chan struct{}, 1), services: services}
}

// Outcomes returns what became of the commits so far.
func (e *Engine) Outcomes() Outcomes {
	return Outcomes{e.succeeded.Load(), e.refused.Load(), e.failed.Load()}
}

// Running returns the configuration in force and its generation, or nil and 0 before the first commit.
func (e *Engine) Running() (*Config, uint64) {
	if r := e.running.Load(); r != nil {
		return r.config, r.generation
	}
	return nil, 0
}

// Report is what became of a commit.
type Report struct {
	Generation uint64   `json:"generation"`         // in force now; the earlier one if the commit failed
	Hash       string   `json:"hash,omitempty"`     // of the configuration in force now
	Problems   Problems `json:"problems,omitempty"` // of the file; if one is an error, the commit was refused
	Failed     string   `json:"failed,omitempty"`   // why it is not in force, where the file is not to blame
	Trouble    string   `json:"trouble,omitempty"`  // what went wrong after it came into force

	LoadMillis    float64 `json:"load_ms"` // read, check, compile
	PrepareMillis float64 `json:"prepare_ms"`
	PublishMillis float64 `json:"publish_ms"` // until the last worker has acknowledged
}

// OK reports whether the configuration came into force.
func (r *Report) OK() bool { return r.Failed == "" && !r.Problems.Refused() }

// Err is nil if the configuration came into force.
func (r *Report) Err() error {
	if err := r.Problems.Err(); err != nil {
		return err
	}
	if r.Failed != "" {
		return errors.New(r.Failed)
	}
	return nil
}

// String is the report for people.
func (r *Report) String() string {
	var b strings.Builder
	b.WriteString(r.Problems.String())
	switch {
	case r.Failed != "":
		fmt.Fprintf(&b, "%s; generation %d stays\n", r.Failed, r.Generation)
	case r.Problems.Refused():
		fmt.Fprintf(&b, "refused; generation %d stays\n", r.Generation)
	default:
		fmt.Fprintf(&b, "generation %d (load %.1f ms, prepare %.1f ms, publish %.1f ms)\n", r.Generation, r.LoadMillis, r.PrepareMillis, r.PublishMillis)
	}
	if r.Trouble != "" {
		fmt.Fprintf(&b, "degraded: %s\n", r.Trouble)
	}
	return b.String()
}

// Start puts the first configuration in force. If the report is not OK, nothing runs.
func (e *Engine) Start(ctx context.Context) Report { return e.Reload(ctx) }

// Reload reads the file again and puts it in force, or leaves everything as it is and says why. When it returns, no
// worker forwards by the earlier configuration any more, unless Trouble says so. Canceling ctx stops a commit that
// has not been published.
func (e *Engine) Reload(ctx context.Context) Report {
	select {
	case e.turn <- struct{}{}:
		defer func() { <-e.turn }()
	case <-ctx.Done():
		r := e.report()
		r.Failed = "wait for the commit before: " + ctx.Err().Error()
		return r
	}
	report := e.commit(ctx)
	e.tell(&report)
	return report
}

// report is a report of nothing yet.
func (e *Engine) report() (r Report) {
	config, generation := e.Running()
	if config != nil {
		r.Hash, r.Generation = config.Hash, generation
	}
	return r
}

// commit is the walk of a configuration. Every return before the last one leaves the running generation in force.
func (e *Engine) commit(ctx context.Context) Report {
	report := e.report()
	fail := func(format string, args ...any) Report {
		report.Failed = fmt.Sprintf(format, args...)
		return report
	}

	start := time.Now()
	config, problems := Load(e.path)
	report.LoadMillis = millisSince(start)
	report.Problems = problems
	if config == nil {
		return report
	}
	if err := ctx.Err(); err != nil {
		return fail("load: %v", err)
	}

	start = time.Now()
	if e.router == nil {
		router, err := e.open(config.System)
		if err != nil {
			return fail("open router: %v", err)
		}
		e.router, e.workers = router, config.System.Workers
	} else if !slices.Equal(e.workers, config.System.Workers) {
		report.Problems = append(slices.Clip(report.Problems), Problem{
			Position: config.workersPosition(), Path: "system.workers",
			Message: "workers stay as they are until weir starts again", Severity: Warning,
		})
	}
	err := e.prepare(config)
	report.PrepareMillis = millisSince(start)
	if err != nil {
		return fail("prepare: %v", err)
	}
	if err := ctx.Err(); err != nil {
		e.abort()
		return fail("prepare: %v", err)
	}

	start = time.Now()
	generation, err := e.router.Publish()
	report.PublishMillis = millisSince(start)
	switch {
	case generation == 0 && err == nil:
		e.abort()
		return fail("publish: the router gave no generation")
	case generation == 0:
		e.abort()
		return fail("publish: %v", err)
	case err != nil:
		report.Trouble = err.Error()
	}
	for _, s := range e.services {
		s.Publish()
	}
	e.running.Store(&running{config, generation})
	report.Generation, report.Hash = generation, config.Hash
	return report
}

// prepare has everybody open what the configuration needs, or nobody.
func (e *Engine) prepare(config *Config) error {
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

// tell logs a commit, once, when its outcome is known.
func (e *Engine) tell(r *Report) {
	fields := []zap.Field{
		zap.String("file", e.path), zap.Uint64("generation", r.Generation), zap.String("hash", r.Hash),
		zap.Float64("load_ms", r.LoadMillis), zap.Float64("prepare_ms", r.PrepareMillis), zap.Float64("publish_ms", r.PublishMillis),
		zap.Int("problems", len(r.Problems)),
	}
	if len(r.Problems) > 0 {
		fields = append(fields, zap.String("first_problem", r.Problems[0].String()))
	}
	switch {
	case r.Failed != "":
		e.failed.Add(1)
	case r.Problems.Refused():
		e.refused.Add(1)
	default:
		e.succeeded.Add(1)
	}
	switch {
	case r.Failed != "":
		e.log.Error("commit failed", append(fields, zap.String("error", r.Failed))...)
	case r.Problems.Refused():
		e.log.Error("commit refused", fields...)
	case r.Trouble != "":
		e.log.Error("commit took effect with trouble", append(fields, zap.String("error", r.Trouble))...)
	default:
		e.log.Info("commit", fields...)
	}
}

func millisSince(start time.Time) float64 {
	return float64(time.Since(start)) / float64(time.Millisecond)
}
