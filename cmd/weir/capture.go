package main

import (
	"context"
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

// captureUsage is what the command takes over the control socket.
const captureUsage = "capture [port=NAME,…] [direction=in|out|both] [dropped] [count=N] [snaplen=BYTES] [duration=TIME] [NAME=VALUE…]"

// captureCommands write what workers see to the client, as pcapng.
func captureCommands(router *appliance.Router) *mgmt.Command {
	return &mgmt.Command{Name: "capture", Help: "packets as pcapng", Arguments: strings.TrimPrefix(captureUsage, "capture "), Role: mgmt.Operator, Binary: true,
		Complete: func([]string) []mgmt.Candidate {
			return []mgmt.Candidate{
				{Text: "port=", Help: "only what comes in or goes out by it"}, {Text: "direction=", Help: "in, out or both"},
				{Text: "dropped", Help: "only what is dropped"}, {Text: "count=", Help: "end after so many packets"},
				{Text: "snaplen=", Help: "bytes that are kept of each"}, {Text: "duration=", Help: "end after so long, as 10s"},
			}
		},
		Stream: func(ctx context.Context, r *mgmt.Request, w io.Writer) (any, error) {
			o, duration, err := captureOptions(r.Args)
			if err != nil {
				return nil, &mgmt.UsageError{Message: err.Error() + ": " + captureUsage}
			}
			if duration > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, duration)
				defer cancel()
			}
			report, err := router.Capture(ctx, o, w)
			if err != nil || r.JSON {
				return report, err
			}
			return report.String(), nil
		}}
}

// captureOptions reads the words of the command. Those that it does not know are the filter's.
func captureOptions(args []string) (o appliance.CaptureOptions, duration time.Duration, err error) {
	direction := "both"
	for _, arg := range args {
		name, value, has := strings.Cut(arg, "=")
		switch name {
		case "port":
			o.Ports = append(o.Ports, strings.Split(value, ",")...)
		case "direction":
			direction = value
		case "dropped":
			if has {
				return o, 0, errors.New("dropped has no value")
			}
			o.Dropped = true
		case "count":
			o.Count, err = strconv.ParseUint(value, 10, 64)
		case "snaplen":
			o.SnapLength, err = strconv.Atoi(value)
			if err == nil && o.SnapLength < 0 {
				err = errors.New("it is negative")
			}
		case "duration":
			duration, err = time.ParseDuration(value)
			if err == nil && duration <= 0 {
				err = errors.New("it must be longer than 0")
			}
		default:
			o.Filter = append(o.Filter, arg)
		}
		if err != nil {
			return o, 0, fmt.Errorf("%s %q: %w", name, value, err)
		}
	}
	switch {
	case direction != "in" && direction != "out" && direction != "both":
		return o, 0, fmt.Errorf("direction %q is not in, out or both", direction)
	case o.Dropped && direction == "out":
		return o, 0, errors.New("what is dropped does not go out")
	case o.Dropped:
	default:
		o.In, o.Out, o.Dropped = direction != "out", direction != "in", direction == "both"
	}
	return o, duration, nil
}

type captureCommand struct {
	Control   string        `default:"${control}" placeholder:"SOCKET" help:"The running router's control socket (${default})."`
	Write     string        `short:"w" default:"-" placeholder:"FILE" help:"Where to write pcapng; - is standard output, as for 'weir capture | tshark -r -'."`
	Port      []string      `placeholder:"NAME" help:"Only what comes in or goes out by this port; may be given several times."`
	Direction string        `default:"both" enum:"in,out,both" help:"in, out or both (${default}); both has what is dropped too, with the reason as a comment."`
	Dropped   bool          `help:"Only what is dropped, with the reason as a comment."`
	Filter    string        `placeholder:"EXPR" help:"Only packets that fit: iif= src= dst= proto= sport= dport= icmp-type= icmp-code= tcp-flags= dscp= length= ttl= fragment= flowlabel=, with prefixes, ranges a-b, lists a,b, and != for none of them."`
	Count     uint64        `placeholder:"N" help:"End after N packets."`
	Snaplen   uint          `placeholder:"BYTES" help:"Keep so much of each frame; all of it unless told."`
	Duration  time.Duration `placeholder:"TIME" help:"End after so long, as 10s."`
}

// Run captures until it is interrupted, or has enough.
func (c *captureCommand) Run() error {
	out := os.Stdout
	if c.Write != "-" {
		file, err := os.Create(c.Write)
		if err != nil {
			return err
		}
		defer file.Close()
		out = file
	} else if _, _, terminal := terminalSize(os.Stdout); terminal {
		fmt.Fprintln(os.Stderr, "weir: a capture is no text: give it a file (-w FILE) or a pipe ('weir capture | tshark -r -')")
		return silent{exitUsage}
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	last, status, err := mgmt.Stream(ctx, c.Control, out, c.words()...)
	if err != nil {
		return fmt.Errorf("%w (is weir running here? --control names its socket)", err)
	}
	fmt.Fprint(os.Stderr, string(last))
	if status != 0 {
		return silent{status}
	}
	return nil
}

// words is the command for the router.
func (c *captureCommand) words() []string {
	words := []string{"capture", "direction=" + c.Direction}
	if len(c.Port) > 0 {
		words = append(words, "port="+strings.Join(c.Port, ","))
	}
	if c.Dropped {
		words = append(words, "dropped")
	}
	if c.Count > 0 {
		words = append(words, fmt.Sprintf("count=%d", c.Count))
	}
	if c.Snaplen > 0 {
		words = append(words, fmt.Sprintf("snaplen=%d", c.Snaplen))
	}
	if c.Duration > 0 {
		words = append(words, "duration="+c.Duration.String())
	}
	return append(words, strings.Fields(c.Filter)...)
}
