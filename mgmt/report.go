package mgmt

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"go.uber.org/zap"
)

// Report is what became of a commit.
type Report struct {
	Generation uint64     `json:"generation"`           // in force now; the earlier one if the commit failed
	Number     int        `json:"number,omitempty"`     // of the commit in force now; 0: it is not kept
	Hash       string     `json:"hash,omitempty"`       // of the configuration in force now
	By         Author     `json:"by"`                   // who asked
	Comment    string     `json:"comment,omitempty"`    //
	Changed    []string   `json:"changed,omitempty"`    // what differs from what ran before, by kind
	ConfirmBy  *time.Time `json:"confirm_by,omitempty"` // when it will be rolled back unless it is confirmed
	Notices    []string   `json:"notices,omitempty"`    // what one should know besides
	Problems   Problems   `json:"problems,omitempty"`   // of the text; if one is an error, the commit was refused
	Conflict   string     `json:"conflict,omitempty"`   // what others have committed since Base, where that is why it failed
	Failed     string     `json:"failed,omitempty"`     // why it is not in force, where the text is not to blame
	Trouble    string     `json:"trouble,omitempty"`    // what went wrong after it came into force

	LoadMillis    float64 `json:"load_ms"` // read, check, compile, compare
	PrepareMillis float64 `json:"prepare_ms"`
	PersistMillis float64 `json:"persist_ms"`   // until it is on the disk
	PublishMillis float64 `json:"publish_ms"`   // until the last worker has acknowledged
	PacketsLost   uint64  `json:"packets_lost"` // for want of room or time, from before prepare until it was published
}

// OK reports whether the configuration came into force.
func (r *Report) OK() bool { return r.Failed == "" && !r.Problems.Refused() }

// Err is nil if the configuration came into force.
func (r *Report) Err() error {
	if err := r.Problems.Err(); err != nil {
		return err
	}
	if r.Failed != "" {
		return errors.New(r.Failed)
	}
	return nil
}

// reportWidth is how many columns the text of a report has at most, but for problems and what others have written.
const reportWidth = 80

// String is the report for people.
func (r *Report) String() string {
	var b strings.Builder
	b.WriteString(r.Problems.String())
	b.WriteString(r.Conflict)
	switch {
	case r.Failed != "":
		fmt.Fprintf(&b, "%s; %s stays\n", r.Failed, r.inForce())
	case r.Problems.Refused():
		fmt.Fprintf(&b, "refused; %s stays\n", r.inForce())
	default:
		fmt.Fprintf(&b, "%s%s\n", r.inForce(), r.author())
		for _, change := range r.Changed {
			wrapped(&b, "  ", change)
		}
		fmt.Fprintf(&b, "  load %.1f ms, prepare %.1f ms, persist %.1f ms, publish %.1f ms\n  %d packets lost\n",
			r.LoadMillis, r.PrepareMillis, r.PersistMillis, r.PublishMillis, r.PacketsLost)
		if r.ConfirmBy != nil {
			fmt.Fprintf(&b, "confirm it by %s, or it is rolled back\n", r.ConfirmBy.Local().Format(time.DateTime))
		}
	}
	for _, notice := range r.Notices {
		wrapped(&b, "", "note: "+notice)
	}
	if r.Trouble != "" {
		fmt.Fprintf(&b, "degraded: %s\n", r.Trouble)
	}
	return b.String()
}

func (r *Report) inForce() string {
	s := fmt.Sprintf("generation %d", r.Generation)
	if r.Number > 0 {
		s = fmt.Sprintf("commit %d, %s", r.Number, s)
	}
	return s
}

func (r *Report) author() string {
	s := " " + shortHash(r.Hash)
	if r.By != (Author{}) {
		s += ", " + r.By.String()
	}
	return s
}

// shortHash is enough of a hash for people to tell configurations apart.
func shortHash(hash string) string { return hash[:min(len(hash), 12)] }

// wrapped writes text in lines of at most reportWidth columns, where its words allow it.
func wrapped(b *strings.Builder, indent, text string) {
	column := 0
	for word := range strings.FieldsSeq(text) {
		switch {
		case column == 0:
			b.WriteString(indent)
			column = len(indent)
		case column+1+len(word) > reportWidth:
			b.WriteString("\n" + indent + "  ")
			column = len(indent) + 2
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += len(word)
	}
	b.WriteByte('\n')
}

// tell counts and logs a commit, once, when its outcome is known, and has subscribers know.
func (e *Engine) tell(r *Report, p *proposal) {
	fields := []zap.Field{
		zap.String("file", e.path), zap.Uint64("generation", r.Generation), zap.Int("number", r.Number), zap.String("hash", r.Hash),
		zap.Stringer("by", r.By), zap.Strings("changed", r.Changed),
		zap.Float64("load_ms", r.LoadMillis), zap.Float64("prepare_ms", r.PrepareMillis), zap.Float64("persist_ms", r.PersistMillis),
		zap.Float64("publish_ms", r.PublishMillis), zap.Uint64("packets_lost", r.PacketsLost), zap.Int("problems", len(r.Problems)),
	}
	if r.Comment != "" {
		fields = append(fields, zap.String("comment", r.Comment))
	}
	if r.ConfirmBy != nil {
		fields = append(fields, zap.Time("confirm_by", *r.ConfirmBy))
	}
	if len(r.Notices) > 0 {
		fields = append(fields, zap.Strings("notices", r.Notices))
	}
	if len(r.Problems) > 0 {
		fields = append(fields, zap.String("first_problem", r.Problems[0].String()))
	}
	event := Event{Kind: EventCommit, By: r.By, Number: r.Number}
	switch {
	case r.Failed != "":
		e.failed.Add(1)
		event.Kind, event.Text = EventRefused, r.Failed
		e.log.Error("commit failed", append(fields, zap.String("error", r.Failed))...)
	case r.Problems.Refused():
		e.refused.Add(1)
		event.Kind, event.Text = EventRefused, r.Problems[0].String()
		e.log.Error("commit refused", fields...)
	default:
		e.succeeded.Add(1)
		event.Text = strings.Join(r.Changed, "; ")
		if p.undoes != 0 {
			e.rolledBack.Add(1)
		}
		if p.why != "" {
			event.Kind, event.Text = EventRollback, p.why
			e.log.Warn("rolled back", zap.String("why", p.why), zap.Int("number", r.Number))
		}
		if r.Trouble != "" {
			e.log.Error("commit took effect with trouble", append(fields, zap.String("error", r.Trouble))...)
		} else {
			e.log.Info("commit", fields...)
		}
	}
	e.announce(event)
}

func millisSince(start time.Time) float64 {
	return float64(time.Since(start)) / float64(time.Millisecond)
}
