package mgmt

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestConfirm(t *testing.T) {
	b := newBench(t, oneRule)
	b.start()
	ctx := context.Background()
	events := b.Subscribe(t.Context())
	if err := b.Confirm(alice); !errors.Is(err, ErrNotPending) {
		t.Errorf("confirm nothing: %v", err)
	}
	b.refused(b.Abort(ctx, alice), "no commit waits")
	confirmed := func(text string, d time.Duration) Report {
		return b.ok(b.Commit(ctx, Change{Text: []byte(text), By: alice, Confirm: d}))
	}

	r := confirmed(twoRule, time.Hour)
	if r.ConfirmBy == nil || !strings.Contains(r.String(), "confirm it by") || !b.Commits()[0].Pending || len(b.Notices()) != 1 {
		t.Errorf("report %s; commits %+v; notices %v", r.String(), b.Commits(), b.Notices())
	}
	if err := b.Confirm(bob); err != nil || b.Commits()[0].Pending || len(b.Notices()) != 0 {
		t.Errorf("confirm: %v, notices %v", err, b.Notices())
	}

	confirmed(three, time.Hour)
	confirmed(oneRule, time.Hour) // another one, to be confirmed itself: what would come back stays the same
	r = b.ok(b.Abort(ctx, bob))
	b.runs(twoRule, 5)
	if !strings.Contains(r.Comment, "commit 4 was aborted: rolled back to 2") || b.Commits()[1].RolledBack != true {
		t.Errorf("report %+v; commits %+v", r, b.Commits())
	}

	confirmed(three, time.Hour)
	b.ok(b.commit(oneRule, bob)) // an ordinary one confirms
	if b.Commits()[0].Pending || b.outstanding() != nil {
		t.Error("still pending")
	}
	b.runs(oneRule, 7)

	confirmed(three, time.Hour)
	b.ok(b.reload()) // the same file: nothing changes
	b.write(twoRule)
	b.ok(b.reload()) // another one, but a reload does not confirm
	if !b.Commits()[0].Pending {
		t.Error("a reload confirms")
	}
	b.ok(b.Abort(ctx, bob))
	b.runs(oneRule, 10)

	for len(events) > 0 {
		<-events
	}
	b.write(oneRule)
	confirmed(twoRule, time.Millisecond)
	var kinds []EventKind
	for e := range events {
		if kinds = append(kinds, e.Kind); e.Kind == EventRollback {
			if e.By.Via != "timer" || e.Number != 12 || e.Text != "commit 11 was not confirmed in time: rolled back to 10" {
				t.Errorf("event %+v", e)
			}
			break
		}
	}
	b.runs(oneRule, 12)
	if b.Outcomes().RolledBack != 3 || len(b.Notices()) != 1 || !strings.Contains(b.Notices()[0], "not confirmed in time") {
		t.Errorf("outcomes %+v, notices %v, kinds %v", b.Outcomes(), b.Notices(), kinds)
	}
}

// TestConfirmEdited: the deadline waits for nobody's editor, but what was edited is kept.
func TestConfirmEdited(t *testing.T) {
	b := newBench(t, oneRule)
	b.start()
	b.ok(b.Commit(context.Background(), Change{Text: []byte(twoRule), By: alice, Confirm: time.Hour}))
	b.write("edited")
	r := b.ok(b.Abort(context.Background(), alice))
	b.runs(oneRule, 3)
	if len(r.Notices) != 1 || !strings.Contains(r.Notices[0], "3-weir.yaml") {
		t.Errorf("notices %v", r.Notices)
	}
}

func TestRestartPending(t *testing.T) {
	b := newBench(t, oneRule)
	b.start()
	b.ok(b.Commit(context.Background(), Change{Text: []byte(twoRule), By: alice, Confirm: time.Hour}))
	b = b.restarted()
	r := b.start()
	b.runs(oneRule, 3)
	const why = "commit 2 was not confirmed before weir ended: rolled back to 1"
	if r.Comment != why || b.Commits()[0].Comment != why || len(b.Notices()) != 1 || !strings.Contains(b.Notices()[0], why) || b.logs.FilterMessage("rolled back").Len() != 1 {
		t.Errorf("report %+v, notices %v, commits %+v", r, b.Notices(), b.Commits())
	}
	b = b.restarted()
	b.start()
	b.runs(oneRule, 3)
}
