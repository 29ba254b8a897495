package main

import (
	"encoding/json"
	"fmt"
	"os"

	"weir/mgmt"
)

type checkCommand struct {
	Config string `short:"c" required:"" placeholder:"FILE" help:"The configuration."`
	JSON   bool   `help:"Print problems as JSON."`
}

// Run checks, prints what it found, and fails if the configuration is refused.
func (c *checkCommand) Run() error {
	_, problems := mgmt.Load(c.Config)
	if c.JSON {
		if problems == nil {
			problems = mgmt.Problems{}
		}
		out := json.NewEncoder(os.Stdout)
		out.SetIndent("", "  ")
		if err := out.Encode(problems); err != nil {
			return err
		}
	} else {
		printProblems(problems)
	}
	if problems.Refused() {
		return silent{exitRefused}
	}
	return nil
}

func printProblems(problems mgmt.Problems) {
	for _, p := range problems {
		fmt.Fprintln(os.Stderr, p)
	}
}

// load reads a configuration for a command that needs a good one.
func load(name string) (*mgmt.Config, error) {
	config, problems := mgmt.Load(name)
	if problems.Refused() {
		printProblems(problems)
		return nil, silent{exitRefused}
	}
	return config, nil
}
