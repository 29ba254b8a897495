package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strconv"

	"weir/mgmt"
)

// controlFlags are those of every command that asks the running router.
type controlFlags struct {
	Control string `default:"${control}" placeholder:"SOCKET" help:"The running router's control socket (${default})."`
	JSON    bool   `help:"Print JSON: the same as '| json' at the end."`
}

// ask runs a command of the running router; stdin may be nil.
func (c *controlFlags) ask(stdin io.Reader, words ...string) error {
	if c.JSON {
		words = append(words, "|", "json")
	}
	return callWith(c.Control, stdin, words...)
}

// quoted are words of the command line as a command's.
func quoted(words []string) (list []string) {
	for _, w := range words {
		list = append(list, mgmt.Quote(w))
	}
	return list
}

type commitCommand struct {
	controlFlags
	Config string   `short:"c" default:"-" placeholder:"FILE" help:"The configuration, or a tar archive of it and its routes-files; - is standard input."`
	Words  []string `arg:"" optional:"" help:"[confirmed [MINUTES]] [overwrite] [base HASH] [comment TEXT]"`
}

// Run commits what it is given.
func (c *commitCommand) Run() error {
	in := os.Stdin
	if c.Config != "-" {
		f, err := os.Open(c.Config)
		if err != nil {
			return err
		}
		defer f.Close()
		in = f
	} else if _, _, terminal := terminalSize(in); terminal {
		fmt.Fprintln(os.Stderr, "weir: commit takes a configuration on standard input, or -c FILE; `weir reload` commits the router's own file")
		return silent{exitUsage}
	}
	return c.ask(in, append([]string{"commit"}, quoted(c.Words)...)...)
}

type confirmCommand struct{ controlFlags }

// Run confirms.
func (c *confirmCommand) Run() error { return c.ask(nil, "confirm") }

type abortCommand struct{ controlFlags }

// Run rolls back what waits for its confirmation.
func (c *abortCommand) Run() error { return c.ask(nil, "abort") }

type rollbackCommand struct {
	controlFlags
	Back  int      `arg:"" help:"How many commits back; 0 is the one in force."`
	Words []string `arg:"" optional:"" help:"[confirmed [MINUTES]] [comment TEXT]"`
}

// Run rolls back.
func (c *rollbackCommand) Run() error {
	return c.ask(nil, append([]string{"rollback", strconv.Itoa(c.Back)}, quoted(c.Words)...)...)
}

type compareCommand struct {
	controlFlags
	Config string `short:"c" placeholder:"FILE" help:"A configuration to compare with the running one; - is standard input."`
	Back   *int   `arg:"" optional:"" help:"How many commits back; without it, the router's own file as it is on disk."`
}

// Run shows a difference.
func (c *compareCommand) Run() error {
	words := []string{"compare"}
	if c.Back != nil {
		words = append(words, strconv.Itoa(*c.Back))
	}
	switch c.Config {
	case "":
		return c.ask(nil, words...)
	case "-":
		return c.ask(os.Stdin, words...)
	}
	f, err := os.Open(c.Config)
	if err != nil {
		return err
	}
	defer f.Close()
	return c.ask(f, words...)
}

// callWith runs a command over the control socket: its output to standard output, or to standard error if it is refused.
func callWith(socket string, stdin io.Reader, words ...string) error {
	out, status, err := mgmt.CallWith(context.Background(), socket, stdin, words...)
	if err != nil {
		return fmt.Errorf("%w (is weir running here? --control names its socket)", err)
	}
	to := os.Stdout
	if status != 0 {
		to = os.Stderr
	}
	if len(out) > 0 && out[len(out)-1] != '\n' {
		out = append(out, '\n')
	}
	if _, _, terminal := terminalSize(to); terminal {
		out = []byte(mgmt.Escape(string(out))) // comments and such may be somebody else's
	}
	if _, err := to.Write(out); err != nil {
		return err
	}
	if status != 0 {
		return silent{status}
	}
	return nil
}
