package mgmt

import (
	"context"
	"slices"
	"strings"
	"testing"
)

// TestDistrust: a configuration that was put in force and did no good is passed over for the last one that differs; where there is none,
// it has its turn all the same.
func TestDistrust(t *testing.T) {
	b := newBench(t, oneRule)
	b.start()
	b.ok(b.commit(twoRule, alice))
	b = b.restarted()
	b.Distrust = "it crashed"
	r := b.Start(context.Background())
	config, _ := b.Running()
	if !r.OK() || config == nil || string(config.Text) != oneRule || b.read() != twoRule || len(b.Trouble()) != 1 || !strings.Contains(b.Trouble()[0], "it crashed") {
		t.Fatalf("report %s; trouble %v", r.String(), b.Trouble())
	}
	b = b.restarted()
	if r := b.Start(context.Background()); !r.OK() || r.Number != 2 || b.Trouble() != nil {
		t.Fatalf("the next start: report %s; trouble %v", r.String(), b.Trouble())
	}

	b = newBench(t, oneRule)
	b.start()
	b = b.restarted()
	b.Distrust = "it crashed"
	r = b.Start(context.Background())
	if config, _ := b.Running(); !r.OK() || config == nil || string(config.Text) != oneRule || slices.Contains(b.Trouble(), "it crashed") {
		t.Fatalf("without another one: report %s; trouble %v", r.String(), b.Trouble())
	}
}
