package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"weir/appliance"
	"weir/mgmt"
	"weir/perf/lab"
)

// weir is a running router: the test program as weir, in the router's namespace.
type weir struct {
	t       *testing.T
	n       *network
	dir     string // of everything that follows
	file    string // configuration
	control string
	state   string // directory
	process *lab.Process
	before  []string // fingerprint of the kernel
	over    bool

	env        []string // of the process, besides
	through    []string // a command that starts it
	unbalanced bool     // chunks may be stuck in a ring: a link is down, or gone
}

// executable is the test program.
func executable(t *testing.T) string { return must[string](t)(os.Executable()) }

// start starts the router and waits until it is ready. At the end of the test it must have lost no packet without
// saying so, must end in order, and must leave the kernel as it was.
func (n *network) start(config string, args ...string) *weir {
	n.t.Helper()
	w := n.prepare(config)
	w.run(args...)
	return w
}

// prepare is start without starting.
func (n *network) prepare(config string) *weir {
	n.t.Helper()
	t := n.t
	dir := must[string](t)(os.MkdirTemp("", "weir-test-")) // short enough for a socket, as t.TempDir may not be
	t.Cleanup(func() { need(t, os.RemoveAll(dir)) })
	w := &weir{t: t, n: n, dir: dir, file: filepath.Join(dir, "weir.yaml"), control: filepath.Join(dir, "control"),
		state: filepath.Join(dir, "state"), before: n.fingerprint(), over: true}
	w.write(config)
	t.Cleanup(func() {
		if !w.over {
			w.finish()
		}
	})
	t.Cleanup(func() {
		if t.Failed() {
			w.tell()
		}
	})
	return w
}

func (w *weir) write(config string) {
	w.t.Helper()
	need(w.t, os.WriteFile(w.file, []byte(config), 0o600))
}

// command is the router's process.
func (w *weir) command(args ...string) lab.Command {
	args = append([]string{"run", "-c", w.file, "--control", w.control, "--state-dir", w.state}, args...)
	args = slices.Concat(w.through, []string{executable(w.t)}, args)
	return lab.Command{Name: args[0], Args: args[1:], Env: []string{asWeir + "=1", "GORACE=atexit_sleep_ms=0"}}
}

// run starts the process and waits until it is ready.
func (w *weir) run(args ...string) {
	w.t.Helper()
	notify := must[*lab.Notify](w.t)(w.n.lab.ListenNotify())
	c := w.command(args...)
	c.Env = append(append(c.Env, notify.Env()), w.env...)
	w.process = must[*lab.Process](w.t)(w.n.router.Start(context.Background(), c))
	w.over = false
	ctx, cancel := context.WithTimeout(w.t.Context(), 20*time.Second)
	defer cancel()
	go func(ended <-chan struct{}) {
		select {
		case <-ended:
			cancel()
		case <-ctx.Done():
		}
	}(w.process.Done())
	if err := notify.Wait(ctx, "READY=1"); err != nil {
		w.over = true
		w.t.Fatalf("router is not ready: %v; it said:\n%s", err, w.process.Output())
	}
	go func() { _ = notify.Wait(context.Background(), "") }() // a full socket would block the router; it ends with the laboratory
	eventually(w.t, "the control socket answers", func() (bool, any) {
		_, _, err := mgmt.Call(ctx, w.control, "show", "workers")
		return err == nil, err
	})
}

// fails starts the process, which must end by itself with exit status 1 rather than go back to the last good configuration, and
// returns what it said.
func (w *weir) fails(args ...string) string {
	w.t.Helper()
	args = append(args, "--strict")
	p := must[*lab.Process](w.t)(w.n.router.Start(testContext(w.t), w.command(args...)))
	err := p.Wait()
	if !strings.Contains(fmt.Sprint(err), "exit status 1") {
		w.t.Errorf("router ended with %v, not with exit status 1; it said:\n%s", err, p.Output())
	}
	return p.Output()
}

// call runs a command over the control socket.
func (w *weir) call(args ...string) (string, int) {
	w.t.Helper()
	out, status, err := mgmt.Call(testContext(w.t), w.control, args...)
	need(w.t, err)
	return string(out), status
}

// look asks the router for its state.
func (w *weir) look() appliance.State {
	w.t.Helper()
	out, status := w.call("show", "counters", "|", "json")
	var s appliance.State
	if err := json.Unmarshal([]byte(out), &s); err != nil || status != mgmt.StatusOK {
		w.t.Fatalf("state of the router: status %d, %v: %s", status, err, out)
	}
	return s
}

// balance is how many packets the router cannot account for.
func balance(t appliance.Totals) int64 {
	var drops uint64
	for _, n := range t.Drops {
		drops += n
	}
	return int64(t.Received+t.Generated+t.Fragments) - int64(t.Transmitted+t.Punted+t.Fragmented+drops) - t.Waiting
}

// imbalance says what does not add up in a state, nil if all does.
func (w *weir) imbalance(s appliance.State) error {
	var errs []error
	if b := balance(s.Totals); b != 0 {
		errs = append(errs, fmt.Errorf("%d packets of %+v are unaccounted for", b, s.Totals))
	}
	for _, p := range s.Ports {
		var received uint64
		for _, q := range p.Queues {
			if q.Completed != q.Transmitted && !w.unbalanced {
				errs = append(errs, fmt.Errorf("queue %d of %s: %d transmitted, %d completed", q.Queue, p.Name, q.Transmitted, q.Completed))
			}
			received += q.Received + q.RingFull + q.NoFill
		}
		if got := p.Steered["redirected"]; got != received && !w.unbalanced {
			errs = append(errs, fmt.Errorf("port %s: %d redirected to its queues, %d received or dropped there", p.Name, got, received))
		}
	}
	return errors.Join(errs...)
}

// rest waits until no packet is on its way any more, and every one is accounted for.
func (w *weir) rest() appliance.State {
	w.t.Helper()
	var s appliance.State
	last := ""
	eventually(w.t, "the router accounts for every packet", func() (bool, any) {
		s = w.look()
		var packets []any // what else there is in a state goes on: workers sleep, the kernel probes neighbours
		for i := range s.Ports {
			p := &s.Ports[i]
			packets = append(packets, p.Traffic, p.Queues, p.Steered["redirected"])
		}
		text := string(must[[]byte](w.t)(json.Marshal([]any{s.Totals, packets})))
		same := text == last
		was := last
		last = text
		err := w.imbalance(s)
		return same && err == nil, fmt.Sprintf("%v\n%s\n%s", err, was, text)
	})
	return s
}

// finish stops the router and checks how it ended.
func (w *weir) finish() {
	w.t.Helper()
	w.rest()
	w.stop()
}

// stop ends the router by SIGTERM: exit status 0, the kernel as it was before, no files.
func (w *weir) stop() {
	w.t.Helper()
	w.over = true
	need(w.t, w.process.Signal(syscall.SIGTERM))
	select {
	case <-w.process.Done():
	case <-testContext(w.t).Done():
		need(w.t, w.process.Signal(syscall.SIGQUIT)) // tells where every goroutine is
	}
	if err := w.process.Wait(); err != nil {
		w.t.Errorf("router did not end in order: %v", err)
	}
	if _, report, race := strings.Cut(w.process.Output(), "WARNING: DATA RACE"); race {
		w.t.Errorf("data race:%s", report)
	}
	w.clean()
}

// clean checks that the kernel is as it was before the router came, and that no files are left.
func (w *weir) clean() {
	w.t.Helper()
	if err := difference(w.before, w.n.fingerprint()); err != nil {
		w.t.Errorf("the router left the kernel changed:\n%v", err)
	}
	left, _ := filepath.Glob(filepath.Join(w.state, "*"))
	if _, err := os.Stat(w.control); err == nil {
		left = append(left, w.control)
	}
	if len(left) > 0 {
		w.t.Errorf("files left: %q", left)
	}
}

// kill ends the router by SIGKILL.
func (w *weir) kill() {
	w.t.Helper()
	w.over = true
	need(w.t, w.process.Signal(syscall.SIGKILL))
	<-w.process.Done()
}

// tell logs what the router said and counted, for a test that failed.
func (w *weir) tell() {
	if w.process == nil {
		return
	}
	w.t.Logf("router's log:\n%s", w.process.Output())
	for _, what := range []string{"counters", "ports", "neighbors", "workers"} {
		out, _, err := mgmt.Call(context.Background(), w.control, "show", what)
		if err != nil {
			w.t.Logf("show %s: %v", what, err)
			return
		}
		w.t.Logf("show %s:\n%s", what, out)
	}
	for _, e := range w.n.ends {
		for _, side := range []struct {
			host *lab.Host
			port string
		}{{e.Host, hostPort}, {w.n.router, e.port}} {
			if s, err := side.host.Statistics(side.port); err == nil {
				w.t.Logf("%s of %s: received %d (dropped %d), sent %d (dropped %d)",
					side.port, side.host.Name(), s.RxPackets, s.RxDropped, s.TxPackets, s.TxDropped)
			}
		}
	}
}

// reload makes the router read its file again and returns the generation.
func (w *weir) reload() uint64 {
	w.t.Helper()
	out, status := w.call("reload", "|", "json")
	var r mgmt.Report
	if err := json.Unmarshal([]byte(out), &r); status != mgmt.StatusOK || err != nil || r.Trouble != "" {
		w.t.Fatalf("reload: status %d, %v: %s", status, err, out)
	}
	return r.Generation
}

// hangup sends SIGHUP and waits until the router runs a newer generation than before.
func (w *weir) hangup() {
	w.t.Helper()
	before := w.look().Generation
	need(w.t, w.process.Signal(syscall.SIGHUP))
	eventually(w.t, "the router has reloaded", func() (bool, any) {
		g := w.look().Generation
		return g > before, g
	})
}
