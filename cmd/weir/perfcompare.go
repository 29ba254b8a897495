package main

import (
	"os"

	"weir/perf/report"
)

type perfCompareCommand struct {
	A string `arg:"" type:"existingfile" help:"A report's JSON."`
	B string `arg:"" type:"existingfile" help:"Another, whose figures are put through those of the first."`
}

// Run prints ratios.
func (c *perfCompareCommand) Run() error {
	a, err := report.ReadFile(c.A)
	if err != nil {
		return err
	}
	b, err := report.ReadFile(c.B)
	if err != nil {
		return err
	}
	return report.Compare(a, b).WriteText(os.Stdout)
}
