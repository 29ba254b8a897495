package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/goccy/go-yaml"

	"weir/perf/lab"
)

func TestMain(m *testing.M) {
	if mode := os.Getenv("LAB_DEMO_STAND_IN"); mode != "" && len(os.Args) > 1 && !strings.HasPrefix(os.Args[1], "-") {
		os.Exit(standIn(mode))
	}
	code := m.Run()
	if left, err := lab.Leftovers(); os.Geteuid() == 0 && (err != nil || len(left) > 0) {
		fmt.Fprintln(os.Stderr, "left over:", left, err)
		code = 1
	}
	os.Exit(code)
}

// options are those of a run with the stand-in, on a kernel router.
func options(t *testing.T, mode string) (Options, *bytes.Buffer) {
	if os.Geteuid() != 0 {
		t.Skip("laboratories need root: run the test as root")
	}
	lab.CloseOnSignal()
	t.Setenv("LAB_DEMO_STAND_IN", mode)
	t.Setenv("GORACE", "atexit_sleep_ms=0") // else every answer of the stand-in takes a second with -race
	t.Setenv("TMPDIR", t.TempDir())
	out := new(bytes.Buffer)
	return Options{Out: out, TCPBytes: 1 << 20, prepare: kernelRouter}, out
}

// nothingLeft fails the test if a run left namespaces, processes or files.
func nothingLeft(t *testing.T) {
	t.Helper()
	if left, err := lab.Leftovers(); err != nil || len(left) > 0 {
		t.Errorf("left over: %q, %v", left, err)
	}
	if files, _ := filepath.Glob(filepath.Join(os.TempDir(), "*")); len(files) > 0 {
		t.Errorf("files left: %q", files)
	}
}

func TestRun(t *testing.T) {
	o, out := options(t, "honest")
	if err := Run(t.Context(), o); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	t.Logf("\n%s", out)
	for line := range strings.Lines(out.String()) {
		if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > columns {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	if strings.Contains(out.String(), "\x1b") {
		t.Error("colour without a terminal")
	}
	if !strings.Contains(out.String(), "12 packets") {
		t.Error("no counters")
	}
	nothingLeft(t)
}

// TestRunNoticesLies: a router that goes elsewhere than it says makes an error, with and without the example.
func TestRunNoticesLies(t *testing.T) {
	o, out := options(t, "lie")
	o.Config = filepath.Join(t.TempDir(), "own.yaml")
	if err := os.WriteFile(o.Config, []byte(Example), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Run(t.Context(), o); !errors.Is(err, ErrMismatch) {
		t.Errorf("error %v", err)
	}
	for line := range strings.Lines(out.String()) {
		if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > columns {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	if want := "✗ ping      uplink1"; !strings.Contains(out.String(), want) {
		t.Errorf("no %q in\n%s", want, out)
	}
	nothingLeft(t)
}

func TestRunReportsCrash(t *testing.T) {
	o, _ := options(t, "crash")
	if err := Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), "no such device") {
		t.Errorf("error %v", err)
	}
	nothingLeft(t)
}

// cancelWriter cancels as soon as a text has been written.
type cancelWriter struct {
	bytes.Buffer
	text   string
	cancel context.CancelFunc
}

func (w *cancelWriter) Write(b []byte) (int, error) {
	if strings.Contains(string(b), w.text) {
		w.cancel()
	}
	return w.Buffer.Write(b)
}

// TestRunStops: Ctrl-C in the middle of the traffic, and before any.
func TestRunStops(t *testing.T) {
	for _, text := range []string{"weir lab demo", "✓ ping"} {
		o, _ := options(t, "honest")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		o.Out = &cancelWriter{text: text, cancel: cancel}
		if err := Run(ctx, o); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled at %q: %v", text, err)
		}
		nothingLeft(t)
	}
}

func TestShell(t *testing.T) {
	o, out := options(t, "honest")
	script := filepath.Join(t.TempDir(), "shell")
	result := script + ".out"
	text := "#!/bin/sh\n(ls /sys/class/net; echo $WEIR_LAB_HOST) >" + result + "\nexit 3\n"
	if err := os.WriteFile(script, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SHELL", script)
	o.ShellHost = router
	if err := Shell(t.Context(), o); err != nil {
		t.Error(err)
	}
	got, err := os.ReadFile(result)
	if want := "em0\nem1\nlo\nwan0\nwan1\nrouter\n"; err != nil || string(got) != want {
		t.Errorf("in the shell: %q, %v", got, err)
	}
	if !strings.Contains(out.String(), "ip netns exec weir-") {
		t.Errorf("help:\n%s", out)
	}
	o.ShellHost = "nowhere"
	if err := Shell(t.Context(), o); err == nil {
		t.Error("a shell in no host")
	}
	nothingLeft(t)
}

// TestExample: the example is YAML, and its ports and tables are those that the flows speak of.
func TestExample(t *testing.T) {
	var c struct {
		Ports  map[string]any
		Tables map[string]any
		Rules  []map[string]any
	}
	if err := yaml.Unmarshal([]byte(Example), &c); err != nil {
		t.Fatal(err)
	}
	for port := range uplinkOf {
		if c.Ports[port] == nil {
			t.Errorf("no port %s", port)
		}
	}
	if len(c.Ports) != 4 || len(c.Tables) != 5 || len(c.Rules) != 6 {
		t.Errorf("%d ports, %d tables, %d rules", len(c.Ports), len(c.Tables), len(c.Rules))
	}
	for line := range strings.Lines(Example) {
		if utf8.RuneCountInString(line) > 121 {
			t.Errorf("long line %q", line)
		}
	}
}
