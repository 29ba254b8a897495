package main

import (
	"encoding/json"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"weir/perf"
)

// TestPerfStages measures a small router of every kind: that there are figures which add up, not what they are.
func TestPerfStages(t *testing.T) {
	for _, args := range [][]string{
		nil,
		{"--rules", "40", "--marks", "20", "--routes", "9000"},
		{"--rules", "40", "--marks", "20", "--wide", "--routes", "9000", "--traffic", "uniform"},
		{"--rules", "40", "--wide", "--routes", "9000", "--ipv6"},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			command := exec.CommandContext(testContext(t), os.Args[0], append([]string{"perf", "stages", "--json", "--packets", "20000"}, args...)...)
			command.Env = append(os.Environ(), asWeir+"=1")
			command.Stderr = os.Stderr
			var r perf.StagesResult
			need(t, json.Unmarshal(must[[]byte](t)(command.Output()), &r))
			sum := 0.0
			for _, s := range r.Stages {
				sum += s.NS
				if s.Min > s.Max {
					t.Errorf("%+v", s)
				}
			}
			if math.Abs(sum-r.Total.NS) > 0.001 || r.Total.NS <= 0 || r.Deliver <= 0 || r.Packets != 20000 || r.Rounds != 5 {
				t.Errorf("sum %v: %+v", sum, r)
			}
			for _, name := range []string{"parse", "match", "send"} {
				i := slices.IndexFunc(r.Stages, func(s perf.Stage) bool { return s.Name == name })
				if i < 0 || r.Stages[i].Max <= 0 {
					t.Errorf("stage %s: %+v", name, r.Stages)
				}
			}
		})
	}
}

// TestPerfStagesPage writes the page of results.
func TestPerfStagesPage(t *testing.T) {
	routes, page := filepath.Join(t.TempDir(), "routes"), filepath.Join(t.TempDir(), "stages.md")
	need(t, os.WriteFile(routes, []byte("20.0.0.0/8\n2a00::/16\n"), 0o600))
	command := exec.CommandContext(testContext(t), os.Args[0], "perf", "stages", "--packets", "500", "--routes", routes, "--page", page)
	command.Env = append(os.Environ(), asWeir+"=1")
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	text := string(must[[]byte](t)(os.ReadFile(page)))
	for _, part := range []string{"# Stages\n\nThe router's code takes ", "IPv4, 1000 rules, 0 marks, 1 routes, zipf", "IPv6, 1000 rules", "| total | **", "`make bench-stages`"} {
		if !strings.Contains(text, part) {
			t.Errorf("%q is missing in\n%s", part, text)
		}
	}
}
