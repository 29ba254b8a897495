package document_test

import (
	"strings"
	"testing"

	"weir/mgmt"
	"weir/mgmt/document"
)

// FuzzEdit: whatever the text is, parsing it and editing it does not panic, a text that is not edited comes out as it went in, and one that is edited
// is still one that can be.
func FuzzEdit(f *testing.F) {
	lines := []string{"set ports em0 mtu 1500", "delete ports em0", "set rules gold priority 100", "set marks main web then mark 1",
		"set tables x routes default metric 5 via 192.0.2.9", "insert rules [0] after [1]", "rename tables x to y", "set sets web [ 80 443 ]",
		"delete", "delete rules [0]", "set ports em0 vlans 100 addresses 10.0.0.1/8", "set marks main web match dport not 80", "set system workers 1"}
	for i, text := range texts {
		f.Add(text, lines[i%len(lines)])
	}
	for _, line := range lines {
		f.Add(edited, line)
	}
	f.Fuzz(func(t *testing.T, text, line string) {
		d, err := document.Parse(mgmt.Schema(), []byte(text))
		if err != nil {
			return
		}
		if got := d.String(); got != text {
			t.Fatalf("text %q comes out as %q", text, got)
		}
		words, err := document.Words(line)
		if err != nil || len(words) == 0 {
			return
		}
		_ = d.Complete(words[1:], "", false)
		_ = d.Complete(words[1:], "", true)
		_, _ = d.Get(words[1:]...)
		_, _ = d.SetCommands(words[1:]...)
		if words[0] == "rename" {
			last := len(words) - 1
			err = d.Rename(words[1:max(1, last-1)], words[last])
		} else {
			err = d.Apply(document.Change{Verb: words[0], Words: words[1:]})
		}
		after := d.String()
		if err != nil {
			if after != text {
				t.Fatalf("%s: %v, and yet %q becomes %q", line, err, text, after)
			}
			return
		}
		again, err := document.Parse(mgmt.Schema(), []byte(after))
		if err != nil {
			if strings.Contains(text, "...") || strings.Contains(text, "---") {
				return // what is behind the end of a document is no longer one
			}
			t.Fatalf("%s: %v: %q becomes %q", line, err, text, after)
		}
		got, err1 := again.SetCommands()
		want, err2 := d.SetCommands()
		if (err1 == nil) != (err2 == nil) || err1 == nil && len(got) != len(want) {
			t.Fatalf("%s: %q becomes %q: document says %v, its text %v", line, text, after, want, got)
		}
	})
}
