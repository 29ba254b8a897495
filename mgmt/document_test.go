package mgmt

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"weir/mgmt/document"
)

// configurations are the names and texts of those that are good.
func configurations(t *testing.T) (names []string, texts map[string][]byte) {
	texts = map[string][]byte{}
	for _, pattern := range []string{"testdata/good/*.yaml", "examples/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatal("no files", err)
		}
		for _, file := range files {
			if texts[file], err = os.ReadFile(file); err != nil {
				t.Fatal(err)
			}
			names = append(names, file)
		}
	}
	return names, texts
}

// sameAgain fails unless the set commands of a document, executed on an empty one, give a configuration with the same policy. It reports
// whether the document is a configuration at all.
func sameAgain(t rapid.TB, file string, d *document.Document) bool {
	name := filepath.Join(filepath.Dir(file), "x") // short, for withoutPlaces
	want, _ := Parse(name, d.Text(), openRegular)
	if want == nil {
		return false
	}
	again, err := replay(d)
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	got, problems := Parse(name, again.Text(), openRegular)
	if got == nil {
		t.Fatalf("%s: %v\n%s", file, problems, again)
	}
	if diff := cmp.Diff(strings.Split(withoutPlaces(want), "\n"), strings.Split(withoutPlaces(got), "\n")); diff != "" {
		t.Fatalf("%s (-want +got):\n%s\n%s", file, diff, again)
	}
	return true
}

// TestDisplaySet: set commands say all that a configuration does.
func TestDisplaySet(t *testing.T) {
	names, texts := configurations(t)
	for _, file := range names {
		d, err := document.Parse(Schema(), texts[file])
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if !sameAgain(t, file, d) {
			t.Errorf("%s is no configuration", file)
		}
	}
}

// TestDisplaySetRandom: so do those of what is left of it when some of it is deleted.
func TestDisplaySetRandom(t *testing.T) {
	names, texts := configurations(t)
	good := 0
	rapid.Check(t, func(t *rapid.T) {
		file := rapid.SampledFrom(names).Draw(t, "file")
		d, err := document.Parse(Schema(), texts[file])
		if err != nil {
			t.Fatal(err)
		}
		commands, err := d.SetCommands()
		if err != nil {
			t.Fatal(err)
		}
		for range rapid.IntRange(1, 6).Draw(t, "deletes") {
			words := rapid.SampledFrom(commands).Draw(t, "command")
			_ = d.Delete(words[:rapid.IntRange(1, len(words)).Draw(t, "words")]...) // it may have gone with another one
		}
		if sameAgain(t, file, d) {
			good++
		}
	})
	if good == 0 {
		t.Error("nothing that was left is a configuration")
	}
}

// withoutPlaces describes a configuration but for where everything stands.
func withoutPlaces(c *Config) string {
	var b strings.Builder
	for line := range strings.SplitSeq(describe(c), "\n") {
		if len(line) > 16 && strings.Contains(line[:16], ":") {
			_, line, _ = strings.Cut(line, " ")
			line = strings.TrimLeft(line, " ")
		}
		b.WriteString(line + "\n")
	}
	return b.String()
}

// replay executes the set commands of a document on an empty one.
func replay(d *document.Document) (*document.Document, error) {
	commands, err := d.SetCommands()
	if err != nil {
		return nil, err
	}
	again, err := document.Parse(Schema(), nil)
	if err != nil {
		return nil, err
	}
	for _, words := range commands {
		line, err := document.Words(document.Line(words...))
		if err != nil {
			return nil, err
		}
		if err := again.Set(line...); err != nil {
			return nil, err
		}
	}
	return again, nil
}
