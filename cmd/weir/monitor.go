package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"weir/appliance"
	"weir/mgmt"
)

type monitorCommand struct {
	Control  string        `default:"${control}" placeholder:"SOCKET" help:"The running router's control socket (${default})."`
	Interval time.Duration `default:"1s" placeholder:"TIME" help:"Time between looks (${default}), at least 100ms."`
	Count    int           `placeholder:"N" help:"End after N looks; without, Ctrl-C ends it."`
	What     string        `arg:"" optional:"" enum:"traffic,log" default:"traffic" help:"traffic, or log: its lines as they come."`
}

// intervalMin keeps the control plane from doing nothing but answering.
const intervalMin = 100 * time.Millisecond

// Run shows rates until it is interrupted: as a table that is drawn again and again on a terminal, as lines with the time
// elsewhere.
func (c *monitorCommand) Run() (err error) {
	if c.Interval < intervalMin || c.Count < 0 {
		fmt.Fprintf(os.Stderr, "weir: an interval is at least %v, and a count not negative\n", intervalMin)
		return silent{exitUsage}
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if c.What == "log" {
		return c.followLog(ctx)
	}
	last, err := look(ctx, c.Control)
	if err != nil {
		return err
	}
	show := showLines
	if _, _, terminal := terminalSize(os.Stdout); terminal && os.Getenv("TERM") != "dumb" {
		s := newScreen(os.Stdout)
		defer s.close()
		show = s.draw
	}
	resized := make(chan os.Signal, 1)
	signal.Notify(resized, syscall.SIGWINCH)
	tick := time.NewTicker(c.Interval)
	defer tick.Stop()
	var r *rates
	for shown := 0; c.Count == 0 || shown < c.Count; {
		select {
		case <-ctx.Done():
			return nil
		case <-resized:
			if r != nil {
				err = show(os.Stdout, r, true)
			}
		case <-tick.C:
			var now appliance.State
			if now, err = look(ctx, c.Control); err == nil {
				r = ratesOf(last, now, time.Now())
				err = show(os.Stdout, r, false)
			}
			last = now
			shown++
		}
		if ctx.Err() != nil {
			return nil // interrupted while it looked
		}
		if err != nil {
			return err
		}
	}
	return nil
}

const monitorUsage = "monitor traffic [interval=TIME] [count=N]"

// monitorCommands follow the running router until the client has enough.
func monitorCommands(router *appliance.Router, log *mgmt.Logbook) *mgmt.Command {
	return &mgmt.Command{Name: "monitor", Help: "follow the running router", Role: mgmt.Operator, Commands: []*mgmt.Command{monitorTraffic(router), monitorLog(log)}}
}

// monitorTraffic writes rates, as lines or as the router's whole state.
func monitorTraffic(router *appliance.Router) *mgmt.Command {
	return &mgmt.Command{Name: "traffic", Help: "rates of ports, drops and workers", Arguments: strings.TrimPrefix(monitorUsage, "monitor traffic "),
		Complete: func([]string) []mgmt.Candidate {
			return []mgmt.Candidate{{Text: "interval=", Help: "time between looks, as 1s"}, {Text: "count=", Help: "end after so many"}}
		},
		Stream: func(ctx context.Context, r *mgmt.Request, w io.Writer) (any, error) {
			interval, count, err := monitorOptions(r.Args)
			if err != nil {
				return nil, &mgmt.UsageError{Message: err.Error() + ": " + monitorUsage}
			}
			tick := time.NewTicker(interval)
			defer tick.Stop()
			last := router.State()
			for shown := 0; count == 0 || shown < count; shown++ {
				select {
				case <-ctx.Done():
					return nil, nil
				case <-tick.C:
				}
				now := router.State()
				if r.JSON {
					err = json.NewEncoder(w).Encode(now)
				} else {
					err = showLines(w, ratesOf(last, now, time.Now()), false)
				}
				if err != nil {
					return nil, err
				}
				last = now
			}
			return nil, nil
		}}
}

func monitorOptions(args []string) (interval time.Duration, count int, err error) {
	interval = time.Second
	for _, arg := range args {
		name, value, _ := strings.Cut(arg, "=")
		switch name {
		case "interval":
			if interval, err = time.ParseDuration(value); err == nil && interval < intervalMin {
				err = fmt.Errorf("an interval is at least %v", intervalMin)
			}
		case "count":
			if count, err = strconv.Atoi(value); err == nil && count < 1 {
				err = errors.New("a count is at least 1")
			}
		default:
			err = fmt.Errorf("unknown word %q", name)
		}
		if err != nil {
			return 0, 0, err
		}
	}
	return interval, count, nil
}

// followLog prints lines of the log until it is interrupted.
func (c *monitorCommand) followLog(ctx context.Context) error {
	out, status, err := mgmt.Stream(ctx, c.Control, os.Stdout, "monitor", "log")
	switch {
	case err != nil:
		return fmt.Errorf("%w (is weir running here? --control names its socket)", err)
	case status != mgmt.StatusOK:
		return fmt.Errorf("monitor log: %s", strings.TrimSuffix(string(out), "\n"))
	}
	return nil
}

// look asks the running router for its state.
func look(ctx context.Context, control string) (s appliance.State, err error) {
	out, status, err := mgmt.Call(ctx, control, "show", "counters", "|", "json")
	if err != nil {
		return s, fmt.Errorf("%w (is weir running here? --control names its socket)", err)
	}
	if status != 0 {
		return s, fmt.Errorf("show counters: %s", out)
	}
	if err := json.Unmarshal(out, &s); err != nil {
		return s, fmt.Errorf("show counters: %w", err)
	}
	return s, nil
}

// showLines writes a look as lines, each with the time, for files and other programs.
func showLines(out io.Writer, r *rates, again bool) error {
	if again {
		return nil
	}
	at := r.at.Format(time.RFC3339)
	for _, p := range r.ports {
		if _, err := fmt.Fprintf(out, "%s port %s in %s pkt/s %s bit/s out %s pkt/s %s bit/s dropped %s pkt/s link %s\n",
			at, p.name, plain(p.in.packets), plain(p.in.bits), plain(p.out.packets), plain(p.out.bits), plain(p.dropped), p.link); err != nil {
			return err
		}
	}
	for _, d := range r.drops {
		if _, err := fmt.Fprintf(out, "%s drop %s %s pkt/s\n", at, d.reason, plain(d.packets)); err != nil {
			return err
		}
	}
	for _, w := range r.workers {
		if _, err := fmt.Fprintf(out, "%s worker %d cpu %d busy %s %s pkt/s %s pkt/batch\n", at, w.worker, w.cpu, percent(w.busy), plain(w.packets), perBatchText(w.perBatch)); err != nil {
			return err
		}
	}
	return nil
}

// plain is a rate as a whole number.
func plain(x float64) string { return fmt.Sprintf("%.0f", x) }

func perBatchText(x float64) string { return fmt.Sprintf("%.1f", x) }
