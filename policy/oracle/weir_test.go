package oracle

import (
	"context"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"weir/perf/lab"
)

// weir is the program itself, running in a namespace, with wires at its ports.
type weir struct {
	*wires
	binary, file, control string
	process               *lab.Process
}

// newWeir builds weir and starts it in a namespace of a router with a configuration.
func newWeir(t *testing.T, l *lab.Lab, r *router, d *description) *weir {
	t.Helper()
	dir := must[string](t)(os.MkdirTemp("", "weir-oracle-")) // short enough for a socket
	t.Cleanup(func() { check(t, os.RemoveAll(dir)) })
	w := &weir{wires: openWires(t, r), binary: filepath.Join(dir, "weir"), file: filepath.Join(dir, "weir.yaml"), control: filepath.Join(dir, "control")}
	if out, err := exec.Command("go", "build", "-buildvcs=false", "-o", w.binary, "weir/cmd/weir").CombinedOutput(); err != nil {
		t.Fatalf("build weir: %v\n%s", err, out)
	}
	w.write(t, d)
	notify := must[*lab.Notify](t)(l.ListenNotify())
	w.process = must[*lab.Process](t)(r.Start(context.Background(), lab.Command{Name: w.binary, Env: []string{notify.Env()},
		Args: []string{"run", "-c", w.file, "--control", w.control, "--state-dir", filepath.Join(dir, "state")}}))
	t.Cleanup(func() {
		check(t, w.process.Signal(syscall.SIGTERM))
		if err := w.process.Wait(); err != nil || t.Failed() {
			said := w.process.Output()
			t.Logf("weir ended with %v and said last:\n%s", err, said[max(0, len(said)-2000):])
		}
	})
	ctx, cancel := context.WithCancel(testContext(t))
	defer cancel()
	go func() {
		select {
		case <-w.process.Done():
			cancel()
		case <-ctx.Done():
		}
	}()
	if err := notify.Wait(ctx, "READY=1"); err != nil {
		t.Fatalf("weir is not ready: %v; it said:\n%s", err, w.process.Output())
	}
	return w
}

func (w *weir) write(t *testing.T, d *description) {
	t.Helper()
	check(t, os.WriteFile(w.file, []byte(d.file()), 0o600))
}

// configure replaces what was configured before; when it returns, every worker has the new configuration.
func (w *weir) configure(t *testing.T, d *description) {
	t.Helper()
	w.write(t, d)
	if out, err := exec.CommandContext(testContext(t), w.binary, "reload", "--control", w.control).CombinedOutput(); err != nil {
		t.Fatalf("reload: %v\n%s\n%s", err, out, d.file())
	}
}

// TestWeir sends the same packets through a kernel that routes and through weir, and compares what comes out.
func TestWeir(t *testing.T) {
	l := lab.ForTest(t)
	k := newLinux(t, l, "linux")
	first := newDescription(true)
	reserve(first)
	w := newWeir(t, l, newRouter(t, l, "weir"), first)
	counts := map[string]int{}
	series(t, 100, 100, func(t *testing.T, number, packets int, r *rand.Rand) {
		g := newWireGenerator(r, number)
		g.file = true
		d := g.description(reserve)
		k.configure(t, d)
		w.configure(t, d)
		list := k.trials(t, g, d, asksWeir, packets, counts)
		linux, weir := k.exchange(t, list), w.exchange(t, list)
		for i, x := range list {
			if problem := x.compare(linux[i], weir[i]); problem != "" {
				t.Errorf("%s\nsent %x\nLinux %v\nweir  %v\n%+v\n%s\n%s", problem, x.frame, linux[i], weir[i], *x.p, x.decision, d.file())
				return
			}
			counts[x.s.Explain(&x.key).Verdict]++
		}
	})
	t.Logf("decisions: %v", counts)
}

// compare says where what two routers made of a packet differs; empty if it does not. Of several next hops each may take
// its own.
func (x *trial) compare(linux, weir []sighting) string {
	e := x.expect(x.frame)
	if problem := e.disagrees(x.decision, linux); problem != "" {
		return "Linux: " + problem
	}
	if problem := e.disagrees(x.decision, weir); problem != "" {
		return "weir: " + problem
	}
	if e.local || len(x.ways()) > 1 {
		return ""
	}
	if !slices.EqualFunc(linux, weir, x.same) {
		return "Linux and weir differ"
	}
	return ""
}
