package mgmt

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap/zapcore"
)

// Logbook keeps the latest lines of the log for people who ask a running router, and hands new ones to those who follow it. It is a
// zapcore.Core, to stand beside the one that writes the log.
type Logbook struct {
	zapcore.LevelEnabler
	text, json zapcore.Encoder
	book       *book
}

// book is what a logbook and those made of it by With share.
type book struct {
	mu        sync.Mutex
	lines     []LogLine // a ring of logbookMax
	next      uint64    // number of the next line; it goes to lines[next%logbookMax]
	counts    map[zapcore.Level]uint64
	followers map[chan LogLine]*uint64
}

// LogLine is one line of the log, without a line feed.
type LogLine struct {
	Number uint64 // from 0, since the start
	Text   string // for people
	JSON   string // one object
	Missed uint64 // lines before this one that a follower was too slow for
}

const (
	logbookMax    = 1000
	followersMax  = 32
	followerQueue = 256
)

// NewLogbook keeps the lines of a level and above, in the form that the encoder configuration gives them.
func NewLogbook(level zapcore.LevelEnabler, config zapcore.EncoderConfig) *Logbook {
	return &Logbook{level, zapcore.NewConsoleEncoder(config), zapcore.NewJSONEncoder(config), &book{counts: map[zapcore.Level]uint64{}, followers: map[chan LogLine]*uint64{}}}
}

// With is part of zapcore.Core.
func (l *Logbook) With(fields []zapcore.Field) zapcore.Core {
	next := &Logbook{l.LevelEnabler, l.text.Clone(), l.json.Clone(), l.book}
	for _, f := range fields {
		f.AddTo(next.text)
		f.AddTo(next.json)
	}
	return next
}

// Check is part of zapcore.Core.
func (l *Logbook) Check(e zapcore.Entry, c *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if l.Enabled(e.Level) {
		return c.AddCore(e, l)
	}
	return c
}

// Sync is part of zapcore.Core.
func (l *Logbook) Sync() error { return nil }

// Write is part of zapcore.Core. It never waits for a follower: one that is too slow misses lines, and is told how many.
func (l *Logbook) Write(e zapcore.Entry, fields []zapcore.Field) error {
	text, err := encodeLine(l.text, e, fields)
	if err != nil {
		return err
	}
	json, err := encodeLine(l.json, e, fields)
	if err != nil {
		return err
	}
	b := l.book
	b.mu.Lock()
	defer b.mu.Unlock()
	line := LogLine{Number: b.next, Text: text, JSON: json}
	if len(b.lines) < logbookMax {
		b.lines = append(b.lines, line)
	} else {
		b.lines[b.next%logbookMax] = line
	}
	b.next++
	b.counts[e.Level]++
	for follower, missed := range b.followers {
		line.Missed = *missed
		select {
		case follower <- line:
			*missed = 0
		default:
			*missed++
		}
	}
	return nil
}

func encodeLine(encoder zapcore.Encoder, e zapcore.Entry, fields []zapcore.Field) (string, error) {
	buffer, err := encoder.EncodeEntry(e, fields)
	if err != nil {
		return "", err
	}
	defer buffer.Free()
	buffer.TrimNewline()
	return buffer.String(), nil
}

// Last returns the latest n lines, or as many as there are, the oldest first.
func (l *Logbook) Last(n int) []LogLine {
	b := l.book
	b.mu.Lock()
	defer b.mu.Unlock()
	n = min(max(n, 0), len(b.lines))
	list := make([]LogLine, 0, n)
	for i := b.next - uint64(n); i != b.next; i++ {
		list = append(list, b.lines[i%logbookMax])
	}
	return list
}

// Count is how many lines of a level there were since the start.
func (l *Logbook) Count(level zapcore.Level) uint64 {
	l.book.mu.Lock()
	defer l.book.mu.Unlock()
	return l.book.counts[level]
}

// Follow hands lines that come to f, until ctx ends or f fails; ok is false if too many follow already. The lines that a slow f
// misses are counted in the next one.
func (l *Logbook) Follow(ctx context.Context, f func(LogLine) error) (ok bool, err error) {
	b := l.book
	lines := make(chan LogLine, followerQueue)
	b.mu.Lock()
	if ok = len(b.followers) < followersMax; ok {
		b.followers[lines] = new(uint64)
	}
	b.mu.Unlock()
	if !ok {
		return false, nil
	}
	defer func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.followers, lines)
	}()
	for {
		select {
		case <-ctx.Done():
			return true, nil
		case line := <-lines:
			if err := f(line); err != nil {
				return true, err
			}
		}
	}
}

// LogEncoding is how weir's log looks: times in RFC 3339, levels in lower case.
func LogEncoding(config zapcore.EncoderConfig) zapcore.EncoderConfig {
	config.EncodeTime = zapcore.TimeEncoderOfLayout(time.RFC3339)
	config.EncodeLevel = zapcore.LowercaseLevelEncoder
	return config
}
