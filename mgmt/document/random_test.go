package document_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

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

// TestRandomSets: what is set is there, the text is read as what the document says, comments stay, few lines change; and deleting the first part
// that was not there before gives the text back, to the byte.
func TestRandomSets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := drawDocument(t)
		before := d.String()
		words := drawSet(t, mgmt.Schema(), nil)
		made := 0 // how many of the words lead to the first thing that is not there
		for made = 1; made <= len(words); made++ {
			if _, err := d.Get(words[:made]...); err != nil {
				break
			}
		}
		_, had := d.Value(words[:len(words)-1]...)
		if err := d.Set(words...); err != nil {
			if got := d.String(); got != before {
				t.Fatalf("set %s: %v, and yet:\n%s", document.Line(words...), err, document.Unified("before", "after", before, got))
			}
			return
		}
		after := d.String()
		diff := document.Unified("before", "after", before, after)
		if _, err := d.Get(words...); err != nil {
			t.Fatalf("set %s: %v\n%s", document.Line(words...), err, diff)
		}
		again, err := document.Parse(mgmt.Schema(), []byte(after))
		if err != nil {
			t.Fatalf("set %s: %v\n%s\n%s", document.Line(words...), err, diff, after)
		}
		if got, want := commands(t, again), commands(t, d); got != want {
			t.Fatalf("set %s: document says\n%s\nand its text says\n%s\n%s", document.Line(words...), want, got, diff)
		}
		if gone := strings.Count(diff, "\n-"); gone > 3 {
			t.Fatalf("set %s changes %d lines:\n%s", document.Line(words...), gone, diff)
		}
		for _, c := range comments(before) {
			if last := words[len(words)-1]; !strings.Contains(after, c) && last != "auto" && !slices.Contains(words, "on-miss") {
				t.Fatalf("set %s loses comment %q:\n%s", document.Line(words...), c, diff)
			}
		}
		if _, is := d.Value(words[:len(words)-1]...); made == len(words) && had && is {
			return // another value, which no delete gives back
		}
		if made > len(words) || strings.HasPrefix(words[made-1], "[") || hasEmpty(before) {
			return
		}
		edited := []*document.Document{d}
		if strings.HasSuffix(before, "\n") { // else the line feed behind its last line is nobody's
			edited = append(edited, again)
		}
		for _, d := range edited {
			if err := d.Delete(words[:made]...); err != nil {
				t.Fatalf("set %s, delete %s: %v\n%s", document.Line(words...), document.Line(words[:made]...), err, diff)
			}
			if got := d.String(); got != before {
				t.Fatalf("set %s, delete %s:\n%s\nset alone:\n%s", document.Line(words...), document.Line(words[:made]...),
					document.Unified("before", "after", before, got), diff)
			}
		}
	})
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

// TestRandomCommands: the commands of a document make one that says the same.
func TestRandomCommands(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := drawDocument(t)
		list, err := d.SetCommands()
		if err != nil {
			t.Fatal(err)
		}
		again, err := document.Parse(mgmt.Schema(), nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, words := range list {
			line, err := document.Words(document.Line(words...))
			if err != nil {
				t.Fatal(err)
			}
			if err := again.Set(line...); err != nil {
				t.Fatalf("set %s: %v\n%s", document.Line(words...), err, d)
			}
		}
		if want, got := meaning(t, d.String()), meaning(t, again.String()); want != got {
			t.Fatalf("want %s\n got %s\n%s\n%s", want, got, d, again)
		}
	})
}

// TestRandomChanges: the changes from one document to another, applied, give what says the same as the other.
func TestRandomChanges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawDocument(t), drawDocument(t)
		if rapid.Bool().Draw(t, "related") {
			var err error
			if b, err = document.Parse(mgmt.Schema(), a.Text()); err != nil {
				t.Fatal(err)
			}
			for range rapid.IntRange(0, 10).Draw(t, "sets") {
				_ = b.Set(drawSet(t, mgmt.Schema(), nil)...)
			}
			for _, words := range shuffledCommands(t, b) {
				if rapid.IntRange(0, 9).Draw(t, "delete") == 0 {
					_ = b.Delete(words...) // what went with another one is gone already
				}
			}
		}
		before := a.String()
		changes, err := document.Changes(a, b)
		if err != nil {
			t.Fatal(err)
		}
		var done strings.Builder
		for _, c := range changes {
			fmt.Fprintln(&done, c)
			if err := a.Apply(c); err != nil {
				t.Fatalf("%s: %v\n%s\n%s", &done, err, before, b)
			}
		}
		if want, got := meaning(t, b.String()), meaning(t, a.String()); want != got {
			t.Fatalf("%s\nwant %s\n got %s\nfrom\n%s\nto\n%s\ngot\n%s", &done, want, got, before, b, a)
		}
		if len(changes) > 0 && meaning(t, before) == meaning(t, b.String()) && !hasEmpty(before) && !hasEmpty(b.String()) {
			t.Fatalf("changes where nothing changed:\n%s\n%s\n%s", &done, before, b)
		}
	})
}

func shuffledCommands(t *rapid.T, d *document.Document) [][]string {
	list, err := d.SetCommands()
	if err != nil {
		t.Fatal(err)
	}
	if len(list) == 0 {
		return nil
	}
	return rapid.Permutation(list).Draw(t, "order")
}

// TestRandomReplacements: what is replaced is what the other document has there, and what has nothing to do with it stays to the byte.
func TestRandomReplacements(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawDocument(t), drawDocument(t)
		list, err := b.SetCommands()
		if err != nil {
			t.Fatal(err)
		}
		if len(list) == 0 {
			return
		}
		words := rapid.SampledFrom(list).Draw(t, "command")
		words = words[:rapid.IntRange(0, len(words)-1).Draw(t, "words")]
		before := a.String()
		if err := a.Replace(words, b); err != nil {
			if a.String() != before {
				t.Fatalf("%v, and yet\n%s", err, document.Unified("before", "after", before, a.String()))
			}
			return
		}
		diff := document.Unified("before", "after", before, a.String())
		again, err := document.Parse(mgmt.Schema(), a.Text())
		if err != nil {
			t.Fatalf("replace %s: %v\n%s", document.Line(words...), err, diff)
		}
		if got, want := commands(t, again), commands(t, a); got != want {
			t.Fatalf("replace %s: document says\n%s\nand its text says\n%s\n%s", document.Line(words...), want, got, diff)
		}
		want, err := b.Get(words...)
		if err != nil {
			t.Fatal(err)
		}
		got, err := again.Get(words...)
		if err != nil && strings.Contains(err.Error(), "several are called that") {
			return // by what was replaced they were told apart
		}
		if err != nil {
			t.Fatalf("replace %s: %v\n%s", document.Line(words...), err, diff)
		}
		key := words[max(0, len(words)-1):]
		if want, got := meaningAt(t, want, key), meaningAt(t, got, key); want != got {
			t.Fatalf("replace %s:\nwant %s\n got %s\n%s\nfrom\n%s", document.Line(words...), want, got, diff, b)
		}
		if len(words) > 1 && strings.Contains(before, "\n"+words[0]+":") {
			for _, section := range mgmt.Schema().Keys {
				was, err := parse(t, before).Get(section.Key)
				if is, _ := again.Get(section.Key); err == nil && section.Key != words[0] && was != is {
					t.Fatalf("replace %s:\n%s", document.Line(words...), diff)
				}
			}
		}
	})
}

// TestRandomMerges: merging twice is merging once, what was merged is there, and a refused one changes nothing.
func TestRandomMerges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawDocument(t), drawDocument(t)
		before := a.String()
		fresh := parse(t, "")
		if err := fresh.Merge(b); err != nil {
			t.Fatalf("%v\n%s", err, b)
		}
		if want, got := meaning(t, b.String()), meaning(t, fresh.String()); want != got && !strings.Contains(commands(t, b), "[") {
			t.Fatalf("want %s\n got %s\n%s\n%s", want, got, b, fresh)
		}
		if err := a.Merge(b); err != nil {
			if a.String() != before {
				t.Fatalf("%v, and yet\n%s", err, document.Unified("before", "after", before, a.String()))
			}
			return
		}
		once := a.String()
		if err := a.Merge(b); err != nil {
			t.Fatalf("%v\n%s\nand\n%s\ngive\n%s", err, before, b, once)
		}
		if twice := a.String(); twice != once {
			t.Fatalf("%s\n%s\nand\n%s", document.Unified("once", "twice", once, twice), before, b)
		}
		again, err := document.Parse(mgmt.Schema(), []byte(once))
		if err != nil {
			t.Fatalf("%v\n%s", err, once)
		}
		if got, want := commands(t, again), commands(t, a); got != want {
			t.Fatalf("document says\n%s\nand its text says\n%s\n%s", want, got, once)
		}
	})
}
