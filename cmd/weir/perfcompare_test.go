package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"weir/perf/procedure"
	"weir/perf/report"
	"weir/perf/trial"
)

// TestPerfCompare has the command read two reports, and refuse what is none.
func TestPerfCompare(t *testing.T) {
	dir := t.TempDir()
	for name, rate := range map[string]float64{"a": 1e6, "b": 1.5e6} {
		r := report.New("report "+name, report.Environment{})
		r.Add(&procedure.Result{Procedure: "mlrsearch", Bounds: []procedure.Bounds{
			{Goal: procedure.NDR(), Sizes: trial.Sizes{64}, Lower: rate, Upper: 1.004 * rate, Throughput: rate, Regular: true},
		}})
		if err := r.Write(dir, name); err != nil {
			t.Fatal(err)
		}
	}
	compare := func(a, b string) (string, error) {
		c := exec.CommandContext(testContext(t), executable(t), "perf", "compare", filepath.Join(dir, a), filepath.Join(dir, b))
		c.Env = append(os.Environ(), asWeir+"=1")
		out, err := c.CombinedOutput()
		return string(out), err
	}
	out, err := compare("a.json", "b.json")
	if line := "mlrsearch: NDR, 64 bytes  1.0000 Mpps  1.5000 Mpps  1.500  1.494–1.506  bounds  B is better"; err != nil || !strings.Contains(out, line) {
		t.Errorf("%v:\n%s", err, out)
	}
	if out, err := compare("a.json", "b.csv"); err == nil || !strings.Contains(out, "b.csv: read report: invalid character") {
		t.Errorf("%v:\n%s", err, out)
	}
}
