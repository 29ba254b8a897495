package mgmt

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"

	"weir/mgmt/store"
)

// victim is what a process does that is to be killed: the test program as a router with a fake data plane, which starts with
// the file and does one thing more.
type victim struct {
	Path  string
	Do    string // commit, confirmed, rollback, confirm, reload, or nothing more
	Kill  int    // the step before which it ends; 0: it names the steps and lives
	Other string // file that becomes x.routes
}

const victimEnv = "WEIR_TEST_VICTIM"

func TestMain(m *testing.M) {
	if text := os.Getenv(victimEnv); text != "" {
		var v victim
		if err := json.Unmarshal([]byte(text), &v); err != nil {
			panic(err)
		}
		v.run()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func (v *victim) run() {
	e := NewEngine(v.Path, func(System) (Router, error) { return &fakeRouter{}, nil }, zap.NewNop())
	steps := 0
	e.Step = func(name string) {
		if steps++; v.Kill == 0 {
			fmt.Println(name)
		} else if steps == v.Kill {
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	ctx := context.Background()
	must := func(r Report) {
		if !r.OK() {
			panic(r.String())
		}
	}
	must(e.Start(ctx))
	c := Change{Text: []byte(crashNew), Files: map[string]string{"x.routes": v.Other}, By: alice}
	switch v.Do {
	case "commit":
		must(e.Commit(ctx, c))
	case "confirmed":
		c.Confirm = time.Hour
		must(e.Commit(ctx, c))
	case "rollback":
		must(e.Rollback(ctx, 1, alice, "", 0))
	case "abort":
		must(e.Abort(ctx, alice))
	case "confirm":
		if err := e.Confirm(alice); err != nil {
			panic(err)
		}
	}
	if err := e.Close(); err != nil {
		panic(err)
	}
}

// start runs it, and returns the steps that it went.
func (v victim) start(t *testing.T) []string {
	t.Helper()
	text, _ := json.Marshal(v)
	command := exec.Command(os.Args[0])
	command.Env = append(os.Environ(), victimEnv+"="+string(text))
	command.Stderr = os.Stderr
	out, err := command.Output()
	if status, ok := command.ProcessState.Sys().(syscall.WaitStatus); v.Kill == 0 && err != nil || v.Kill > 0 && (!ok || status.Signal() != syscall.SIGKILL) {
		t.Fatalf("victim ended with %v: %s", err, out)
	}
	return strings.Fields(strings.ReplaceAll(string(out), " ", "_"))
}

const (
	crashBase = "version: 1\nports: {em0: {addresses: [192.0.2.1/24]}}\ntables: {x: {id: 100, routes-file: x.routes}}\n"
	crashOld  = crashBase + "rules: [{priority: 1, name: old, lookup: x}]\n"
	crashNew  = crashBase + "rules: [{priority: 1, name: new, lookup: x}]\n"
	routesOld = "10.0.0.0/8 via 192.0.2.9\n"
	routesNew = "10.0.0.0/8 via 192.0.2.9\n10.1.0.0/16 via 192.0.2.9\n"
)

// TestKilled kills a router before each of its steps, then once more while it starts again, before each step of that. In the end
// it runs either the old or the new configuration with all of its files, and the history agrees.
func TestKilled(t *testing.T) {
	for do, want := range map[string]struct {
		before []string // what was done before
		either [2]string
		last   string // that of a start after the thing was done
	}{
		"commit":    {nil, [2]string{"old", "new"}, "new"},
		"confirmed": {nil, [2]string{"old", "old"}, "old"},
		"rollback":  {[]string{"commit"}, [2]string{"new", "old"}, "old"},
	} {
		t.Run(do, func(t *testing.T) {
			t.Parallel()
			prepare := func() victim {
				dir := memory(t)
				v := victim{Path: filepath.Join(dir, "weir.yaml"), Do: do, Other: filepath.Join(dir, "other")}
				for path, text := range map[string]string{v.Path: crashOld, filepath.Join(dir, "x.routes"): routesOld, v.Other: routesNew} {
					if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				for _, first := range want.before {
					v := v
					v.Do = first
					v.start(t)
				}
				return v
			}
			v := prepare()
			steps := v.start(t)
			if whole := inForce(t, v); whole != want.last {
				t.Fatalf("%s runs after all steps, not %s", whole, want.last)
			}
			if !slices.Contains(steps, "publish") || len(steps) < 15 {
				t.Fatalf("steps %q", steps)
			}
			t.Logf("%d steps: %s", len(steps), strings.Join(steps, ", "))
			for kill := 1; kill <= len(steps); kill++ {
				v := prepare()
				v.Kill = kill
				v.start(t)
				v.Do, v.Kill = "", 0
				saved := copied(t, filepath.Dir(v.Path))
				restart := len(v.start(t))
				if restart <= 5 { // nothing to go on with: prepare, publish, and the state
					restart = 0
				}
				for again := range restart {
					second := v
					second.Path = filepath.Join(copied(t, saved), "weir.yaml")
					second.Kill = again + 1
					second.start(t)
					if whole := inForce(t, second); whole != want.either[0] && whole != want.either[1] {
						t.Errorf("killed before %s, and then before step %d of the start: %s runs", steps[kill-1], again+1, whole)
					}
				}
				if whole := inForce(t, v); whole != want.either[0] && whole != want.either[1] {
					t.Errorf("killed before %s: %s runs", steps[kill-1], whole)
				}
			}
		})
	}
}

// memory is a temporary directory, on a file system that need not wait for a disk if there is one: what a killed process
// has written is there on either.
func memory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "weir-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// copied is a copy of a directory.
func copied(t *testing.T, dir string) string {
	t.Helper()
	to := memory(t)
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return to
}

// inForce starts with what a victim has left, and says which configuration runs, and what does not agree with it.
func inForce(t *testing.T, v victim) string {
	t.Helper()
	e := NewEngine(v.Path, func(System) (Router, error) { return &fakeRouter{}, nil }, zap.NewNop())
	defer e.Close()
	if r := e.Start(context.Background()); !r.OK() || r.Trouble != "" || len(e.Trouble()) > 0 {
		return fmt.Sprintf("nothing: %s %v", r.String(), e.Trouble())
	}
	config, _ := e.Running()
	routes, _ := os.ReadFile(filepath.Join(filepath.Dir(v.Path), "x.routes"))
	file, _ := os.ReadFile(v.Path)
	which := map[string]string{crashOld + routesOld: "old", crashNew + routesNew: "new"}[string(config.Text)+string(routes)]
	list := e.Commits()
	switch {
	case which == "":
		return fmt.Sprintf("a mixture of %q and %q", config.Text, routes)
	case string(file) != string(config.Text):
		return fmt.Sprintf("%s runs, and the file is %q", which, file)
	case len(list) == 0 || !list[0].Running || list[0].Hash != config.Hash || list[0].Pending || e.store.Load().State() != (store.State{Good: list[0].Number}):
		return fmt.Sprintf("%s runs, and the history is %+v, the state %+v", which, list, e.store.Load().State())
	}
	for _, c := range list {
		change, err := e.CommitText(c.Number)
		if err != nil {
			return err.Error()
		}
		if parsed, problems := e.Check(context.Background(), change); parsed == nil || parsed.Hash != c.Hash {
			return fmt.Sprintf("commit %d is not what it was: %v", c.Number, problems)
		}
	}
	left, _ := filepath.Glob(filepath.Join(filepath.Dir(v.Path), ".*"))
	if len(left) > 0 && slices.ContainsFunc(left, func(name string) bool { return !strings.HasSuffix(name, ".x.routes.weir-new") }) {
		return fmt.Sprintf("%s runs, and %q are left", which, left)
	}
	return which
}
