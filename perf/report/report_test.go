package report

import (
	"bytes"
	"encoding/csv"
	"encoding/xml"
	"flag"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"weir/perf/procedure"
	"weir/perf/trial"
)

var update = flag.Bool("update", false, "write the golden files")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (go test -update writes it):\n%s", name, diff)
	}
}

func written(t *testing.T, write func(io.Writer) error) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := write(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestPages(t *testing.T) {
	r := sample(t, 1)
	golden(t, "sample.md", written(t, r.WriteMarkdown))
	golden(t, "sample.html", written(t, r.WriteHTML))
}

// TestHTMLStandsAlone looks for anything that a browser would fetch or run, for text that is not escaped, and at the plots as XML.
func TestHTMLStandsAlone(t *testing.T) {
	r := sample(t, 1)
	r.Title = `<script>alert("x")</script>`
	for i := range r.Results[0].Bounds {
		r.Results[0].Bounds[i].Goal.Name = "R&D </svg><script>"
	}
	text := string(written(t, r.WriteHTML))
	for _, bad := range []string{"<script", "http:", "https:", "src=", "url(", "@import", "<link", "<img", "ZgotmplZ"} {
		if strings.Contains(text, bad) {
			t.Errorf("the page has %q", bad)
		}
	}
	for _, want := range []string{"prefers-color-scheme: dark", "@media print", "UDP over IPv4 | &lt;uniform&gt;", "&lt;script&gt;", "R&amp;D &lt;/svg&gt;"} {
		if !strings.Contains(text, want) {
			t.Errorf("the page has no %q", want)
		}
	}
	drawings := regexp.MustCompile(`(?s)<svg.*?</svg>`).FindAllString(text, -1)
	if len(drawings) < 5 {
		t.Errorf("%d plots", len(drawings))
	}
	for _, drawing := range drawings {
		d := xml.NewDecoder(strings.NewReader(drawing))
		for {
			if _, err := d.Token(); err == io.EOF {
				break
			} else if err != nil {
				t.Fatalf("%v in %.200s", err, drawing)
			}
		}
		if strings.Contains(drawing, "NaN") || strings.Contains(drawing, "Inf") {
			t.Errorf("a number that is none: %.300s", drawing)
		}
	}
}

func TestCSV(t *testing.T) {
	r := sample(t, 1)
	rows, err := csv.NewReader(bytes.NewReader(written(t, r.WriteCSV))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	trials := 0
	for i := range r.Results {
		trials += len(r.Results[i].Trials)
	}
	if len(rows) != 1+trials {
		t.Errorf("%d rows of %d trials", len(rows), trials)
	}
	golden(t, "titles.csv", []byte(strings.Join(rows[0], ",")+"\n"))
}

func TestReadBack(t *testing.T) {
	want := sample(t, 1)
	text := written(t, want.WriteJSON)
	got, err := Read(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	// What is to be done is not data.
	for i := range want.Results {
		for j := range want.Results[i].Trials {
			if during := want.Results[i].Trials[j].Trial.During; during != nil {
				during.Do = nil
			}
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if again := written(t, got.WriteJSON); !bytes.Equal(again, text) {
		t.Error("written again, it is another text")
	}
}

// small has everything that JSON can have, once.
func small() *Report {
	latency := trial.NewLatency()
	latency.Record(12*time.Microsecond, 5)
	second := time.Second
	r := New("Schema", testEnvironment("nothing"))
	r.Environment.Machine.Driver, r.Environment.Ports = "d", r.Environment.Ports[:1]
	r.Add(&procedure.Result{
		Procedure: "p", Standard: "s", Parameters: []procedure.Parameter{{Name: "n", Value: "v"}}, Deviations: []string{"d"}, Refused: []string{"r"}, Partial: "p",
		Calibrations:     []trial.Calibration{{Sizes: trial.Sizes{64}, Ceiling: 1, LinkSpeed: 2, Bias: latency}},
		Bounds:           []procedure.Bounds{{Goal: procedure.PDR(), Sizes: trial.Sizes{64, 570}, Lower: 1, Upper: 2, Throughput: 3, Regular: true, Refused: "r", Note: "n", Line: 4}},
		Latencies:        []procedure.LatencyAt{{Sizes: trial.Sizes{64}, Rate: 1, Share: 0.5, Latency: latency, Means: []time.Duration{1}, Medians: []time.Duration{2}, P99s: []time.Duration{3}, Lost: 4, Sent: 5}},
		Losses:           []procedure.LossAt{{Sizes: trial.Sizes{64}, Share: 1, Rate: 2, Loss: 3, Trial: 4, Refused: "r"}},
		Bursts:           []procedure.BurstLength{{Sizes: trial.Sizes{64}, Rate: 1, Throughput: 2, Step: 3, Lengths: []uint64{4}, Mean: 5, Min: 6, Max: 7, Deviation: 8, Implied: 9, Corrected: 10, Refused: "r"}},
		Recoveries:       []procedure.RecoveryTime{{Sizes: trial.Sizes{64}, Overload: 1, Then: 2, Times: []time.Duration{3}, Mean: 4, Refused: "r"}},
		Resets:           []procedure.ResetTime{{Sizes: trial.Sizes{64}, Rate: 1, Reset: "r", Gaps: []time.Duration{2}, Losses: []time.Duration{3}, Refused: "r"}},
		Reconfigurations: []procedure.ReconfigurationTime{{Sizes: trial.Sizes{64}, Rate: 1, Change: "c", Lost: []uint64{2}, Blocked: []time.Duration{3}, Took: []time.Duration{4}}},
		Runs:             []procedure.RunAt{{Sizes: trial.Sizes{64}, Rate: 1, Trial: 1, Loss: 2}},
		Trials: []trial.Record{{Number: 1, Step: "s", Void: "v",
			Trial: trial.Trial{Rate: 1, Duration: second, Frames: 2, Sizes: trial.Sizes{64, 1518, 1518}, Traffic: "t", Drain: 3, Settle: 4, Then: []trial.Step{{Rate: 5, Duration: 6}}, During: &trial.Intervention{Name: "i", At: 7}},
			Outcome: trial.Outcome{Sent: 1, Received: 2, Duplicated: 3, Reordered: 4, Foreign: 5, Duration: 6, Latency: latency, LastLost: 7, Silence: trial.Silence{From: 8, To: 9},
				Series: []trial.Interval{{At: 1, Duration: 2, Sent: 3, Received: 4, P99: 5}}, Intervened: trial.Silence{From: 10, To: 11}, Cut: true}}},
	})
	return r
}

// TestSchema holds the JSON to the file that another version of the program may have written: a field that is renamed or goes
// makes this fail, and Schema has to change.
func TestSchema(t *testing.T) {
	r := small()
	golden(t, "schema.json", written(t, r.WriteJSON))
	got, err := ReadFile(filepath.Join("testdata", "schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(r, got); diff != "" {
		t.Error(diff)
	}
	noZero(t, "report", reflect.ValueOf(r))
}

// noZero fails for a field without a value: those that may be left out would not be in the file.
func noZero(t *testing.T, name string, v reflect.Value) {
	t.Helper()
	switch {
	case v.IsZero():
		t.Errorf("%s is not set", name)
	case v.Type() == reflect.TypeFor[time.Time]() || v.Type() == reflect.TypeFor[*trial.Latency]():
	case v.Kind() == reflect.Pointer:
		noZero(t, name, v.Elem())
	case v.Kind() == reflect.Slice:
		for i := range v.Len() {
			noZero(t, name, v.Index(i))
		}
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() && f.Tag.Get("json") != "-" {
				noZero(t, name+"."+f.Name, v.Field(i))
			}
		}
	}
}

func TestReadRefuses(t *testing.T) {
	for text, part := range map[string]string{
		`{"schema": 2}`: "schema 2, this program reads 1",
		`{}`:            "schema 0, this program reads 1",
		`nonsense`:      "invalid character",
	} {
		if _, err := Read(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%s: %v", text, err)
		}
	}
	if _, err := ReadFile("nothing.json"); err == nil || !strings.Contains(err.Error(), "nothing.json") {
		t.Errorf("no file: %v", err)
	}
}

func TestWrite(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "results")
	r := small()
	if err := r.Write(dir, "x"); err != nil {
		t.Fatal(err)
	}
	for _, suffix := range []string{"md", "json", "csv", "html"} {
		if info, err := os.Stat(filepath.Join(dir, "x."+suffix)); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v", suffix, err)
		}
	}
	if err := r.Write("/dev/null", "x"); err == nil || !strings.HasPrefix(err.Error(), "write report: ") {
		t.Errorf("into no directory: %v", err)
	}
}

// FuzzRead has files that no program of ours wrote: what is read can be put beside itself.
func FuzzRead(f *testing.F) {
	text, err := os.ReadFile(filepath.Join("testdata", "schema.json"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`{"schema": 1, "results": [{"runs": [{}], "latencies": [{"latency": null}]}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := Read(bytes.NewReader(text))
		if err != nil {
			return
		}
		if err := Compare(r, r).WriteText(io.Discard); err != nil {
			t.Error(err)
		}
	})
}
