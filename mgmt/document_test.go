package mgmt

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"weir/mgmt/document"
)

func TestDisplaySet(t *testing.T) {
	for _, pattern := range []string{"testdata/good/*.yaml", "examples/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatal("no files", err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			d, err := document.Parse(Schema(), text)
			if err != nil {
				t.Errorf("%s: %v", file, err)
				continue
			}
			again, err := replay(d)
			if err != nil {
				t.Errorf("%s: %v", file, err)
				continue
			}
			open := func(path string) (io.ReadCloser, error) { return openRegular(path) }
			name := filepath.Join(filepath.Dir(file), "x") // short, for withoutPlaces
			want, _ := Parse(name, text, open)
			got, problems := Parse(name, again.Text(), open)
			if got == nil {
				t.Errorf("%s: %v\n%s", file, problems, again)
				continue
			}
			if diff := cmp.Diff(strings.Split(withoutPlaces(want), "\n"), strings.Split(withoutPlaces(got), "\n")); diff != "" {
				t.Errorf("%s (-want +got):\n%s\n%s", file, diff, again)
			}
		}
	}
}

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
