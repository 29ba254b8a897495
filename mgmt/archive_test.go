package mgmt

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"weir/mgmt/document"
)

// entry is a file of an archive.
type entry struct {
	name, text string
	kind       byte
}

func archived(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Typeflag: e.kind, Mode: 0o600, Size: int64(len(e.text))}
		if e.kind != tar.TypeReg && e.kind != 0 {
			h.Size, h.Linkname = 0, e.text
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			if _, err := io.WriteString(w, e.text); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func compressed(text []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Write(text)
	w.Close()
	return b.Bytes()
}

func TestReadChange(t *testing.T) {
	whole := archived(t, entry{name: "./", kind: tar.TypeDir}, entry{name: "./r/x.routes", text: "a"}, entry{name: "other.yaml", text: oneRule}, entry{name: "y", text: "b"})
	for name, c := range map[string]struct {
		input []byte
		text  string
		files map[string]string
		want  string
	}{
		"text":                {input: []byte(three), text: three},
		"compressed text":     {input: compressed([]byte(three)), text: three},
		"archive":             {input: whole, text: oneRule, files: map[string]string{"r/x.routes": "a", "y": "b"}},
		"compressed archive":  {input: compressed(whole), text: oneRule, files: map[string]string{"r/x.routes": "a", "y": "b"}},
		"weir.yaml of two":    {input: archived(t, entry{name: "a.yaml", text: "a"}, entry{name: "weir.yaml", text: "b"}), text: "b"},
		"nothing":             {want: ErrNoInput.Error()},
		"two":                 {input: archived(t, entry{name: "a.yaml"}, entry{name: "b.yaml"}), want: "no weir.yaml"},
		"none":                {input: archived(t, entry{name: "a"}), want: "no weir.yaml"},
		"out of it":           {input: archived(t, entry{name: "../x"}), want: "../x: not below"},
		"out of it later":     {input: archived(t, entry{name: "a/../../x"}), want: "not below"},
		"from the root":       {input: archived(t, entry{name: "/etc/x"}), want: "/etc/x: not below"},
		"link":                {input: archived(t, entry{name: "x", text: "/etc/passwd", kind: tar.TypeSymlink}), want: "x: not a regular file"},
		"hard link":           {input: archived(t, entry{name: "x", text: "/etc/passwd", kind: tar.TypeLink}), want: "x: not a regular file"},
		"device":              {input: archived(t, entry{name: "x", kind: tar.TypeChar}), want: "x: not a regular file"},
		"half an archive":     {input: whole[:len(whole)-1024], want: "read archive: unexpected EOF"},
		"half of compression": {input: compressed(whole)[:60], want: "unexpected EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			change, err := ReadChange(bytes.NewReader(c.input))
			if c.want != "" {
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Fatalf("error %v, want %q", err, c.want)
				}
				return
			}
			if err != nil || string(change.Text) != c.text || len(change.Files) != len(c.files) {
				t.Fatalf("text %q, files %v, %v", change.Text, change.Files, err)
			}
			for name, want := range c.files {
				if got, err := os.ReadFile(change.Files[name]); err != nil || string(got) != want {
					t.Errorf("%s is %q, %v", name, got, err)
				}
			}
			if err := change.Close(); err != nil {
				t.Error(err)
			}
			for _, path := range change.Files {
				if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("%s is left: %v", path, err)
				}
			}
		})
	}
}

// TestReadChangeLimits: neither a text without end nor many small files are taken.
func TestReadChangeLimits(t *testing.T) {
	change, err := ReadChange(strings.NewReader(strings.Repeat("#", document.TextMax+1000)))
	if err != nil || len(change.Text) != document.TextMax+1 {
		t.Errorf("%d bytes, %v", len(change.Text), err)
	}
	many := make([]entry, filesMax+2)
	for i := range many {
		many[i].name = "x"
	}
	if _, err := ReadChange(bytes.NewReader(archived(t, many[:2]...))); err == nil {
		t.Error("a file is there twice")
	}
	for i := range many {
		many[i].name = strings.Repeat("x", i%90+1) + string(rune('a'+i/90%26)) + string(rune('a'+i/90/26))
	}
	if _, err := ReadChange(bytes.NewReader(archived(t, many...))); err == nil || !strings.Contains(err.Error(), "more than 4096 files") {
		t.Errorf("many files: %v", err)
	}
}

// FuzzReadChange: whatever comes, what is read has names below the directory, and nothing is left.
func FuzzReadChange(f *testing.F) {
	f.Add([]byte(three))
	f.Add(archived(f, entry{name: "weir.yaml", text: oneRule}, entry{name: "r/x", text: "10.0.0.0/8 dev em0\n"}))
	f.Add(compressed(archived(f, entry{name: "a.yaml", text: oneRule})))
	dir := f.TempDir()
	f.Setenv("TMPDIR", dir)
	f.Fuzz(func(t *testing.T, input []byte) {
		change, err := ReadChange(bytes.NewReader(input))
		if err == nil {
			for name := range change.Files {
				if strings.HasPrefix(name, "/") || strings.HasPrefix(name, "..") {
					t.Errorf("name %q", name)
				}
			}
			if err := change.Close(); err != nil {
				t.Error(err)
			}
		}
		if left, _ := os.ReadDir(dir); len(left) > 0 {
			t.Errorf("%v is left", left)
		}
	})
}
