package document

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// seeds are the configurations of mgmt.
func seeds(t testing.TB) (texts [][]byte) {
	t.Helper()
	for _, pattern := range []string{"../testdata/*/*.yaml", "../examples/*.yaml"} {
		files, err := filepath.Glob(pattern)
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
	}
	return texts
}

// outline writes a tree down without positions.
func (n *Node) outline(b *strings.Builder) {
	switch n.Kind {
	case Nothing:
		b.WriteString("~")
	case Scalar:
		fmt.Fprintf(b, "%q", n.Text)
	case Mapping:
		b.WriteByte('{')
		for i := range n.Keys {
			fmt.Fprintf(b, "%q: ", n.Keys[i].Text)
			n.Items[i].outline(b)
			b.WriteString(", ")
		}
		b.WriteByte('}')
	case Sequence:
		b.WriteByte('[')
		for i := range n.Items {
			n.Items[i].outline(b)
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

// compareTrees fails if goccy's parser accepts a text that Read accepts too, and understands something else.
// It refuses a few texts that are right, and Read refuses what a configuration does not need, so the other
// direction says nothing.
func compareTrees(t *testing.T, text []byte) {
	root, err := Read(text)
	if err != nil {
		return
	}
	tokens, err := lex(string(text))
	if err != nil {
		t.Fatal("Read accepts what its lexer does not:", err)
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
	for _, text := range seeds(t) {
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
		if _, err := Read([]byte(text)); err != nil {
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
		root, err := Read([]byte(text))
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
	for _, text := range append(seeds(t), []byte("ä: [ö, \"ü\"]\nb:\n- é: ß\n"), []byte("# c\r\na: 'b\r\n  c'\r\nd: e\r\n")) {
		root, err := Read(text)
		if err != nil {
			continue
		}
		lines := strings.Split(strings.TrimPrefix(string(text), "\ufeff"), "\n")
		check := func(at Spot, word string) {
			if strings.ContainsAny(word, "\n") || word == "" {
				return
			}
			word = strings.Fields(word)[0] // the rest may be on the next line
			line := []rune(lines[at.Line-1])
			if rest := string(line[at.Column-1:]); !strings.HasPrefix(strings.TrimLeft(rest, `"'|`), word) && !strings.HasPrefix(rest, "|") {
				t.Errorf("%q is said to be at %d:%d of %q, where %q is", word, at.Line, at.Column, text, rest)
			}
		}
		var walk func(n *Node)
		walk = func(n *Node) {
			if n.Kind == Scalar {
				check(n.At, n.Text)
			}
			for _, k := range n.Keys {
				check(k.At, k.Text)
			}
			for i := range n.Items {
				walk(&n.Items[i])
			}
		}
		walk(&root)
	}
}

func FuzzRead(f *testing.F) {
	for _, text := range seeds(f) {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) { compareTrees(t, text) })
}
