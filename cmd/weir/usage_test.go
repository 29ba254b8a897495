package main

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestUsage wants a wrong command line told in words that say what is wrong with it.
func TestUsage(t *testing.T) {
	for line, want := range map[string]string{
		"check -c":                 "the value of --config is missing: --config=FILE",
		"check --config":           "the value of --config is missing: --config=FILE",
		"perf stages --rules":      "the value of --rules is missing: --rules=N",
		"show counters --control":  "the value of --control is missing: --control=",
		"check":                    "missing flags: --config=FILE",
		"check -c a b":             "unexpected argument b\n",
		"check weir.yaml":          "unexpected argument weir.yaml: the configuration is named by -c FILE\n",
		"perf stages --rules x":    "--rules: ",
		"perf stages --traffic no": "--traffic must be one of",
	} {
		command := exec.CommandContext(testContext(t), os.Args[0], strings.Fields(line)...)
		command.Env = append(os.Environ(), asWeir+"=1")
		out, err := command.CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != exitUsage || !strings.HasPrefix(string(out), "weir: "+want) || strings.Contains(string(out), "EOL") {
			t.Errorf("weir %s: %v: %s, want %q", line, err, out, want)
		}
	}
}
