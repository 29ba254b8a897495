package mgmt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"weir/mgmt/store"
)

var alice, bob = Author{User: "alice", Source: "192.0.2.7:5000", Via: "ssh"}, Author{User: "bob", Source: "192.0.2.8:5000", Via: "ssh"}

// restarted is the same file and directory after the end of the process, with another router.
func (b *bench) restarted() *bench {
	b.t.Helper()
	if err := b.Close(); err != nil {
		b.t.Fatal(err)
	}
	next := &bench{t: b.t, router: &fakeRouter{}, path: b.path, logs: b.logs}
	next.Engine = NewEngine(b.path, func(s System) (Router, error) {
		next.opened = append(next.opened, s)
		return next.router, nil
	}, b.log)
	b.t.Cleanup(func() { next.Close() })
	return next
}

func (b *bench) start() Report {
	b.t.Helper()
	return b.ok(b.Start(context.Background()))
}

// ok ends the test if a report is not.
func (b *bench) ok(r Report) Report {
	b.t.Helper()
	if !r.OK() || r.Trouble != "" {
		b.t.Fatal(r.String())
	}
	return r
}

func (b *bench) commit(text string, by Author) Report {
	return b.Commit(context.Background(), Change{Text: []byte(text), By: by})
}

// refused ends the test if a report is not a failure that says something.
func (b *bench) refused(r Report, want string) {
	b.t.Helper()
	if r.OK() || !strings.Contains(r.String(), want) {
		b.t.Fatalf("%s\nis not refused for %q", r.String(), want)
	}
}

func (b *bench) read() string {
	b.t.Helper()
	text, err := os.ReadFile(b.path)
	if err != nil {
		b.t.Fatal(err)
	}
	return string(text)
}

// runs checks what is in force, on the disk and in the history.
func (b *bench) runs(text string, number int) {
	b.t.Helper()
	config, _ := b.Running()
	if config == nil || string(config.Text) != text || b.router.running != config.Snapshot {
		b.t.Fatalf("another configuration runs than\n%s", text)
	}
	if got := b.read(); got != text {
		b.t.Errorf("the file is\n%s\ninstead of\n%s", got, text)
	}
	if list := b.Commits(); len(list) == 0 || list[0].Number != number || !list[0].Running || list[0].Hash != config.Hash {
		b.t.Errorf("commits %+v, of which the newest should be %d", list, number)
	}
}

// three is a configuration with a comment and an order of its own.
const three = "# by hand\nversion: 1\nrules:\n  - {priority: 3, name: c, action: nop} # why not\n  - {name: a, priority: 1, action: nop}\nsystem: {workers: [1]}\n"

func TestCommitIsKept(t *testing.T) {
	b := newBench(t, oneRule)
	b.start()
	if err := os.Chmod(b.path, 0o640); err != nil {
		t.Fatal(err)
	}
	b.router.lost = 7
	r := b.ok(b.Commit(context.Background(), Change{Text: []byte(three), By: alice, Comment: "a third rule"}))
	b.runs(three, 2)
	if r.Number != 2 || r.Generation != 2 || r.By != alice || r.Comment != "a third rule" || r.PacketsLost != 0 || r.PersistMillis <= 0 {
		t.Errorf("report %+v", r)
	}
	if want := []string{"rules: 1 added (c)"}; !slices.Equal(r.Changed, want) {
		t.Errorf("changed %q, want %q", r.Changed, want)
	}
	if info, _ := os.Stat(b.path); info.Mode().Perm() != 0o640 {
		t.Errorf("mode %v", info.Mode())
	}
	b.router.onPrepare = func() { b.router.lost += 3 }
	if r = b.ok(b.commit(twoRule, bob)); r.PacketsLost != 3 || !strings.Contains(r.String(), "3 packets lost") {
		t.Errorf("report %s", r.String())
	}
	list := b.Commits()
	if len(list) != 3 || list[0].By != bob || list[1].By != alice || list[1].Comment != "a third rule" || list[2].By.Via != "boot" || list[1].Running || !list[1].Good {
		t.Errorf("commits %+v", list)
	}
	if c, err := b.CommitText(2); err != nil || string(c.Text) != three {
		t.Errorf("text %q, %v", c.Text, err)
	}

	b = b.restarted()
	b.start()
	b.runs(twoRule, 3) // the same, so no new one
	if len(b.Commits()) != 3 {
		t.Errorf("commits %+v", b.Commits())
	}
	r = b.ok(b.Rollback(context.Background(), 1, bob, "", 0))
	b.runs(three, 4)
	if c := b.Commits()[0]; c.Restores != 2 || c.By != bob {
		t.Errorf("commit %+v", c)
	}
	if r = b.ok(b.commit(three, bob)); r.Number != 4 || r.Changed != nil {
		t.Errorf("the same again is %+v", r)
	}
	b.refused(b.Rollback(context.Background(), 9, bob, "", 0), "3 are kept before")
	if diff, err := b.Compare(1); err != nil || !strings.Contains(diff, "--- commit 3\n+++ running\n") || !strings.Contains(diff, "+# by hand") {
		t.Errorf("difference %s, %v", diff, err)
	}
	b.write(oneRule)
	b.ok(b.reload())
	b.runs(oneRule, 5)
}

// TestCommitOfNothing: what is refused changes nothing, wherever it fails.
func TestCommitRefused(t *testing.T) {
	broken := errors.New("broken")
	for name, c := range map[string]struct {
		fail func(b *bench)
		text string
		want string
	}{
		"check":   {func(*bench) {}, noRule, "rule does nothing"},
		"prepare": {func(b *bench) { b.router.prepareErr = broken }, twoRule, "prepare: broken"},
		"publish": {func(b *bench) { b.router.publishErr = broken }, twoRule, "publish: broken"},
		"persist": {func(b *bench) { os.RemoveAll(b.path + ".commits") }, twoRule, "persist: record commit"},
		"link to nowhere": {func(b *bench) {
			os.Remove(b.path)
			os.Symlink("/nonexistent/file", b.path)
		}, twoRule, "persist"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, oneRule)
			b.start()
			before := tree(t, filepath.Dir(b.path))
			c.fail(b)
			if name == "persist" || name == "link to nowhere" {
				before = tree(t, filepath.Dir(b.path))
			}
			b.refused(b.commit(c.text, alice), c.want)
			if config, _ := b.Running(); string(config.Text) != oneRule || b.router.prepared != nil {
				t.Error("another configuration runs, or is prepared")
			}
			if after := tree(t, filepath.Dir(b.path)); !slices.Equal(before, after) {
				t.Errorf("the disk has\n%v\ninstead of\n%v", after, before)
			}
		})
	}
}

// tree lists the files below a directory, and what is in them.
func tree(t *testing.T, dir string) (list []string) {
	t.Helper()
	filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			sum, _ := store.SumFile(path)
			list = append(list, fmt.Sprint(path, " ", sum))
		}
		return nil
	})
	return list
}

func TestConflict(t *testing.T) {
	b := newBench(t, oneRule)
	base := b.start().Hash
	both := make(chan Report)
	for _, c := range []Change{{Text: []byte(twoRule), By: alice, Base: base, Comment: "first"}, {Text: []byte(three), By: bob, Base: base, Comment: "first"}} {
		go func() { both <- b.Commit(context.Background(), c) }()
	}
	one, two := <-both, <-both
	if two.OK() {
		one, two = two, one
	}
	if !one.OK() && two.OK() {
		one, two = two, one
	}
	b.ok(one)
	b.refused(two, "conflict: the configuration in force is not the one")
	for _, want := range []string{"commit 2, ", one.By.String() + ": first\n", "--- commit 1\n+++ running\n"} {
		if !strings.Contains(two.Conflict, want) {
			t.Errorf("conflict\n%s\ndoes not say %q", two.Conflict, want)
		}
	}
	if list := b.Commits(); len(list) != 2 {
		t.Errorf("commits %+v", list)
	}
	b.refused(b.Commit(context.Background(), Change{Text: []byte(three), Base: "0123"}), "0123, which it was made from, is not kept")
}

// TestEditedByHand: what somebody has edited on the disk is not lost.
func TestEditedByHand(t *testing.T) {
	b := newBench(t, oneRule)
	b.start()
	edited := oneRule + "# edited\n"
	b.write(edited)
	b.refused(b.commit(twoRule, alice), "edited on disk and not committed; nothing is lost")
	if b.read() != edited || len(b.Commits()) != 1 {
		t.Error("it was lost")
	}
	b.refused(b.Rollback(context.Background(), 0, alice, "", 0), "edited on disk")
	r := b.ok(b.Commit(context.Background(), Change{Text: []byte(twoRule), By: alice, Overwrite: true}))
	b.runs(twoRule, 2)
	kept, err := os.ReadFile(filepath.Join(b.path+".commits", "edited", "2-weir.yaml"))
	if err != nil || string(kept) != edited || len(r.Notices) != 1 || !strings.Contains(r.Notices[0], "2-weir.yaml") {
		t.Errorf("kept %q, %v; %v", kept, err, r.Notices)
	}
	b.write(edited)
	b.ok(b.reload())
	b.runs(edited, 3)
	b.ok(b.commit(twoRule, alice))
}

func TestLastGood(t *testing.T) {
	b := newBench(t, strings.Replace(oneRule, "[1]", "[2]", 1))
	b.start()
	b.ok(b.commit(twoRule, alice))
	b.write(noRule)
	b = b.restarted()
	r := b.Start(context.Background())
	config, _ := b.Running()
	if !r.OK() || config == nil || string(config.Text) != twoRule || b.read() != noRule || r.Trouble == "" || len(b.Trouble()) != 1 ||
		!strings.Contains(b.Trouble()[0], "commit 2 of") || !strings.Contains(b.Trouble()[0], "rule does nothing") {
		t.Fatalf("report %s; trouble %v", r.String(), b.Trouble())
	}
	b.refused(b.commit(oneRule, alice), "edited on disk")
	b.ok(b.Commit(context.Background(), Change{Text: []byte(oneRule), By: alice, Overwrite: true}))
	b.runs(oneRule, 3)
	if b.Trouble() != nil {
		t.Errorf("trouble %v", b.Trouble())
	}

	// The router refuses the file and the newest commits, and another router is opened for the first one's workers.
	b = b.restarted()
	b.router.onPrepare = func() {
		b.router.prepareErr = nil
		if b.opened[len(b.opened)-1].Workers[0] == 1 {
			b.router.prepareErr = errors.New("no CPU 1")
		}
	}
	if r := b.Start(context.Background()); !r.OK() || r.Number != 1 || len(b.opened) != 2 {
		t.Fatalf("report %s; opened %v", r.String(), b.opened)
	}
	b = b.restarted()
	b.Strict = true
	b.write(noRule)
	if r := b.Start(context.Background()); r.OK() || len(b.opened) != 0 {
		t.Fatalf("report %s", r.String())
	}
}

func TestRoutesFilesRollBack(t *testing.T) {
	const text = "version: 1\nports: {em0: {addresses: [192.0.2.1/24]}}\ntables: {x: {id: 100, routes-file: x.routes}}\nrules: [{priority: 1, name: a, lookup: x}]\n"
	b := newBench(t, text)
	routes := filepath.Join(filepath.Dir(b.path), "x.routes")
	put := func(path, content string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	has := func(want string) {
		t.Helper()
		if got, err := os.ReadFile(routes); err != nil || string(got) != want {
			t.Fatalf("routes %q, %v; want %q", got, err, want)
		}
	}
	const first, second, third = "10.0.0.0/8 via 192.0.2.9\n", "10.0.0.0/8 via 192.0.2.9\n10.1.0.0/16 via 192.0.2.9\n", "blackhole 10.0.0.0/8\n"
	put(routes, first)
	b.start()
	other := filepath.Join(t.TempDir(), "other")
	put(other, second)
	change := Change{Text: []byte(text), Files: map[string]string{"x.routes": other}, By: alice}
	r := b.ok(b.Commit(context.Background(), change))
	has(second)
	if want := []string{"routes of x: 1 added (10.1.0.0/16)"}; !slices.Equal(r.Changed, want) || r.Number != 2 {
		t.Errorf("changed %q of %d, want %q", r.Changed, r.Number, want)
	}
	put(routes, third)
	b.refused(b.Commit(context.Background(), change), "x.routes: edited on disk")
	r = b.ok(b.reload())
	if want := []string{"routes of x: 1 removed (10.1.0.0/16), 1 changed (10.0.0.0/8)"}; !slices.Equal(r.Changed, want) || r.Number != 3 {
		t.Errorf("changed %q of %d, want %q", r.Changed, r.Number, want)
	}
	b.ok(b.Rollback(context.Background(), 2, alice, "", 0))
	has(first)
	b.ok(b.Rollback(context.Background(), 1, alice, "", time.Hour))
	has(third)
	b = b.restarted()
	b.start()
	has(first)
}

func TestExclusive(t *testing.T) {
	b := newBench(t, oneRule)
	b.start()
	release, err := b.Lock(alice)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Lock(bob); err == nil || !strings.Contains(err.Error(), "alice via ssh from 192.0.2.7:5000 has locked") {
		t.Errorf("a second lock: %v", err)
	}
	b.refused(b.commit(twoRule, bob), "alice via ssh from 192.0.2.7:5000 has locked")
	b.refused(b.reload(), "has locked")
	b.ok(b.commit(twoRule, alice))
	release()
	release()
	b.ok(b.commit(oneRule, bob))
}

// TestHundredKept: the oldest commits go, with what only they had, but for the one that would come back.
func TestHundredKept(t *testing.T) {
	b := newBench(t, oneRule)
	b.start()
	for i := range store.Kept + 5 {
		c := Change{Text: fmt.Appendf(nil, "%s# %d\n", oneRule, i), By: alice}
		if i >= 2 {
			c.Confirm = time.Hour
		}
		b.ok(b.Commit(context.Background(), c))
	}
	list := b.Commits()
	if n := len(list); n != store.Kept+1 || list[0].Number != 106 || list[n-2].Number != 7 || list[n-1].Number != 3 {
		t.Fatalf("%d commits, from %d to %d", n, list[0].Number, list[n-1].Number)
	}
	files, _ := filepath.Glob(filepath.Join(b.path+".commits", "commits", "*"))
	if len(files) != 2*(store.Kept+1) {
		t.Errorf("%d files", len(files))
	}
	b.ok(b.Abort(context.Background(), alice))
	if got := b.read(); !strings.HasSuffix(got, "# 1\n") {
		t.Errorf("file %s", got)
	}
}

func TestEventsAreBounded(t *testing.T) {
	b := newBench(t, oneRule)
	ctx, cancel := context.WithCancel(context.Background())
	events := b.Subscribe(ctx)
	for range eventsMax + 3 {
		b.announce(Event{Kind: EventCommit})
	}
	for range eventsMax {
		if e := <-events; e.Missed != 0 {
			t.Fatalf("missed %d", e.Missed)
		}
	}
	b.announce(Event{Kind: EventConfirm})
	if e := <-events; e.Missed != 3 {
		t.Errorf("missed %d", e.Missed)
	}
	cancel()
	for range events { // it is closed
	}
}

// TestSymlink: the file that the link points to is replaced, not the link, and the commits are beside it.
func TestSymlink(t *testing.T) {
	b := newBench(t, oneRule)
	real := filepath.Join(t.TempDir(), "real.yaml")
	if err := errors.Join(os.Rename(b.path, real), os.Symlink(real, b.path)); err != nil {
		t.Fatal(err)
	}
	b.start()
	b.ok(b.commit(twoRule, alice))
	b.runs(twoRule, 2)
	if to, err := os.Readlink(b.path); err != nil || to != real {
		t.Errorf("the link is %s, %v", to, err)
	}
	if _, err := os.Stat(real + ".commits"); err != nil {
		t.Error(err)
	}
}

// TestTwoProcesses: two routers with one file do not keep commits both.
func TestTwoProcesses(t *testing.T) {
	b := newBench(t, oneRule)
	b.start()
	other := &bench{t: t, router: &fakeRouter{}, path: b.path}
	other.Engine = NewEngine(b.path, func(System) (Router, error) { return other.router, nil }, zap.NewNop())
	r := other.start()
	if len(r.Notices) != 1 || !strings.Contains(r.Notices[0], "commits are not kept") || !strings.Contains(r.Notices[0], "another process") {
		t.Errorf("notices %v", r.Notices)
	}
	other.ok(other.reload())
	other.refused(other.commit(twoRule, alice), "another process uses it")
}
