package ssh

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"weir/mgmt"
	"weir/perf/lab"
	"weir/policy"
)

// TestMain fails the run if anything is left when all tests are over.
func TestMain(m *testing.M) {
	code := m.Run()
	if left, err := lab.Leftovers(); os.Geteuid() == 0 && (err != nil || len(left) > 0) {
		fmt.Fprintln(os.Stderr, "left over:", left, err)
		code = 1
	}
	os.Exit(code)
}

// noRouter is a router without ports: what is tested here does not forward.
type noRouter struct{ generation uint64 }

func (r *noRouter) Prepare(*policy.Snapshot) error { return nil }
func (r *noRouter) Abort()                         {}
func (r *noRouter) Lost() uint64                   { return 0 }
func (r *noRouter) Publish() (uint64, error) {
	r.generation++
	return r.generation, nil
}

// rig is a server in a namespace of its own, and real clients beside it.
type rig struct {
	t      *testing.T
	dir    string
	host   *lab.Host
	server *Server
	engine *mgmt.Engine
	root   *mgmt.Command
	logs   *observer.ObservedLogs
	keys   map[string]string // public, by user
	stop   func()
}

const port = 2022

// users of every rig, with their roles.
var users = []string{"admin", "operator", "read-only"}

// newRig serves the commands; the namespace's loopback has the addresses 127/8 and ::1.
func newRig(t *testing.T, limits Limits, commands ...*mgmt.Command) *rig {
	t.Helper()
	if _, err := exec.LookPath("ssh-keygen"); err != nil && os.Getenv("CI") != "true" {
		t.Skip("ssh is not installed (apt-get install openssh-client)")
	}
	l := lab.ForTest(t)
	r := &rig{t: t, host: must[*lab.Host](t)(l.Host("router")), keys: map[string]string{}}
	r.dir = must[string](t)(os.MkdirTemp("", "weir-ssh-"))
	t.Cleanup(func() { need(t, os.RemoveAll(r.dir)) })
	for _, name := range append([]string{"stranger"}, users...) {
		out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", r.file(name)).CombinedOutput()
		if err != nil {
			t.Fatalf("ssh-keygen: %v: %s", err, out)
		}
		r.keys[name] = strings.TrimSpace(string(must[[]byte](t)(os.ReadFile(r.file(name + ".pub")))))
	}
	core, logs := observer.New(zapcore.InfoLevel)
	log := zap.New(core)
	r.logs = logs
	r.server = New(r.file("host_key"), limits, log)
	r.engine = mgmt.NewEngine(r.file("weir.yaml"), func(mgmt.System) (mgmt.Router, error) { return &noRouter{}, nil }, log, r.server)
	r.write("weir.yaml", r.config())
	need(t, r.host.Do(func() error {
		report := r.engine.Start(context.Background())
		return report.Err()
	}))
	t.Cleanup(func() { need(t, r.engine.Close()) })
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan struct{})
	commands = append(append(commands, r.engine.Commands()...), &mgmt.Command{Name: "show", Help: "look", Role: mgmt.ReadOnly, Commands: []*mgmt.Command{r.server.Command()}})
	r.root = &mgmt.Command{Commands: commands}
	go func() {
		defer close(served)
		r.server.Serve(ctx, r.engine, commands)
	}()
	r.stop = sync.OnceFunc(func() {
		cancel()
		<-served
		r.server.Close()
	})
	t.Cleanup(r.stop)
	r.write("known_hosts", fmt.Sprintf("[127.0.0.1]:%d %s\n", port, must[[]byte](t)(exec.Command("ssh-keygen", "-y", "-f", r.file("host_key")).Output())))
	t.Cleanup(func() {
		if t.Failed() {
			for _, e := range logs.All() {
				t.Log(e.Level, e.Message, e.ContextMap())
			}
		}
	})
	return r
}

func (r *rig) file(name string) string { return filepath.Join(r.dir, name) }

func (r *rig) write(name, text string) {
	r.t.Helper()
	need(r.t, os.WriteFile(r.file(name), []byte(text), 0o600))
}

// config lets in all users, each with the role that is his name, less those given.
func (r *rig) config(without ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "version: 1\nsystem:\n  hostname: edge1\n  ssh:\n    listen: [\"127.0.0.1:%d\"]\n    users:\n", port)
	for _, u := range users {
		if !strings.Contains(strings.Join(without, " "), u) {
			fmt.Fprintf(&b, "      %s: {role: %s, keys: [%q]}\n", u, u, r.keys[u])
		}
	}
	return b.String()
}

// commit puts a configuration in force, in the namespace.
func (r *rig) commit(text string) {
	r.t.Helper()
	r.write("weir.yaml", text)
	need(r.t, r.host.Do(func() error {
		report := r.engine.Reload(context.Background(), mgmt.Author{Via: "signal"})
		return report.Err()
	}))
}

// result is what became of a client.
type result struct {
	out, errors string
	status      int
}

// client runs a program in the namespace until it ends.
func (r *rig) client(stdin io.Reader, name string, args ...string) result {
	r.t.Helper()
	var out, errs bytes.Buffer
	p := must[*lab.Process](r.t)(r.host.Start(r.t.Context(), lab.Command{Name: name, Args: args, Stdin: stdin, Stdout: &out, Stderr: &errs, Dir: r.dir}))
	err := p.Wait()
	var exit *exec.ExitError
	status := 0
	if errors.As(err, &exit) {
		status = exit.ExitCode()
	} else if err != nil {
		r.t.Fatal(err)
	}
	return result{out.String(), errs.String(), status}
}

// options of every client, as a user.
func (r *rig) options(user string) []string {
	return []string{"-F", "none", "-i", r.file(user), "-o", "IdentitiesOnly=yes", "-o", "UserKnownHostsFile=" + r.file("known_hosts"),
		"-o", "StrictHostKeyChecking=yes", "-o", "BatchMode=yes", "-o", "LogLevel=ERROR"}
}

// ssh runs a command as a user, with nothing on standard input.
func (r *rig) ssh(user string, words ...string) result {
	r.t.Helper()
	return r.sshWith(strings.NewReader(""), user, words...)
}

func (r *rig) sshWith(stdin io.Reader, user string, words ...string) result {
	r.t.Helper()
	return r.client(stdin, "ssh", append(append(r.options(user), "-p", fmt.Sprint(port), user+"@127.0.0.1"), words...)...)
}

// audited waits for a line of the audit log.
func (r *rig) audited(message string, fields map[string]any) map[string]any {
	r.t.Helper()
	var found map[string]any
	eventually(r.t, fmt.Sprintf("audit log: %s %v", message, fields), func() bool {
		for _, e := range r.logs.FilterMessage(message).All() {
			if e.LoggerName != "audit" {
				continue
			}
			all := true
			for k, v := range fields {
				all = all && fmt.Sprint(e.ContextMap()[k]) == fmt.Sprint(v)
			}
			if all {
				found = e.ContextMap()
				return true
			}
		}
		return false
	})
	return found
}

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func need(t testing.TB, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// eventually waits for something that another goroutine brings about.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("gave up waiting: %s", what)
		}
	}
}

func (r result) fields() []string { return []string{r.out, r.errors, fmt.Sprint(r.status)} }
