package mgmt

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"weir/policy"
)

// fakeRouter does what a Router promises, and notes what it is asked to do.
type fakeRouter struct {
	prepareErr, publishErr, troubleErr error
	onPrepare                          func()

	calls      []string
	prepared   *policy.Snapshot
	running    *policy.Snapshot
	generation uint64
	lost       uint64
	busy       sync.Mutex
}

func (r *fakeRouter) note(call string) func() {
	if !r.busy.TryLock() {
		panic("two commits at a time")
	}
	r.calls = append(r.calls, call)
	return r.busy.Unlock
}

func (r *fakeRouter) Prepare(s *policy.Snapshot) error {
	defer r.note("prepare")()
	if r.onPrepare != nil {
		r.onPrepare()
	}
	if r.prepareErr != nil {
		return r.prepareErr
	}
	r.prepared = s
	return nil
}

func (r *fakeRouter) Publish() (uint64, error) {
	defer r.note("publish")()
	if r.publishErr != nil {
		return 0, r.publishErr
	}
	r.running, r.prepared = r.prepared, nil
	r.generation++
	return r.generation, r.troubleErr
}

func (r *fakeRouter) Abort() {
	defer r.note("abort")()
	r.prepared = nil
}

func (r *fakeRouter) Lost() uint64 { return r.lost }

// bench is an engine over a fake router, and a file.
type bench struct {
	*Engine
	t      *testing.T
	router *fakeRouter
	path   string
	logs   *observer.ObservedLogs
	opened []System
}

func newBench(t *testing.T, text string) *bench {
	core, logs := observer.New(zapcore.InfoLevel)
	b := &bench{t: t, router: &fakeRouter{}, path: filepath.Join(t.TempDir(), "weir.yaml"), logs: logs}
	b.write(text)
	b.Engine = NewEngine(b.path, func(s System) (Router, error) {
		b.opened = append(b.opened, s)
		return b.router, nil
	}, zap.New(core))
	t.Cleanup(func() { b.Close() })
	return b
}

// byHand is who reloads.
var byHand = Author{User: "root", Via: "control"}

func (b *bench) reload() Report { return b.Reload(context.Background(), byHand) }

func (b *bench) write(text string) {
	b.t.Helper()
	if err := os.WriteFile(b.path, []byte(text), 0o600); err != nil {
		b.t.Fatal(err)
	}
}

const (
	oneRule = "version: 1\nsystem: {workers: [1]}\nrules: [{name: a, priority: 1, action: nop}]\n"
	twoRule = "version: 1\nsystem: {workers: [1]}\nrules: [{name: a, priority: 1, action: nop}, {name: b, priority: 2, action: nop}]\n"
	noRule  = "version: 1\nrules: [{name: a, priority: 1}]\n"
)

func TestCommit(t *testing.T) {
	b := newBench(t, oneRule)
	report := b.Start(context.Background())
	if !report.OK() || report.Err() != nil || report.Generation != 1 {
		t.Fatal(report.String())
	}
	b.write(twoRule)
	report = b.reload()
	config, generation := b.Running()
	if !report.OK() || report.Generation != 2 || generation != 2 || report.Hash != config.Hash || string(config.Text) != twoRule {
		t.Fatal(report.String())
	}
	if b.router.running != config.Snapshot || b.router.running.Rules() != 5 {
		t.Error("another snapshot runs")
	}
	if want := []string{"prepare", "publish", "prepare", "publish"}; !slices.Equal(b.router.calls, want) {
		t.Errorf("calls %v, want %v", b.router.calls, want)
	}
	if len(b.opened) != 1 || !slices.Equal(b.opened[0].Workers, []int{1}) {
		t.Errorf("opened %v", b.opened)
	}
	if b.logs.FilterMessage("commit").Len() != 2 || b.logs.Len() != 2 {
		t.Errorf("logs %v", b.logs.All())
	}
}

// TestCommitFails fails a second commit at every step, and checks that the first one stays in force.
func TestCommitFails(t *testing.T) {
	broken := errors.New("broken")
	for name, c := range map[string]struct {
		fail  func(b *bench, cancel func())
		calls []string
		want  string
	}{
		"read":                  {func(b *bench, _ func()) { os.Remove(b.path) }, nil, "no such file"},
		"check":                 {func(b *bench, _ func()) { b.write(noRule) }, nil, "rule does nothing"},
		"compile":               {func(b *bench, _ func()) { b.write("version: 1\ntables: {x: {id: 1, on-miss: {lookup: x}}}\n") }, nil, "lookup cycle"},
		"prepare":               {func(b *bench, _ func()) { b.router.prepareErr = broken }, []string{"prepare"}, "prepare: broken"},
		"cancel before prepare": {func(_ *bench, cancel func()) { cancel() }, nil, "context canceled"},
		"cancel after prepare":  {func(b *bench, cancel func()) { b.router.onPrepare = cancel }, []string{"prepare", "abort"}, "context canceled"},
		"publish":               {func(b *bench, _ func()) { b.router.publishErr = broken }, []string{"prepare", "publish", "abort"}, "publish: broken"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, oneRule)
			if report := b.Start(context.Background()); !report.OK() {
				t.Fatal(report.String())
			}
			before, _ := b.Running()
			b.write(twoRule)
			b.router.calls = nil
			b.logs.TakeAll()
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			c.fail(b, cancel)
			report := b.Reload(ctx, byHand)
			after, generation := b.Running()
			if report.OK() || report.Err() == nil || !strings.Contains(report.String(), c.want) || !strings.Contains(report.Err().Error(), c.want) {
				t.Errorf("report %q, want %q", report.String(), c.want)
			}
			if after != before || generation != 1 || report.Generation != 1 || report.Hash != before.Hash ||
				b.router.running != before.Snapshot || b.router.prepared != nil || b.router.generation != 1 {
				t.Errorf("generation %d runs after a failure", generation)
			}
			if !slices.Equal(b.router.calls, c.calls) {
				t.Errorf("calls %v, want %v", b.router.calls, c.calls)
			}
			if logs := b.logs.TakeAll(); len(logs) > 1 || len(logs) == 1 && logs[0].Level != zapcore.ErrorLevel {
				t.Errorf("logs %v", logs)
			}

			b.router.prepareErr, b.router.publishErr, b.router.onPrepare = nil, nil, nil
			b.write(twoRule)
			if report := b.reload(); !report.OK() || report.Generation != 2 {
				t.Errorf("afterwards: %s", report.String())
			}
		})
	}
}

func TestStartFails(t *testing.T) {
	b := newBench(t, noRule)
	report := b.Start(context.Background())
	if config, generation := b.Running(); report.OK() || len(report.Problems) != 1 || config != nil || generation != 0 || len(b.opened) != 0 {
		t.Errorf("report %v", report)
	}
	b.write(oneRule)
	open := b.open
	b.Engine.open = func(System) (Router, error) { return nil, errors.New("no XDP") }
	if report := b.reload(); report.OK() || !strings.Contains(report.Failed, "no XDP") {
		t.Errorf("report %v", report)
	}
	b.Engine.open = open
	if report := b.reload(); !report.OK() {
		t.Errorf("report %v", report)
	}
}

// TestTrouble checks that what fails after the store does not hide that the store happened.
func TestTrouble(t *testing.T) {
	b := newBench(t, oneRule)
	b.router.troubleErr = errors.New("worker 3 is late")
	report := b.Start(context.Background())
	if !report.OK() || report.Generation != 1 || !strings.Contains(report.String(), "degraded: worker 3 is late") {
		t.Errorf("report %s", report.String())
	}
	if config, _ := b.Running(); config == nil || b.logs.FilterLevelExact(zapcore.ErrorLevel).Len() != 1 {
		t.Error("the configuration in force is not the running one, or nobody was told")
	}
}

func TestWorkersStay(t *testing.T) {
	b := newBench(t, oneRule)
	b.Start(context.Background())
	b.write(strings.Replace(oneRule, "[1]", "[2]", 1))
	report := b.reload()
	if !report.OK() || len(report.Problems) != 1 || report.Problems[0].Severity != Warning || report.Problems[0].Line != 2 {
		t.Errorf("report %s", report.String())
	}
}

// TestSerialised starts many commits at once; the fake panics if two of them meet.
func TestSerialised(t *testing.T) {
	b := newBench(t, oneRule)
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() { b.reload() })
	}
	all.Wait()
	if _, generation := b.Running(); generation != 16 {
		t.Errorf("generation %d", generation)
	}
	b.turn <- struct{}{} // a commit that does not end
	defer b.put()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if report := b.Reload(ctx, byHand); report.OK() || report.Generation != 16 {
		t.Errorf("report %s", report.String())
	}
}
