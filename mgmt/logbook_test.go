package mgmt

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

func newTestLogbook() (*Logbook, *zap.Logger) {
	b := NewLogbook(zapcore.InfoLevel, LogEncoding(zap.NewProductionEncoderConfig()))
	return b, zap.New(b)
}

// TestLogbookKeeps: the latest lines are kept, in order, in both forms, with the fields of the loggers made of the first one;
// lower levels are not.
func TestLogbookKeeps(t *testing.T) {
	book, log := newTestLogbook()
	if got := book.Last(5); len(got) != 0 {
		t.Errorf("before the first line: %v", got)
	}
	log = log.With(zap.String("user", "alice"))
	for i := range logbookMax + 10 {
		log.Debug("too low")
		log.Info("line", zap.Int("n", i))
	}
	for _, n := range []int{-1, 0, 1, 3, logbookMax, logbookMax + 5} {
		got := book.Last(n)
		if want := min(max(n, 0), logbookMax); len(got) != want {
			t.Errorf("the last %d lines are %d", n, len(got))
		}
		for i, line := range got {
			var fields struct {
				User, Level string
				N           int
			}
			want := logbookMax + 10 - len(got) + i
			if err := json.Unmarshal([]byte(line.JSON), &fields); err != nil || fields.User != "alice" || fields.N != want || fields.Level != "info" {
				t.Fatalf("line %d of %d is %s: %v", i, n, line.JSON, err)
			}
			if line.Number != uint64(want) || !strings.Contains(line.Text, fmt.Sprintf(`"n": %d`, want)) || strings.HasSuffix(line.Text, "\n") {
				t.Fatalf("line %d of %d is %d %q", i, n, line.Number, line.Text)
			}
		}
	}
}

// TestLogbookFollowers: who follows gets every line that comes, in order; who is too slow misses lines and is told how many, and
// does not hold up the log; there are bounds, and room again when somebody leaves.
func TestLogbookFollowers(t *testing.T) {
	book, log := newTestLogbook()
	enough := errors.New("enough")
	log.Info("before")
	const lines = 3 * followerQueue
	held, goOn, done := make(chan struct{}), make(chan struct{}), make(chan error)
	var seen, missed uint64
	go func() {
		_, err := book.Follow(t.Context(), func(line LogLine) error {
			if seen == 0 {
				close(held)
				<-goOn
			}
			if line.Number != 1+seen+missed+line.Missed {
				return fmt.Errorf("line %d after %d seen and %d missed, said to have missed %d", line.Number, seen, missed, line.Missed)
			}
			seen, missed = seen+1, missed+line.Missed
			if strings.Contains(line.Text, "last") {
				return enough
			}
			return nil
		})
		done <- err
	}()
	for followers := 0; followers == 0; { // it has begun when it is counted
		book.book.mu.Lock()
		followers = len(book.book.followers)
		book.book.mu.Unlock()
	}
	log.Info("first")
	<-held
	for range lines {
		log.Info("line")
	}
	close(goOn)
	for last := false; !last; {
		log.Info("last")
		select {
		case err := <-done:
			if last = true; err != enough {
				t.Error(err)
			}
		default:
		}
	}
	if missed < lines-followerQueue-1 {
		t.Errorf("missed %d of %d lines, with room for %d", missed, lines, followerQueue)
	}

	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	for range followersMax {
		go func() {
			for {
				// One that is tried below may have the last place just now.
				if ok, err := book.Follow(ctx, func(LogLine) error { return nil }); ok {
					ended <- err
					return
				}
			}
		}()
	}
	for ok := true; ok; {
		refused, stop := context.WithCancel(t.Context())
		stop()
		ok, _ = book.Follow(refused, func(LogLine) error { return nil })
	}
	cancel()
	for range followersMax {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	if ok, err := book.Follow(ctx, func(LogLine) error { return nil }); !ok || err != nil {
		t.Errorf("after all have left: %v, %v", ok, err)
	}
}
