package document_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"pgregory.net/rapid"

	"weir/mgmt"
	"weir/mgmt/document"
)

// values are some of each kind of value, by how the schema calls it.
var values = map[string][]string{
	"<prefix>":          {"10.0.0.0/8", "192.0.2.0/24", "2001:db8::/32", "0.0.0.0/0"},
	"<prefix or range>": {"10.0.0.0/8", "80", "8000-8099", "2001:db8::/32", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16", "17", "18"},
	"<address/length>":  {"192.0.2.1/24", "2001:db8::1/64", "10.1.1.1/30"},
	"<address>":         {"192.0.2.9", "2001:db8::9", "fe80::1"},
	"<mac>":             {"02:00:00:00:00:09", "02:00:00:00:00:0a"},
	"<mark/mask>":       {"0x10/0xff", "1", "0/1"},
	"<ports>":           {"80", "1-1024", "0x50/0xfff0"},
	"<flags>":           {"syn", "syn,!ack", "0x3/0x3"},
	"<public key>":      {"ssh-ed25519 AAAA+/= alice", "ssh-rsa BBBB bob's \"key\" \\"},
	"<name>":            {"a", "b-1", "null", "~", "off", "x.y"},
	"<address:port>":    {"127.0.0.1:22", "[::1]:22"},
	"<port>":            {"em0", "em1", "em0.100"},
	"<file>":            {"x.routes", "a file.routes", "#"},
}

var names = []string{"a", "b", "c", "em0", "x-1"}

// drawValue draws a value that the schema allows.
func drawValue(t *rapid.T, s *document.Schema) string {
	var choices []string
	for _, w := range s.Words {
		choices = append(choices, w.Word)
	}
	choices = append(choices, values[s.Example]...)
	if len(values[s.Example]) == 0 && (len(s.Words) == 0 || s.Open) {
		choices = append(choices, "1", "2", "30", "0x40")
	}
	return rapid.SampledFrom(choices).Draw(t, "value")
}

// drawSet draws the words of a command that sets something: what the schema allows in form, whatever it means.
func drawSet(t *rapid.T, s *document.Schema, words []string) []string {
	switch s.Form {
	case document.Section:
		k := rapid.SampledFrom(s.Keys).Draw(t, "key")
		return drawSet(t, k, append(words, k.Key))
	case document.Named:
		name := rapid.SampledFrom(names).Draw(t, "name")
		return drawSet(t, s.Each, append(words, name))
	case document.Entries:
		by := s.Each.Keys[slices.IndexFunc(s.Each.Keys, func(k *document.Schema) bool { return k.Key == s.By[0] })]
		switch {
		case !s.Single && rapid.IntRange(0, 5).Draw(t, "by index") == 0:
			return drawSet(t, s.Each, append(words, "[0]"))
		case s.Single && rapid.Bool().Draw(t, "single"):
			return append(words, drawValue(t, by))
		}
		words = append(words, drawValue(t, by))
		without := s.By
		if len(s.Also) > 0 && rapid.IntRange(0, 3).Draw(t, "also") == 0 {
			without = slices.Concat(s.By, s.Also)
			words = append(words, s.Also[0], rapid.SampledFrom([]string{"8", "16"}).Draw(t, "tos"))
		}
		unnamed := *s.Each // a name that is set makes another entry of it
		unnamed.Keys = slices.DeleteFunc(slices.Clone(s.Each.Keys), func(k *document.Schema) bool { return slices.Contains(without, k.Key) })
		return drawSet(t, &unnamed, words)
	case document.Values:
		if s.Not && rapid.IntRange(0, 3).Draw(t, "not") == 0 {
			words = append(words, "not")
		}
		return append(words, drawValue(t, s))
	case document.Choice, document.Actions:
		if i := rapid.IntRange(0, len(s.Words)+len(s.Keys)-1).Draw(t, "choice"); i >= len(s.Words) {
			k := s.Keys[i-len(s.Words)]
			return append(words, k.Key, drawValue(t, k))
		}
	}
	return append(words, drawValue(t, s))
}

// restyled is the schema with other preferences of style.
func restyled(rng *rand.Rand, s *document.Schema) *document.Schema {
	n := *s
	n.Flow = s.Key != "" && rng.IntN(4) == 0
	n.Keys = nil
	for _, k := range s.Keys {
		n.Keys = append(n.Keys, restyled(rng, k))
	}
	if s.Each != nil {
		n.Each = restyled(rng, s.Each)
	}
	return &n
}

// drawDocument draws a text in any style, with comments, and parses it.
func drawDocument(t *rapid.T) *document.Document {
	var text string
	if rapid.IntRange(0, 3).Draw(t, "seed") == 0 {
		text = rapid.SampledFrom(texts).Draw(t, "text")
	} else {
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "style"), 0))
		d, err := document.Parse(restyled(rng, mgmt.Schema()), nil)
		if err != nil {
			t.Fatal(err)
		}
		for range rapid.IntRange(0, 30).Draw(t, "sets") {
			_ = d.Set(drawSet(t, mgmt.Schema(), nil)...) // one that does not go with those before changes nothing
		}
		text = comment(rng, d.String())
	}
	if rapid.IntRange(0, 7).Draw(t, "crlf") == 0 && !strings.Contains(text, "\r") {
		text = strings.ReplaceAll(text, "\n", "\r\n")
	}
	if rapid.IntRange(0, 7).Draw(t, "end") == 0 {
		text = strings.TrimRight(text, "\r\n")
	}
	d, err := document.Parse(mgmt.Schema(), []byte(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return d
}

// comment adds comments to lines and between them.
func comment(rng *rand.Rand, text string) string {
	var b strings.Builder
	for i, line := range strings.SplitAfter(text, "\n") {
		switch rng.IntN(10) {
		case 0:
			line = fmt.Sprintf("%s # on %d\n", strings.TrimSuffix(line, "\n"), i)
		case 1:
			line = fmt.Sprintf("%s# above %d\n%s", strings.Repeat(" ", rng.IntN(7)), i, line)
		case 2:
			line = "\n" + line
		}
		b.WriteString(line)
	}
	return b.String()
}

var texts = func() (texts []string) {
	texts = append(texts, edited, "", "# nothing\n", "---\nversion: 1\n")
	for _, pattern := range []string{"../testdata/good/*.yaml", "../examples/*.yaml"} {
		files, _ := filepath.Glob(pattern)
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				panic(err)
			}
			texts = append(texts, string(text))
		}
	}
	return texts
}()

// unordered are the keys of lists whose order means nothing.
var unordered = []string{"routes", "via", "neighbors"}

// meaning writes down what a text says: without what is empty, and without the order of what has none.
func meaning(t rapid.TB, text string) string {
	root, err := document.Read([]byte(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return meaningOf(&root, "")
}

// meaningAt is the meaning of what stands at a key.
func meaningAt(t rapid.TB, text string, key []string) string {
	root, err := document.Read([]byte(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if root.Kind == document.Scalar && strings.HasPrefix(strings.Join(key, ""), "[") {
		return `("gateway":` + meaningOf(&root, "") + ")" // the same, if it is a gateway
	}
	return meaningOf(&root, strings.Join(key, ""))
}

func meaningOf(n *document.Node, key string) string {
	var parts []string
	switch n.Kind {
	case document.Scalar:
		return fmt.Sprintf("%q", n.Text)
	case document.Mapping:
		for i, k := range n.Keys {
			if part := meaningOf(&n.Items[i], k.Text); part != "" || key == "ports" || key == "tables" || key == "marks" || key == "vlans" || key == "users" || k.Text == "then" {
				parts = append(parts, fmt.Sprintf("%q:%s", k.Text, part))
			}
		}
		slices.Sort(parts)
	case document.Sequence:
		for i := range n.Items {
			part := meaningOf(&n.Items[i], "")
			if key == "via" && n.Items[i].Kind == document.Scalar {
				part = `("gateway":` + part + ")"
			}
			parts = append(parts, part)
		}
		if slices.Contains(unordered, key) {
			slices.Sort(parts)
		}
		if len(parts) == 1 && parts[0] == "" {
			return "[~]"
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return "(" + strings.Join(parts, ",") + ")"
}

// comments are the comments of a text.
func comments(text string) (list []string) {
	for line := range strings.SplitSeq(text, "\n") {
		if _, comment, ok := strings.Cut(line, "# "); ok {
			list = append(list, strings.TrimSpace(comment))
		}
	}
	return list
}

// hasEmpty reports whether something is empty already in a text, which a delete takes along that leaves it empty again.
func hasEmpty(text string) bool {
	for line := range strings.SplitSeq(text, "\n") {
		line, _, _ = strings.Cut(line, "# ")
		if line = strings.TrimSpace(line); strings.HasSuffix(line, ":") {
			return true
		}
	}
	return strings.Contains(text, "{}") || strings.Contains(text, "[]") || strings.TrimSpace(text) == ""
}

func commands(t rapid.TB, d *document.Document) string {
	list, err := d.SetCommands()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, words := range list {
		b.WriteString(document.Line(words...) + "\n")
	}
	return b.String()
}
