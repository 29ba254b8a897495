package mgmt

import (
	"fmt"
	"log/syslog"
	"sync"

	"go.uber.org/zap/zapcore"
)

// Syslog sends the log to a syslog server by UDP, where the configuration names one. It is a Service, and a zapcore.Core to stand
// beside the one that writes the log. What cannot be sent is lost, as with UDP anyway: the log itself has it.
type Syslog struct {
	zapcore.LevelEnabler
	encoder zapcore.Encoder
	to      *destination
}

// destination is what a Syslog and those made of it by With share.
type destination struct {
	mu               sync.Mutex
	server, next     string
	writer, prepared *syslog.Writer
}

// NewSyslog sends lines of a level and above. They have no time of their own, which the protocol gives them.
func NewSyslog(level zapcore.LevelEnabler, config zapcore.EncoderConfig) *Syslog {
	config.TimeKey, config.LevelKey = zapcore.OmitKey, zapcore.OmitKey
	return &Syslog{level, zapcore.NewConsoleEncoder(config), &destination{}}
}

// Prepare opens a socket to the server that the configuration names.
func (s *Syslog) Prepare(system System) error {
	d := s.to
	d.mu.Lock()
	defer d.mu.Unlock()
	d.next, d.prepared = system.Syslog, nil
	if d.next == "" || d.next == d.server {
		return nil
	}
	writer, err := syslog.Dial("udp", d.next, syslog.LOG_DAEMON|syslog.LOG_INFO, "weir")
	if err != nil {
		return fmt.Errorf("send log (system.syslog.server): %w", err)
	}
	d.prepared = writer
	return nil
}

// Publish sends to the new server from now on.
func (s *Syslog) Publish() {
	d := s.to
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.next == d.server {
		return
	}
	if d.writer != nil {
		_ = d.writer.Close() // a UDP socket; what was sent is sent
	}
	d.server, d.writer, d.prepared = d.next, d.prepared, nil
}

// Abort undoes Prepare.
func (s *Syslog) Abort() {
	d := s.to
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.prepared != nil {
		_ = d.prepared.Close() // nothing was sent
		d.prepared = nil
	}
}

// With is part of zapcore.Core.
func (s *Syslog) With(fields []zapcore.Field) zapcore.Core {
	next := &Syslog{s.LevelEnabler, s.encoder.Clone(), s.to}
	for _, f := range fields {
		f.AddTo(next.encoder)
	}
	return next
}

// Check is part of zapcore.Core.
func (s *Syslog) Check(e zapcore.Entry, c *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if s.Enabled(e.Level) {
		return c.AddCore(e, s)
	}
	return c
}

// Sync is part of zapcore.Core.
func (s *Syslog) Sync() error { return nil }

// Write is part of zapcore.Core.
func (s *Syslog) Write(e zapcore.Entry, fields []zapcore.Field) error {
	d := s.to
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.writer == nil {
		return nil
	}
	line, err := encodeLine(s.encoder, e, fields)
	if err != nil {
		return err
	}
	switch { // severities of RFC 5424 section 6.2.1
	case e.Level >= zapcore.DPanicLevel:
		err = d.writer.Crit(line)
	case e.Level == zapcore.ErrorLevel:
		err = d.writer.Err(line)
	case e.Level == zapcore.WarnLevel:
		err = d.writer.Warning(line)
	case e.Level == zapcore.InfoLevel:
		err = d.writer.Info(line)
	default:
		err = d.writer.Debug(line)
	}
	_ = err // an ICMP error about an earlier line, or no route: nobody to tell but the log, which is where we are
	return nil
}
