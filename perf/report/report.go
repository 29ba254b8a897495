// Package report shows what procedures found: as Markdown, as JSON, as CSV of all trials, and as one HTML page that needs
// nothing else, with plots. Compare puts two reports beside each other.
//
//	procedure.Result ──► sections: tables and plots ──► Markdown, HTML
//	        │
//	        └──► JSON ──► Read ──► Compare
//
// The plots are SVG written here (svg.go): a library for them (gonum/plot) brings fonts, PDF and a dozen modules, and knows
// neither dark pages nor pages on paper.
package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"weir/perf/environment"
	"weir/perf/procedure"
)

// Schema is the version of the JSON. It changes when a program that reads the old one would misunderstand the new one.
const Schema = 1

// Report is what one run of the tester found.
type Report struct {
	Schema      int                `json:"schema"`
	Title       string             `json:"title"`
	Environment Environment        `json:"environment"`
	Results     []procedure.Result `json:"results"`
}

// Environment is where, when and with what.
type Environment struct {
	Machine     environment.Machine `json:"machine"`
	Ports       []environment.Port  `json:"ports"`
	Device      string              `json:"device"`            // what was tested
	Traffic     string              `json:"traffic,omitempty"` // the streams
	CommandLine string              `json:"commandLine"`
	Started     time.Time           `json:"started"`
	Elapsed     time.Duration       `json:"elapsed"`
	LoadBefore  float64             `json:"loadBefore"` // load average
	LoadAfter   float64             `json:"loadAfter"`
}

// New has no results yet.
func New(title string, e Environment) *Report {
	return &Report{Schema: Schema, Title: title, Environment: e}
}

// Add adds what a procedure found; nil is nothing.
func (r *Report) Add(result *procedure.Result) {
	if result != nil {
		r.Results = append(r.Results, *result)
	}
}

// Read reads the JSON of a report.
func Read(from io.Reader) (*Report, error) {
	var r Report
	if err := json.NewDecoder(from).Decode(&r); err != nil {
		return nil, fmt.Errorf("read report: %w", err)
	}
	if r.Schema != Schema {
		return nil, fmt.Errorf("read report: schema %d, this program reads %d", r.Schema, Schema)
	}
	return &r, nil
}

// ReadFile is Read of a file.
func ReadFile(name string) (*Report, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("read report: %w", err)
	}
	defer f.Close()
	r, err := Read(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return r, nil
}

// WriteJSON writes what Read reads.
func (r *Report) WriteJSON(to io.Writer) error {
	text, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	_, err = to.Write(append(text, '\n'))
	return err
}

// Write writes NAME.md, NAME.json, NAME.csv and NAME.html into a directory.
func (r *Report) Write(dir, name string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	for suffix, write := range map[string]func(io.Writer) error{
		".md": r.WriteMarkdown, ".json": r.WriteJSON, ".csv": r.WriteCSV, ".html": r.WriteHTML,
	} {
		f, err := os.Create(filepath.Join(dir, name+suffix))
		if err != nil {
			return fmt.Errorf("write report: %w", err)
		}
		if err := errors.Join(write(f), f.Close()); err != nil {
			return fmt.Errorf("write report: %w", err)
		}
	}
	return nil
}
