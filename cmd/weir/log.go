package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"weir/mgmt"
)

// logs are where what is logged goes: standard error, a book that people can ask, and a syslog server.
type logs struct {
	*zap.Logger
	book   *mgmt.Logbook
	syslog *mgmt.Syslog
}

// newLogs makes the log. Nothing is logged per packet, so nothing needs thinning.
func newLogs(format string) logs {
	encoding := mgmt.LogEncoding(zap.NewProductionEncoderConfig())
	encoder := zapcore.NewConsoleEncoder(encoding)
	if format == "json" {
		encoder = zapcore.NewJSONEncoder(encoding)
	}
	level := zapcore.InfoLevel
	l := logs{book: mgmt.NewLogbook(level, encoding), syslog: mgmt.NewSyslog(level, encoding)}
	l.Logger = zap.New(zapcore.NewTee(zapcore.NewCore(encoder, zapcore.Lock(os.Stderr), level), l.book, l.syslog))
	return l
}

// logLinesShown is how many lines `show log` shows unless told otherwise.
const logLinesShown = 50

// showLog is `show log [N]`.
func showLog(book *mgmt.Logbook) *mgmt.Command {
	return &mgmt.Command{Name: "log", Help: "the latest lines of the log", Arguments: "[LINES]", Role: mgmt.ReadOnly, Run: func(_ context.Context, r *mgmt.Request) (any, error) {
		args, asJSON := r.Args, r.JSON
		n := logLinesShown
		if len(args) > 0 {
			var err error
			if n, err = strconv.Atoi(args[0]); err != nil || n < 1 || len(args) > 1 {
				return nil, &mgmt.UsageError{Message: "show log [LINES]: a number of lines, at least 1"}
			}
		}
		var b strings.Builder
		last := book.Last(n)
		for i, line := range last {
			switch {
			case !asJSON:
				b.WriteString(line.Text + "\n")
			case i == 0:
				b.WriteString("[" + line.JSON)
			default:
				b.WriteString(",\n" + line.JSON)
			}
		}
		if asJSON && len(last) > 0 {
			b.WriteString("]")
		} else if asJSON {
			b.WriteString("[]")
		}
		return b.String(), nil
	}}
}

// monitorLog is `monitor log`: lines as they come, among them commits, rollbacks, links and gateways.
func monitorLog(book *mgmt.Logbook) *mgmt.Command {
	return &mgmt.Command{Name: "log", Help: "lines of the log as they come: commits, links, gateways, …", Role: mgmt.ReadOnly, Stream: func(ctx context.Context, r *mgmt.Request, w io.Writer) (any, error) {
		args, asJSON := r.Args, r.JSON
		if len(args) > 0 {
			return nil, &mgmt.UsageError{Message: "monitor log takes no arguments"}
		}
		ok, err := book.Follow(ctx, func(line mgmt.LogLine) error {
			text := line.Text
			if asJSON {
				text = line.JSON
			} else if line.Missed > 0 {
				text = fmt.Sprintf("(%d lines were too fast to follow)\n%s", line.Missed, text)
			}
			_, err := io.WriteString(w, text+"\n")
			return err
		})
		if !ok {
			return nil, errors.New("too many follow the log already")
		}
		return nil, err
	}}
}
