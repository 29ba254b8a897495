package document_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"weir/mgmt"
	"weir/mgmt/document"
)

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
