package mgmt

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestLimits: what is one too many is refused where it stands, and what is not is taken.
func TestLimits(t *testing.T) {
	repeated := func(n int, format string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, format, i)
		}
		return b.String()
	}
	const most = 65534 // indexes are 16 bits, and one is taken
	for _, c := range []struct {
		name, before, format, want string
		most                       int
	}{
		{"chains", "version: 1\nmarks:\n", "  c%d: []\n", "marks.c65534: more than 65534 chains", most},
		{"statements", "version: 1\nmarks:\n  main: []\n  a:\n", "  - {name: s%d, then: [drop]}\n", "marks.a[65534]: more than 65534 statements", most},
		{"tables", "version: 1\ntables:\n  local: {}\n  main: {}\n  default: {}\n", "  t%d: {id: 1%[1]d00000}\n", "tables.t65531: more than 65534 tables", most - 3},
		{"rules", "version: 1\ndefault-rules: false\nrules:\n", "- {name: r%d, priority: 1, action: nop}\n", "rules[65534]: more than 65534 rules", most},
	} {
		text := c.before + repeated(c.most+1, c.format)
		if c.name == "tables" { // ids are unique, and below 2³²
			text = c.before + repeated(c.most+1, "  t%d: {id: 1000%[1]d}\n")
		}
		_, problems := parse(text)
		if got := problems.String(); !strings.Contains(got, c.want+"\n") {
			t.Errorf("%s: %.300s", c.name, got)
		}
	}

	opened := 0
	open := func(string) (io.ReadCloser, error) {
		opened++
		return io.NopCloser(strings.NewReader("")), nil
	}
	_, problems := Parse("test.yaml", []byte("version: 1\ntables:\n"+repeated(filesMax+1, "  t%d: {id: 1000%[1]d, routes-file: f}\n")), open)
	if got := problems.String(); !strings.Contains(got, "tables.t4096.routes-file: more than 4096 routes-files\n") || opened != filesMax {
		t.Errorf("%d files: %.300s", opened, got)
	}
}

// TestRoutesLimit: the routes of all files, and the bytes of each, are limited; and a file may fail to be read.
func TestRoutesLimit(t *testing.T) {
	d := newDecoder("test.yaml", func(string) (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader("blackhole 10.0.0.0/8\nblackhole 11.0.0.0/8\n")), nil
	})
	d.startTables()
	d.routes = routesMax - 1
	d.readRoutesFile(tableMain, newRouteSet(d, tableMain), "f", spot{}, nil)
	if got, want := d.found.problems(d.files).String(), fmt.Sprintf("f:2:1: more than %d routes\n", routesMax); got != want {
		t.Errorf("%q, expected %q", got, want)
	}

	comment := []byte("#" + strings.Repeat(" ", 60_000) + "\n")
	_, problems := parseRoutes(readerFunc(func(p []byte) (int, error) { return copy(p, comment[:min(len(p), len(comment))]), nil }))
	if got := problems.String(); !strings.Contains(got, "read f: larger than 1 GiB\n") {
		t.Errorf("%.300s", got)
	}
	_, problems = parseRoutes(io.MultiReader(strings.NewReader("blackhole 10.0.0.0/8\n"), readerFunc(func([]byte) (int, error) { return 0, unix.EIO })))
	if got := problems.String(); !strings.Contains(got, "routes-file: read f: input/output error\n") {
		t.Errorf("%.300s", got)
	}
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// TestLoadBounds: whatever a name leads to, Load ends soon, says what is wrong where, and takes less than 100 MB.
func TestLoadBounds(t *testing.T) {
	t.Chdir(t.TempDir())
	file := func(name, text string, size int64) {
		err := os.WriteFile(name, []byte(text), 0o600)
		if err == nil && size > 0 {
			err = os.Truncate(name, size) // sparse: NULs to its end
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(unix.Mkfifo("fifo", 0o600), os.Mkdir("directory", 0o700)); err != nil {
		t.Fatal(err)
	}
	file("line.yaml", "version: 1\n# ", 1<<30)
	file("large.yaml", "version: 1\n"+strings.Repeat("# comment\n", 1<<20), 0)
	file("nul.yaml", "version: 1\n# ", 100)
	file("utf8.yaml", "version: 1\r\n# é\xc3\r\n", 0)
	file("bom.yaml", "\ufeffversion: 1\r\n# \ufeff\r\n", 0)
	file("laughs.yaml", laughs(), 0)
	file("deep.yaml", "version: 1\nsets: "+strings.Repeat("[", 100<<10), 0)
	file("line.routes", "blackhole 10.0.0.0/8\n", 1<<30)
	file("bytes.routes", "blackhole 10.0.0.0/8\r\nblackhole 10.0.0.\xff\r\n\x00\r\n", 0)
	file("bom.routes", "\ufeffblackhole 10.0.0.0/8\r\nword\r\n", 0)
	const limit, number = ": text is larger than 8388608 bytes; keep routes in a routes-file", ": tables.x.routes-file: "
	for _, c := range []struct{ name, want string }{
		{"missing", "missing: open: no such file or directory"},
		{"directory", "directory: open: not a regular file"},
		{"fifo", "fifo: open: not a regular file"},
		{"/dev/zero", "/dev/zero: open: not a regular file"},
		{"line.yaml", "line.yaml:1:1" + limit},
		{"large.yaml", "large.yaml:1:1" + limit},
		{"nul.yaml", "nul.yaml:2:3: character U+0000 is not allowed"},
		{"utf8.yaml", "utf8.yaml:2:4: byte 0xc3 is not UTF-8"},
		{"bom.yaml", "bom.yaml:2:3: character U+FEFF is not allowed"},
		{"laughs.yaml", "laughs.yaml:1:4: anchors and aliases (& and *) are not supported; quote the value if it is text"},
		{"deep.yaml", "deep.yaml:2:38: nested deeper than 32 levels"},
		{"routes-file: missing", "of.yaml:2:34" + number + "missing: open: no such file or directory"},
		{"routes-file: directory", "of.yaml:2:34" + number + "directory: open: not a regular file"},
		{"routes-file: fifo", "of.yaml:2:34" + number + "fifo: open: not a regular file"},
		{"routes-file: /dev/zero", "of.yaml:2:34" + number + "/dev/zero: open: not a regular file"},
		{"routes-file: line.routes", "line.routes:2:1" + number + "line is longer than 65536 bytes; the rest of the file is not read"},
		{"routes-file: bytes.routes", "bytes.routes:2:18" + number + "byte 0xff is not text\nbytes.routes:3:1" + number + "byte 0x00 is not text"},
		{"routes-file: bom.routes", "bom.routes:2:1" + number + "expected a prefix such as 192.0.2.0/24 or 2001:db8::/32, found word"},
	} {
		name := c.name
		if strings.HasPrefix(name, "routes-file") {
			name = "of.yaml"
			file(name, "version: 1\ntables: {x: {id: 1, "+c.name+"}}\n", 0)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		config, problems := Load(name)
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; used > 100<<20 {
			t.Errorf("%s: %d bytes allocated", c.name, used)
		}
		if got := problems.String(); config != nil || got != c.want+"\n" {
			t.Errorf("%s: got\n%.500swant\n%s", c.name, got, c.want)
		}
	}
}

// laughs is a text that would be a billion strings if aliases were followed.
func laughs() string {
	var b strings.Builder
	b.WriteString("a: &a [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]\n")
	for c := 'b'; c <= 'i'; c++ {
		fmt.Fprintf(&b, "%c: &%c [%s]\n", c, c, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*%c, ", c-1), 10), ", "))
	}
	return b.String()
}
