package mgmt

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
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

// outline writes a tree down without positions.
func (n *node) outline(b *strings.Builder) {
	switch n.kind {
	case nothing:
		b.WriteString("~")
	case scalar:
		fmt.Fprintf(b, "%q", n.text)
	case mapping:
		b.WriteByte('{')
		for i := range n.keys {
			fmt.Fprintf(b, "%q: ", n.keys[i].text)
			n.items[i].outline(b)
			b.WriteString(", ")
		}
		b.WriteByte('}')
	case sequence:
		b.WriteByte('[')
		for i := range n.items {
			n.items[i].outline(b)
			b.WriteString(", ")
		}
		b.WriteByte(']')
	}
}

// outlineTwin writes the tree of goccy's parser down in the same way.
func outlineTwin(n ast.Node, b *strings.Builder) {
	switch n := n.(type) {
	case nil:
		b.WriteString("~")
	case *ast.NullNode:
		b.WriteString("~")
	case *ast.MappingNode:
		b.WriteByte('{')
		for _, v := range n.Values {
			fmt.Fprintf(b, "%q: ", v.Key.GetToken().Value)
			outlineTwin(v.Value, b)
			b.WriteString(", ")
		}
		b.WriteByte('}')
	case *ast.MappingValueNode:
		fmt.Fprintf(b, "{%q: ", n.Key.GetToken().Value)
		outlineTwin(n.Value, b)
		b.WriteString(", }")
	case *ast.SequenceNode:
		b.WriteByte('[')
		for _, v := range n.Values {
			outlineTwin(v, b)
			b.WriteString(", ")
		}
		b.WriteByte(']')
	case *ast.LiteralNode:
		fmt.Fprintf(b, "%q", n.Value.Value)
	default:
		fmt.Fprintf(b, "%q", n.GetToken().Value)
	}
}

// compareTrees fails if goccy's parser accepts a text that parseTree accepts too, and understands something else.
// It refuses a few texts that are right, and parseTree refuses what a configuration does not need, so the other
// direction says nothing.
func compareTrees(t *testing.T, text []byte) {
	root, err := parseTree(text)
	if err != nil {
		return
	}
	tokens, err := lex(string(text))
	if err != nil {
		t.Fatal("parseTree accepts what its lexer does not:", err)
	}
	for _, token := range tokens {
		if joinsColons(token.Value) {
			return // joinColons repairs what goccy's parser goes wrong with
		}
	}
	file, err := func() (f *ast.File, err error) {
		defer func() {
			if r := recover(); r != nil {
				err = fmt.Errorf("panic: %v", r)
			}
		}()
		return parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	}()
	if err != nil || len(file.Docs) == 0 {
		return
	}
	var got, want strings.Builder
	root.outline(&got)
	outlineTwin(file.Docs[0].Body, &want)
	if got.String() != want.String() {
		t.Errorf("text %q\n got %s\nwant %s", text, &got, &want)
	}
}

func joinsColons(s string) bool { return strings.Contains(s, ":") }

func TestTreeTwin(t *testing.T) {
	for _, text := range seeds(t, ".yaml") {
		compareTrees(t, text)
	}
	for _, text := range []string{
		"a: 1\nb:\n- 1\n- 2\nc:\n  - 3\n  -\n  - - 4\n    - 5\n  - d: 6\n    e: 7\n",
		"a: |\n  text\n  more\nb: >-\n  folded\n  line\nc: x\n",
		"a: \"x\\ty\" # comment\n'b c': 'it''s'\n",
		"{a: [b, {c: d}, ], e: {}, f: [], g: , h: ~}\n",
		"a:\n  b:\n    c:\n  d:\ne:\n",
		"[a,\n b\n , c]\n",
		"- a: b\n  c:\n  - d\n  e: f\n-\n  g: h\n",
		"a: b\r\nc:\r\n  d: e\r\n",
		"a: multi\n  line\nb: \"multi\n  line\"\nc: d\n",
	} {
		compareTrees(t, []byte(text))
		if _, err := parseTree([]byte(text)); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestColons checks text with colons in every surrounding: the lexer takes some of it apart.
func TestColons(t *testing.T) {
	for text, want := range map[string]string{
		"a: 2001:db8::1/64":              `{"a": "2001:db8::1/64", }`,
		"a: ::1":                         `{"a": "::1", }`,
		"a: [::1, 2001:db8::1]":          `{"a": ["::1", "2001:db8::1", ], }`,
		"{a: [::1, 2001:db8::1, b]}":     `{"a": ["::1", "2001:db8::1", "b", ], }`,
		"{a: {b: [2001:db8:7::1/64]}}":   `{"a": {"b": ["2001:db8:7::1/64", ], }, }`,
		"{a: [::/0], b: ::/0}":           `{"a": ["::/0", ], "b": "::/0", }`,
		"- {m: 02:00:00:00:00:09, n: x}": `[{"m": "02:00:00:00:00:09", "n": "x", }, ]`,
		`{a: ["x": 1]}`:                  "error",
		"{a: [x: 1]}":                    "error",
	} {
		root, err := parseTree([]byte(text))
		var got strings.Builder
		if err != nil {
			got.WriteString("error")
		} else {
			root.outline(&got)
		}
		if got.String() != want {
			t.Errorf("%s: got %s (%v), want %s", text, &got, err, want)
		}
	}
}

// TestPositions checks that every scalar of a text is where its position says.
func TestPositions(t *testing.T) {
	for _, text := range append(seeds(t, ".yaml"), []byte("ä: [ö, \"ü\"]\nb:\n- é: ß\n"), []byte("# c\r\na: 'b\r\n  c'\r\nd: e\r\n")) {
		root, err := parseTree(text)
		if err != nil {
			continue
		}
		lines := strings.Split(strings.TrimPrefix(string(text), "\ufeff"), "\n")
		check := func(at spot, word string) {
			if strings.ContainsAny(word, "\n") || word == "" {
				return
			}
			word = strings.Fields(word)[0] // the rest may be on the next line
			line := []rune(lines[at.line-1])
			if rest := string(line[at.column-1:]); !strings.HasPrefix(strings.TrimLeft(rest, `"'|`), word) && !strings.HasPrefix(rest, "|") {
				t.Errorf("%q is said to be at %d:%d of %q, where %q is", word, at.line, at.column, text, rest)
			}
		}
		var walk func(n *node)
		walk = func(n *node) {
			if n.kind == scalar {
				check(n.at, n.text)
			}
			for _, k := range n.keys {
				check(k.at, k.text)
			}
			for i := range n.items {
				walk(&n.items[i])
			}
		}
		walk(&root)
	}
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
	if _, problems := parse(strings.Repeat("a", textMax+1)); len(problems) != 1 || !strings.Contains(problems[0].Message, "larger than") {
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
		compareTrees(t, text)
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
