package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"weir/appliance"
	"weir/mgmt"
)

// routesReport is what came of changes of routes.
type routesReport struct {
	Applied int           `json:"applied"`
	Refused int           `json:"refused"`
	Errors  []routesError `json:"errors,omitempty"` // the first ones
}

type routesError struct {
	Line  int    `json:"line"`
	Error string `json:"error"`
}

// routesErrorsMax is how many errors a report has.
const routesErrorsMax = 100

func (r *routesReport) String() string {
	return fmt.Sprintf("%d changes applied, %d refused", r.Applied, r.Refused)
}

// routesCommands change routes at run time.
func routesCommands(router *appliance.Router) *mgmt.Command {
	return &mgmt.Command{Name: "routes", Help: "routes beside the configuration's", Commands: []*mgmt.Command{
		{Name: "apply", Help: "changes, one a line: " + mgmt.RouteChangeSyntax, Role: mgmt.Admin, Stream: func(_ context.Context, r *mgmt.Request, w io.Writer) (any, error) {
			if len(r.Args) > 0 {
				return nil, &mgmt.UsageError{Message: "routes apply takes its changes as input"}
			}
			var report routesReport
			refuse := func(line int, err error) {
				report.Refused++
				if len(report.Errors) < routesErrorsMax {
					report.Errors = append(report.Errors, routesError{line, err.Error()})
				}
				if !r.JSON {
					fmt.Fprintf(w, "line %d: %v\n", line, err)
				}
			}
			err := mgmt.ReadRouteChanges(r.Stdin, func(changes []mgmt.RouteChange, lines []int) error {
				refused, err := router.ChangeRoutes(changes)
				for _, f := range refused {
					refuse(lines[f.Index], f.Err)
				}
				if err == nil {
					report.Applied += len(changes) - len(refused)
				}
				return err
			}, refuse)
			switch {
			case err != nil:
				return nil, fmt.Errorf("%v; then: %w", &report, err)
			case report.Refused > 0 && r.JSON:
				text, err := json.Marshal(report)
				return nil, errors.Join(err, errors.New(string(text)))
			case report.Refused > 0:
				return nil, errors.New(report.String())
			case r.JSON:
				return report, nil
			}
			return report.String(), nil
		}},
	}}
}

type routesCommand struct {
	Apply routesApplyCommand `cmd:"" help:"Apply changes of routes to the running router, one a line: add|replace|delete TABLE PREFIX [via ADDRESS] [dev PORT] [metric N] …"`
}

type routesApplyCommand struct {
	Control string `default:"${control}" placeholder:"SOCKET" help:"The running router's control socket (${default})."`
	JSON    bool   `help:"Print the report as JSON."`
	File    string `arg:"" default:"-" help:"The changes; - is standard input, which may go on for as long as it likes."`
}

// Run sends the changes, and prints what is refused as it is.
func (c *routesApplyCommand) Run() error {
	in := os.Stdin
	if c.File != "-" {
		file, err := os.Open(c.File)
		if err != nil {
			return err
		}
		defer file.Close()
		in = file
	}
	words := []string{"routes", "apply"}
	if c.JSON {
		words = append(words, "|", "json")
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	last, status, err := mgmt.Feed(ctx, c.Control, &wholeLines{r: in}, os.Stderr, words...)
	if err != nil {
		return fmt.Errorf("%w (is weir running here? --control names its socket)", err)
	}
	to := os.Stdout
	if status != 0 && !c.JSON {
		to = os.Stderr
	}
	if _, err := to.Write(last); err != nil {
		return err
	}
	if status != 0 {
		return silent{status}
	}
	return nil
}

// wholeLines ends the last line where the file does not. So the router can tell the end of a file from that of a sender.
type wholeLines struct {
	r    io.Reader
	last byte
	over bool
}

func (l *wholeLines) Read(p []byte) (n int, err error) {
	if l.over {
		return 0, io.EOF
	}
	n, err = l.r.Read(p)
	if n > 0 {
		l.last = p[n-1]
	}
	if err == io.EOF && l.last != '\n' && l.last != 0 && n < len(p) {
		p[n], l.over = '\n', true
		return n + 1, nil
	}
	return n, err
}
