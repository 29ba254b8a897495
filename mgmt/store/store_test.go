package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// shelf is a store of a configuration with a routes-file.
type shelf struct {
	*Store
	t    *testing.T
	dir  string
	file string
}

func newShelf(t *testing.T) *shelf {
	dir := t.TempDir()
	b := &shelf{t: t, dir: dir, file: filepath.Join(dir, "weir.yaml")}
	b.write("weir.yaml", "one")
	b.reopen()
	t.Cleanup(func() { b.Close() })
	return b
}

func (b *shelf) reopen() {
	b.t.Helper()
	if b.Store != nil {
		b.Close()
	}
	var err error
	if b.Store, err = Open(b.file, nil); err != nil {
		b.t.Fatal(err)
	}
}

func (b *shelf) write(name, text string) string {
	b.t.Helper()
	path := filepath.Join(b.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o640); err != nil {
		b.t.Fatal(err)
	}
	return path
}

func (b *shelf) has(name, want string) {
	b.t.Helper()
	if got, err := os.ReadFile(filepath.Join(b.dir, name)); err != nil && want != "" || string(got) != want {
		b.t.Errorf("%s is %q, %v; want %q", name, got, err, want)
	}
}

// record keeps a text with x.routes, and says that it is good.
func (b *shelf) record(text, routes string) Commit {
	b.t.Helper()
	source := b.write("source", routes)
	c, err := b.Record(Commit{Time: time.Now(), By: Author{Via: "test"}, Hash: text, Files: []File{{"x.routes", Sum([]byte(routes))}}}, []byte(text), []string{source})
	if err == nil {
		err = b.SetState(State{Good: c.Number})
	}
	if err != nil {
		b.t.Fatal(err)
	}
	return c
}

func (b *shelf) targets(text, routes string) []Target {
	return []Target{
		{Path: filepath.Join(b.dir, "x.routes"), SHA256: Sum([]byte(routes))},
		{Path: b.file, SHA256: Sum([]byte(text)), Text: []byte(text)},
	}
}

func TestInstall(t *testing.T) {
	b := newShelf(t)
	b.record("one", "r1")
	b.write("x.routes", "r1")
	c := b.record("two", "r2")
	before := State{Good: 1}
	if err := b.Install(c.Number, b.targets("two", "r2"), before); err != nil {
		t.Fatal(err)
	}
	b.has("weir.yaml", "two")
	b.has("x.routes", "r2")
	if info, _ := os.Stat(b.file); info.Mode().Perm() != 0o640 {
		t.Errorf("mode %v", info.Mode())
	}
	if i := b.State().Installing; i == nil || i.Number != 2 || len(i.Files) != 2 || i.Files[1].Path != "weir.yaml" {
		t.Errorf("installing %+v", i)
	}
	if err := b.Undo(before); err != nil || b.State() != before {
		t.Errorf("undo: %v, %+v", err, b.State())
	}
	b.has("weir.yaml", "one")
	b.has("x.routes", "r1")
}

// TestInstallFails: a file that cannot be replaced, after another one was, leaves nothing replaced.
func TestInstallFails(t *testing.T) {
	b := newShelf(t)
	b.record("one", "r1")
	c := b.record("two", "r2")
	before := b.State()
	b.step = func(name string) {
		if name == "rename weir.yaml" { // somebody makes it a directory meanwhile, with something in it
			if err := errors.Join(os.Remove(b.file), os.MkdirAll(filepath.Join(b.file, "x"), 0o700)); err != nil {
				t.Error(err)
			}
		}
	}
	if err := b.Install(c.Number, b.targets("two", "r2"), before); err == nil || !strings.Contains(err.Error(), "weir.yaml") {
		t.Fatalf("install: %v", err)
	}
	b.has("x.routes", "r2")
	b.step = func(string) {}
	if err := b.Undo(before); err == nil {
		t.Error("a directory is undone")
	}
	if err := os.RemoveAll(b.file); err != nil {
		t.Fatal(err)
	}
	if err := b.Undo(before); err != nil || b.State() != before {
		t.Errorf("undo: %v, %+v", err, b.State())
	}
	b.has("x.routes", "") // there was none
	if left, _ := filepath.Glob(filepath.Join(b.dir, ".*")); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

// TestResume: what was being installed is, but for what somebody has edited since.
func TestResume(t *testing.T) {
	for edited, want := range map[string][]string{"": nil, "weir.yaml": {"edited", "r2"}, "x.routes": {"two", "edited"}} {
		b := newShelf(t)
		b.record("one", "r1")
		b.write("x.routes", "r1")
		b.record("two", "r2")
		was := &Installing{Number: 2, Files: []Placed{{"x.routes", Sum([]byte("r1")), Sum([]byte("r2"))}, {"weir.yaml", Sum([]byte("one")), Sum([]byte("two"))}}}
		if err := b.SetState(State{Good: 1, Installing: was}); err != nil {
			t.Fatal(err)
		}
		if edited != "" {
			b.write(edited, "edited")
		} else {
			want = []string{"two", "r2"}
		}
		b.reopen()
		n, left, err := b.Resume()
		if err != nil || n != 2 || (edited == "") != (len(left) == 0) {
			t.Errorf("resume: %d, %v, %v", n, left, err)
		}
		b.has("weir.yaml", want[0])
		b.has("x.routes", want[1])
	}
}

func TestEdited(t *testing.T) {
	b := newShelf(t)
	path := b.write("a", "edited")
	target := Target{Path: path, SHA256: Sum([]byte("new")), Knew: []string{Sum([]byte("old"))}}
	for text, want := range map[string]int{"new": 0, "old": 0, "edited": 1} {
		b.write("a", text)
		if paths, err := Edited([]Target{target}); err != nil || len(paths) != want {
			t.Errorf("%s: %v, %v", text, paths, err)
		}
	}
	var kept []string
	for range 2 {
		more, err := b.Rescue([]string{path}, 7)
		if err != nil {
			t.Fatal(err)
		}
		kept = append(kept, more...)
	}
	if !slices.Equal(kept, []string{b.path("edited", "7-a"), b.path("edited", "7.2-a")}) {
		t.Errorf("kept %q", kept)
	}
}

// TestOpen: what a crash has left is removed, what is wrong is said, and only one process has it.
func TestOpen(t *testing.T) {
	b := newShelf(t)
	if _, err := Open(b.file, nil); !errors.Is(err, ErrInUse) {
		t.Errorf("opened twice: %v", err)
	}
	b.record("one", "r1")
	b.record("two", "r1")
	if err := b.SetState(State{Good: 1}); err != nil {
		t.Fatal(err)
	}
	b.write("weir.yaml.commits/commits/9.yaml", "half")
	b.write("weir.yaml.commits/blobs/0123", "half")
	b.reopen()
	var left []string
	fs.WalkDir(os.DirFS(b.dir), "weir.yaml.commits", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			left = append(left, strings.TrimPrefix(path, "weir.yaml.commits/"))
		}
		return nil
	})
	if want := []string{"blobs/" + Sum([]byte("r1")), "commits/1.json", "commits/1.yaml", "lock", "state.json"}; !slices.Equal(left, want) {
		t.Errorf("left %q, want %q", left, want)
	}
	if c := b.record("three", "r1"); c.Number != 2 {
		t.Errorf("number %d", c.Number)
	}

	b.write("weir.yaml.commits/commits/1.yaml", "another")
	if _, _, err := b.Commit(1); err == nil || !strings.Contains(err.Error(), "commit 1: its text on disk has changed") {
		t.Errorf("changed text: %v", err)
	}
	if _, _, err := b.Commit(5); !errors.Is(err, ErrNone) {
		t.Errorf("no such commit: %v", err)
	}
	b.Close()
	for _, name := range []string{"commits/2.json", "state.json"} {
		b.write("weir.yaml.commits/"+name, "{")
		if _, err := Open(b.file, nil); err == nil || !strings.Contains(err.Error(), "read "+name) {
			t.Errorf("broken %s: %v", name, err)
		}
	}
}

// TestChangedMeanwhile: a routes-file that changes between being read and being kept is not kept as what it was.
func TestChangedMeanwhile(t *testing.T) {
	b := newShelf(t)
	source := b.write("source", "after")
	sum := Sum([]byte("before"))
	_, err := b.Record(Commit{Files: []File{{"x.routes", sum}}}, []byte("text"), []string{source})
	if !errors.Is(err, errChanged) {
		t.Errorf("recorded: %v", err)
	}
	if files, _ := filepath.Glob(b.path("*", "*")); len(files) > 0 {
		t.Errorf("left %q", files)
	}
}

func TestAuthor(t *testing.T) {
	for want, a := range map[string]Author{
		"somebody":                  {},
		"alice via ssh from ::1:22": {User: "alice", Source: "::1:22", Via: "ssh"},
		"via boot":                  {Via: "boot"},
		"root via control":          {User: "root", Via: "control"},
	} {
		if a.String() != want {
			t.Errorf("%q, want %q", a.String(), want)
		}
	}
}
