package mgmt

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"weir/mgmt/document"
)

// seeds are the texts of testdata.
func seeds(t testing.TB, extension string) (texts [][]byte) {
	t.Helper()
	files, err := filepath.Glob("testdata/*/*" + extension)
	if err != nil || len(files) == 0 {
		t.Fatal("no seeds", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, text)
	}
	return texts
}

// hostile are texts that cost a careless parser memory, time or its stack; each is repeated to a size.
var hostile = map[string]func(size int) string{
	"brackets":      func(n int) string { return strings.Repeat("[", n) },
	"braces":        func(n int) string { return strings.Repeat("{a: ", n/4) },
	"dashes":        func(n int) string { return strings.Repeat("- ", n/2) },
	"keys":          func(n int) string { return strings.Repeat("a: ", n/3) },
	"complex keys":  func(n int) string { return strings.Repeat("? ", n/2) },
	"one line":      func(n int) string { return "a: " + strings.Repeat("x", n) },
	"open quote":    func(n int) string { return `a: "` + strings.Repeat("x\n", n/2) },
	"NULs":          func(n int) string { return strings.Repeat("\x00", n) },
	"not UTF-8":     func(n int) string { return strings.Repeat("\xff", n) },
	"blanks":        func(n int) string { return strings.Repeat(" ", n) },
	"tabs":          func(n int) string { return strings.Repeat("\t", n) },
	"comments":      func(n int) string { return strings.Repeat("#\n", n/2) },
	"documents":     func(n int) string { return strings.Repeat("---\n", n/4) },
	"exclamations":  func(n int) string { return strings.Repeat("! ", n/2) },
	"reserved":      func(n int) string { return strings.Repeat("@", n) },
	"anchors":       func(n int) string { return strings.Repeat("&a ", n/3) },
	"flow list":     func(n int) string { return "rules: [" + strings.Repeat("a,", n/2) },
	"flow mappings": func(n int) string { return "rules: [" + strings.Repeat("{},", n/3) + "]" },
	"literals":      func(n int) string { return strings.Repeat("|\n", n/2) },
	"same key":      func(n int) string { return "version: 1\n" + strings.Repeat("rules:\n", n/7) },
	"laughs": func(n int) string {
		var b strings.Builder
		b.WriteString("a0: &a0 [lol, lol]\n")
		for i := 1; b.Len() < n && i < 64; i++ {
			fmt.Fprintf(&b, "a%d: &a%d [*a%d, *a%d, *a%d]\n", i, i, i-1, i-1, i-1)
		}
		return b.String()
	},
	"staircase": func(n int) string {
		var b strings.Builder
		for i := 0; b.Len() < n; i++ {
			b.WriteString(strings.Repeat(" ", i) + "a:\n")
		}
		return b.String()
	},
	"unknown keys": func(n int) string { return numbered(n, "k%d: v\n") },
	"tables":       func(n int) string { return "version: 1\ntables:\n" + numbered(n, "  t%d: {id: x}\n") },
	"ports":        func(n int) string { return "version: 1\nports:\n" + numbered(n, "  p%d:\n") },
	"bad rules":    func(n int) string { return "version: 1\nrules:\n" + numbered(n, "- {priority: %d, lookup: nowhere}\n") },
	"warnings":     func(n int) string { return "version: 1\nrules:\n" + numbered(n, "- {priority: %d, goto: 9000000}\n") },
}

func numbered(size int, format string) string {
	var b strings.Builder
	for i := 0; b.Len() < size; i++ {
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}

// TestHostile checks that what hostile texts allocate grows with their size and no faster: a byte of text may cost
// 1,500 bytes in all (the lexer's worst is some 300, a table or port from 15 bytes takes more), whatever the size.
func TestHostile(t *testing.T) {
	const perByte, fixed = 1500, 4 << 20
	for name, make := range hostile {
		for _, size := range []int{1 << 10, 64 << 10, 1 << 20} {
			text := make(size)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			config, problems := parse(text)
			runtime.ReadMemStats(&after)
			if used := after.TotalAlloc - before.TotalAlloc; used > uint64(perByte*len(text)+fixed) {
				t.Errorf("%s: text of %d bytes allocates %d", name, len(text), used)
			}
			if config == nil && !problems.Refused() {
				t.Errorf("%s: neither a configuration nor an error", name)
			}
			if len(problems) > 2*listedMax+2 {
				t.Errorf("%s: %d problems are listed", name, len(problems))
			}
			for _, p := range problems {
				if s := p.String(); len(s) > 2000 || strings.ContainsAny(s, "\n\x00") {
					t.Errorf("%s: problem %.100q", name, s)
				}
			}
		}
	}
	if _, problems := parse(strings.Repeat("a", document.TextMax+1)); len(problems) != 1 || !strings.Contains(problems[0].Message, "larger than") {
		t.Errorf("a text that is too large: %.200s", problems.String())
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range seeds(f, ".yaml") {
		f.Add(text)
	}
	for _, make := range hostile {
		f.Add([]byte(make(200)))
	}
	routes := seeds(f, ".routes")
	f.Fuzz(func(t *testing.T, text []byte) {
		config, problems := Parse("fuzz.yaml", text, openSeed(routes))
		if (config == nil) != problems.Refused() {
			t.Fatalf("config %v with problems:\n%s", config != nil, problems)
		}
		lines := strings.Count(string(text), "\n") + 1
		for _, p := range problems {
			if p.File == "fuzz.yaml" && p.Line > lines || p.Line < 0 || p.Message == "" && p.Path == "" {
				t.Errorf("problem %q in a text of %d lines", p, lines)
			}
		}
		if config == nil {
			return
		}
		if config.Snapshot == nil || config.Snapshot.Rules() != len(config.Policy.Rules) {
			t.Fatal("snapshot and policy differ")
		}
		for i, table := range config.Policy.Tables {
			config.TablePosition(i)
			for j := range table.Routes {
				config.RoutePosition(i, j)
			}
			if got := config.Snapshot.Routes(uint16(i)).Len(); got != len(table.Routes) {
				t.Errorf("table %s has %d routes, %d of them different", table.Name, len(table.Routes), got)
			}
		}
	})
}
