// Command weir is a router: see README.md. This package has its command line and wires the rooms together; what
// they do is theirs.
package main

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"

	"github.com/alecthomas/kong"

	"weir/appliance/boot"
)

// Exit statuses, as every command uses them.
const (
	exitRefused = 1 // the thing asked for was refused, or failed
	exitUsage   = 2 // the command line is wrong
)

// silent is an error that has been told already.
type silent struct{ status int }

func (e silent) Error() string { return fmt.Sprintf("exit status %d", e.status) }

// version is set by the build.
var version = "unknown"

type commands struct {
	Version kong.VersionFlag `help:"Print the version."`

	Run      runCommand      `cmd:"" help:"Run the router in the foreground. SIGHUP reloads, SIGTERM stops."`
	Check    checkCommand    `cmd:"" help:"Check a configuration: every error, with its place. Needs no root and no ports."`
	Explain  explainCommand  `cmd:"" help:"Say what becomes of a packet, and why. Needs no root and no ports."`
	Show     showCommand     `cmd:"" help:"Look at the running router: counters, drops, ports, queues, neighbors, workers, rules, marks, tables, routes, commits, configuration, sessions."`
	Monitor  monitorCommand  `cmd:"" help:"Watch rates of ports, drops and workers."`
	Capture  captureCommand  `cmd:"" help:"Capture packets as pcapng, dropped ones with the reason."`
	Routes   routesCommand   `cmd:"" help:"Change routes of the running router beside those of its configuration."`
	Reload   reloadCommand   `cmd:"" help:"Make the running router read its configuration again, and tell what came of it."`
	Commit   commitCommand   `cmd:"" help:"Put a configuration in force, and on the disk."`
	Confirm  confirmCommand  `cmd:"" help:"Keep the commit that waits for its confirmation."`
	Abort    abortCommand    `cmd:"" help:"Roll back the commit that waits for its confirmation."`
	Rollback rollbackCommand `cmd:"" help:"Put an earlier configuration in force."`
	Compare  compareCommand  `cmd:"" help:"Show what differs from the running configuration."`
	Request  requestCommand  `cmd:"" help:"On the appliance: reboot, power-off, upgrade (the image on standard input), rollback image."`
	Lab      labCommand      `cmd:"" help:"Laboratories of network namespaces, to see weir at work."`
	Image    imageCommand    `cmd:"" help:"Build the appliance: a disk that boots into weir."`
	Perf     perfCommand     `cmd:"" help:"Measure weir, and what it should be judged by."`
}

func main() {
	if boot.Wanted() {
		fmt.Fprintln(os.Stderr, "weir:", boot.Run(bootHooks())) // it returns only where it refuses
		os.Exit(exitRefused)
	}
	var c commands
	parser, err := kong.New(&c, kong.Name("weir"), kong.Vars{"control": "/run/weir/control.sock", "version": "weir " + version},
		kong.Description("A multi-table policy router on AF_XDP."), kong.ConfigureHelp(kong.HelpOptions{Compact: true}))
	if err != nil {
		panic(err) // the struct above is wrong
	}
	ctx, err := parser.Parse(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "weir:", told(err))
		os.Exit(exitUsage)
	}
	if err := ctx.Run(); err != nil {
		var s silent
		if errors.As(err, &s) {
			os.Exit(s.status)
		}
		fmt.Fprintln(os.Stderr, "weir:", err)
		os.Exit(exitRefused)
	}
}

// endOfLine is how the parser says of a flag that the command line ends where its value should be.
var endOfLine = regexp.MustCompile(`^--([^:]+): expected .* but got "EOL"`)

// told says what is wrong with the command line.
func told(err error) error {
	var p *kong.ParseError
	if !errors.As(err, &p) {
		return err
	}
	match := endOfLine.FindStringSubmatch(err.Error())
	for _, f := range p.Context.Flags() {
		switch {
		case match != nil && f.Name == match[1]:
			return fmt.Errorf("the value of --%s is missing: %s", f.Name, f.Summary())
		case f.Name == "config" && !f.Set && strings.HasPrefix(err.Error(), "unexpected argument "):
			return fmt.Errorf("%w: the configuration is named by -c FILE", err)
		}
	}
	return err
}
