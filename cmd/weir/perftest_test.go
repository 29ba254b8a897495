package main

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"weir/perf/procedure"
	"weir/perf/report"
)

// perfQuick keeps waits out of the tests.
var perfQuick = []string{"--quiet", "--drain=-1ns", "--settle=-1ns"}

// perfDo runs `weir perf`, and says how it ended.
func perfDo(t *testing.T, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	var out, told bytes.Buffer
	c := exec.CommandContext(testContext(t), executable(t), append([]string{"perf"}, args...)...)
	c.Env = append(os.Environ(), asWeir+"=1")
	c.Stdout, c.Stderr = &out, &told
	err := c.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), told.String(), c.ProcessState.ExitCode()
}

// perfReport runs a procedure, and reads its report.
func perfReport(t *testing.T, args ...string) *report.Report {
	t.Helper()
	needPerf(t)
	out, told, status := perfDo(t, append(append(args, "--json"), perfQuick...)...)
	if status != 0 && strings.Contains(told, "too busy to measure") {
		t.Skip(told) // it says so rather than state a figure
	}
	if status != 0 || told != "" {
		t.Fatalf("exit status %d: %s", status, told)
	}
	r := must[*report.Report](t)(report.Read(strings.NewReader(out)))
	for i := range r.Results {
		if r.Results[i].Partial != "" {
			t.Errorf("%s: partial: %s", r.Results[i].Procedure, r.Results[i].Partial)
		}
	}
	return r
}

func needPerf(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("makes network namespaces: run the test as root")
	}
}

// TestPerfRun makes trials on the devices: all comes back, and the report says what it was made of.
func TestPerfRun(t *testing.T) {
	for device, engine := range map[string]string{"weir": "live", "kernel": "xsk", "wire": "live"} {
		t.Run(device+" by "+engine, func(t *testing.T) {
			r := perfReport(t, "run", "--device", device, "--engine", engine, "--rate", "2000", "--duration", "300ms", "--size", "78x3,1518", "--size", "78x3,1518",
				"--stream", "from=192.0.2.10 to=10.0.0.0/8 flows=100", "--stream", "from=2001:db8:1::10 to=fd10::/32 flows=100 choice=zipf")
			if len(r.Results) != 1 || len(r.Results[0].Runs) != 2 {
				t.Fatalf("%+v", r.Results)
			}
			for i := range r.Results[0].Trials {
				o := &r.Results[0].Trials[i]
				if o.Sent == 0 || o.Sent > 601 || o.Received != o.Sent || o.Duplicated+o.Reordered > 0 || uint64(o.Latency.Count()) != o.Received {
					t.Errorf("trial %d: %d sent, %d received, %d again, %d reordered, %d latencies", i+1, o.Sent, o.Received, o.Duplicated, o.Reordered, o.Latency.Count())
				}
			}
			e := &r.Environment
			if e.Device != device || len(e.Ports) != 2 || e.Ports[0].Driver != "veth" || (e.Ports[0].Copy == "copy") != (engine == "xsk") || !strings.Contains(e.Traffic, "to=fd10::/32") {
				t.Errorf("%+v", e)
			}
			if c := r.Results[0].Calibrations; len(c) != 1 || c[0].Ceiling < 2000 || c[0].Bias.Count() == 0 {
				t.Errorf("%+v", c)
			}
		})
	}
}

// perfBrief are searches that take seconds.
var perfBrief = []string{"--initial", "20ms", "--final", "50ms", "--width", "0.3"}

// found says that a procedure found something, or said why not; searches on a busy machine may not.
func found(t *testing.T, r *procedure.Result, n int) {
	t.Helper()
	if n == 0 && len(r.Refused) == 0 {
		t.Errorf("%s: nothing found, and nothing says why", r.Procedure)
	}
	if len(r.Trials) == 0 && len(r.Refused) == 0 || len(r.Deviations) == 0 || r.Standard == "" {
		t.Errorf("%s: %d trials, deviations %q", r.Procedure, len(r.Trials), r.Deviations)
	}
}

// perfAll has the procedures made that take minutes together: `make perf-test`.
var perfAll = flag.Bool("perf.all", false, "make every procedure of weir perf")

func needPerfAll(t *testing.T) {
	t.Helper()
	if !*perfAll {
		t.Skip("takes minutes: -args -perf.all, or make perf-test")
	}
}

// TestPerfRFC2544 makes every procedure, as short as can be.
func TestPerfRFC2544(t *testing.T) {
	needPerfAll(t)
	t.Run("all", func(t *testing.T) {
		r := perfReport(t, append([]string{"rfc2544", "all", "--device", "kernel", "--size", "64", "--duration", "50ms", "--repeats", "2", "--shares", "0.1,0.5", "--tests", "2"}, perfBrief...)...)
		var names []string
		for i := range r.Results {
			one := &r.Results[i]
			names = append(names, one.Procedure)
			switch one.Procedure {
			case "rfc2544 throughput":
				found(t, one, len(one.Bounds))
			case "rfc2544 latency":
				found(t, one, len(one.Latencies))
			case "rfc2544 loss":
				found(t, one, len(one.Losses))
			default:
				found(t, one, len(one.Bursts))
			}
		}
		if want := []string{"rfc2544 throughput", "rfc2544 latency", "rfc2544 loss", "rfc2544 back-to-back"}; !slices.Equal(names, want) {
			t.Errorf("%q", names)
		}
	})
	t.Run("recovery", func(t *testing.T) {
		one := &perfReport(t, append([]string{"rfc2544", "recovery", "--device", "kernel", "--size", "64", "--overload", "100ms", "--after", "100ms", "--repeats", "2"}, perfBrief...)...).Results[0]
		found(t, one, len(one.Recoveries))
	})
	t.Run("reset", func(t *testing.T) {
		one := &perfReport(t, "rfc2544", "reset", "--device", "weir", "--rate", "1000", "--before", "200ms", "--after", "4s").Results[0]
		if len(one.Resets) != 1 || one.Resets[0].Reset != "stop and start" {
			t.Fatalf("%+v", one.Resets)
		}
		if at := one.Resets[0]; at.Refused == "" && (len(at.Gaps) != 1 || at.Gaps[0] <= 0 || at.Losses[0] <= 0) {
			t.Errorf("a restart goes without a gap: %+v", at)
		}
	})
}

// TestPerfSearches makes the searches that are not RFC 2544's, and what follows on one.
func TestPerfSearches(t *testing.T) {
	needPerfAll(t)
	r := perfReport(t, "mlrsearch", "--device", "kernel", "--size", "64", "--final", "50ms", "--sum", "100ms", "--width", "0.3", "--goal", "ndr", "--goal", "mine:0.5:0.5")
	if one := &r.Results[0]; len(one.Bounds) != 2 || one.Bounds[0].Goal.Name != "NDR" || one.Bounds[1].Goal.LossRatio != 0.5 {
		t.Errorf("%+v", one.Bounds)
	}
	one := &perfReport(t, append([]string{"imix", "--device", "kernel", "--ipv6"}, perfBrief...)...).Results[0]
	if found(t, one, len(one.Bounds)); len(one.Bounds) != 1 || one.Bounds[0].Sizes.String() != "78x28,570x16,1518x4" {
		t.Errorf("%+v", one.Bounds)
	}
	one = &perfReport(t, "soak", "--device", "wire", "--rate", "1000", "--duration", "200ms").Results[0]
	if found(t, one, len(one.Runs)); len(one.Runs) != 1 || one.Runs[0].Loss > 0 {
		t.Errorf("%+v", one.Runs)
	}
}

// TestPerfReconf has weir reload while packets flow: none is lost.
func TestPerfReconf(t *testing.T) {
	one := &perfReport(t, "reconf", "--rate", "2000", "--duration", "500ms", "--repeats", "3").Results[0]
	if len(one.Reconfigurations) != 1 || len(one.Reconfigurations[0].Lost)+len(one.Refused) != 3 { // one in which the generator fell short is left out
		t.Fatalf("%+v", one.Reconfigurations)
	}
	for i, lost := range one.Reconfigurations[0].Lost {
		if at := &one.Reconfigurations[0]; lost > 0 || at.Blocked[i] > 0 || at.Took[i] <= 0 {
			t.Errorf("%d lost, blocked for %v, took %v", lost, at.Blocked[i], at.Took[i])
		}
	}
}

// TestPerfInterrupt ends a procedure in the middle: there is a partial report, also in the files, and the exit status says so.
func TestPerfInterrupt(t *testing.T) {
	needPerf(t)
	dir := t.TempDir()
	c := exec.CommandContext(testContext(t), executable(t), "perf", "reconf", "--device", "wire", "--do", "true", "--rate", "1000", "--duration", "100ms", "--repeats", "1000000",
		"--drain=-1ns", "--settle=-1ns", "--out", "x", "--dir", dir)
	c.Env = append(os.Environ(), asWeir+"=1")
	var out bytes.Buffer
	c.Stdout = &out
	told := bufio.NewScanner(must[interface{ Read([]byte) (int, error) }](t)(c.StderrPipe()))
	need(t, c.Start())
	var first string
	for told.Scan() && !strings.Contains(first, "reconfiguration, 2 of") {
		first = told.Text()
		if strings.Contains(first, "reconfiguration, 2 of") {
			need(t, c.Process.Signal(syscall.SIGINT))
		}
	}
	for told.Scan() { // what comes still
	}
	err := c.Wait()
	if strings.Contains(first, "too busy to measure") {
		t.Skip(first)
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != exitRefused {
		t.Fatalf("%v: %s", err, first)
	}
	if text := out.String(); !strings.Contains(text, "partial (ended ") || !strings.Contains(first, "reconf: reconfiguration, 2 of 1000000, 64 bytes, 1.00k packets/s for 100ms, loss 0.0000 %, ") {
		t.Errorf("progress %q, report\n%s", first, text)
	}
	r := must[*report.Report](t)(report.ReadFile(filepath.Join(dir, "x.json")))
	if one := &r.Results[0]; !strings.HasPrefix(one.Partial, "ended ") || len(one.Reconfigurations) != 1 || len(one.Reconfigurations[0].Lost) < 2 {
		t.Errorf("%+v", one)
	}
	for _, suffix := range []string{".md", ".html", ".csv"} {
		if text := must[[]byte](t)(os.ReadFile(filepath.Join(dir, "x"+suffix))); len(text) == 0 {
			t.Errorf("x%s is empty", suffix)
		}
	}
}

// TestPerfErrors wants errors that say what is wrong, and where.
func TestPerfErrors(t *testing.T) {
	needPerf(t)
	file := filepath.Join(t.TempDir(), "s.yaml")
	need(t, os.WriteFile(file, []byte("streams:\n  - from: 10.0.0.2\n    to: 10.0.0.256\n"), 0o600))
	for line, want := range map[string]string{
		"run --rate 1 --device toaster":                             `device "toaster": must be wire, or among`,
		"run --rate 0 --device wire":                                "rate 0: must be more than 0",
		"run --rate=-5 --device wire":                               "rate -5: must be more than 0",
		"run --rate 1e12 --device wire":                             "rate 1000000000000 of 64 bytes is above the generator's ceiling",
		"run --rate 1 --duration=-1s --device wire":                 "trial of -1s: must be longer",
		"run --rate 1000 --size 1519 --device wire":                 "packets of up to 1501 bytes: the MTU of eth0 is 1500",
		"run --rate 1 --size 60":                                    `frame size "60": must be 64 to 16000 bytes`,
		"run --rate 1 --size 64 --ipv6":                             "frame size 64: the streams' headers and a stamp take 78 bytes",
		"run --rate 1 --streams " + file:                            `s.yaml:3:9: streams[0].to: to "10.0.0.256": expected an address`,
		"run --rate 1 --stream to=10.0.0.1":                         "from is missing",
		"run --rate 1 --routes /nowhere":                            "/nowhere",
		"mlrsearch --goal fast":                                     `goal "fast": must be ndr, pdr`,
		"mlrsearch --device wire --goal a:2:0":                      "goal a: loss ratio 2: must be 0 or more and less than 1",
		"rfc2544 loss --device wire --step 0.5":                     "step 0.5: must be more than 0 and at most 0.1",
		"rfc2544 reset --device wire --rate 1000 --before 50ms":     "restart: a wire cannot",
		"reconf --testbed ports --send a --receive b --stream x":    "say how with --do COMMAND",
		"run --rate 1 --send em0":                                   "--send, --receive and --gateway are for --testbed ports",
		"run --rate 1 --testbed ports --send nothing0":              "which ones? Say --send PORT and --receive PORT",
		"run --rate 1 --testbed ports --send nothing0 --receive lo": "which packets does the device forward?",
	} {
		out, told, status := perfDo(t, append(strings.Fields(line), "--drain=-1ns", "--settle=-1ns", "-q")...)
		if strings.Contains(told, "too busy to measure") {
			continue
		}
		if status != exitRefused || !strings.Contains(told, want) || !strings.HasPrefix(told, "weir: ") {
			t.Errorf("weir perf %s: exit status %d: %s, want %q\n%s", line, status, told, want, out)
		}
	}
	for line, want := range map[string]string{
		"run":                            "missing flags: --rate=N",
		"run --rate fast":                "--rate: expected a float but got",
		"run --rate 1 --engine steam":    `--engine must be one of "live","xsk" but got "steam"`,
		"run --rate 1 --testbed moon":    `--testbed must be one of "veth","ports" but got "moon"`,
		"run --rate 1 --streams nowhere": "--streams: ",
	} {
		if _, told, status := perfDo(t, strings.Fields(line)...); status != exitUsage || !strings.Contains(told, want) {
			t.Errorf("weir perf %s: exit status %d: %s, want %q", line, status, told, want)
		}
	}
}

// TestPerfTester has the page of results made, of short trials.
func TestPerfTester(t *testing.T) {
	needPerfAll(t)
	needPerf(t)
	page := filepath.Join(t.TempDir(), "tester.md")
	if _, told, status := perfDo(t, "tester", "-q", "--pacing", "100ms", "--long", "200ms", "--page", page); status != 0 || told != "" {
		t.Fatalf("exit status %d: %s", status, told)
	}
	text := string(must[[]byte](t)(os.ReadFile(page)))
	for _, want := range []string{"# The tester itself\n\nGenerator wired straight to receiver: live: ", "xsk: ", "## Pacing", "| load average | "} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
}
