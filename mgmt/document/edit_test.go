package document_test

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"weir/mgmt"
	"weir/mgmt/document"
)

func parse(t rapid.TB, text string) *document.Document {
	t.Helper()
	d, err := document.Parse(mgmt.Schema(), []byte(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return d
}

// run makes one edit, as a line of a shell would.
func run(t testing.TB, d *document.Document, line string) error {
	t.Helper()
	words, err := document.Words(line)
	if err != nil {
		t.Fatal(err)
	}
	if words[0] == "rename" {
		last := len(words) - 1
		return d.Rename(words[1:last-1], words[last])
	}
	return d.Apply(document.Change{Verb: words[0], Words: words[1:]})
}

const edited = `# head

version: 1                 # the only one

ports:
  # inside
  em0: {group: inside, addresses: [192.0.2.1/24]}   # office
  em1:
    mtu: 9000              # jumbo
    addresses:
      - 198.51.100.1/24    # first
      - 198.51.101.1/24
sets: {web: [80, 443]}
tables:
  x:
    id: 100
    routes:
      # the default
      - {to: default, via: 192.0.2.9}
      - {to: 10.0.0.0/8, via: [192.0.2.9, {gateway: 192.0.2.8, weight: 2}]} # two
marks:
  main:
    - {name: web, match: {proto: tcp, dport: 80}, then: [{mark: 0x10/0xff}, accept]}
    - name: voice
      match: {dscp: ef}
      then:
        - mark: 0x20/0xff  # stamped
rules:
  # gold first
  - {name: gold, priority: 100, lookup: x}
  - {name: silver, priority: 200, lookup: main} # then silver
# the end
`

// TestEdits holds single edits to what they change of a text: lines that go, and lines that come.
func TestEdits(t *testing.T) {
	for _, c := range []struct{ edit, want string }{
		{"set system hostname edge1", "+system:|+  hostname: edge1"},
		{"set ports em0 mtu 1500", "-  em0: {group: inside, addresses: [192.0.2.1/24]}   # office|+  em0: {group: inside, addresses: [192.0.2.1/24], mtu: 1500}   # office"},
		{"set ports em0 addresses 2001:db8::1/64", `-  em0: {group: inside, addresses: [192.0.2.1/24]}   # office|+  em0: {group: inside, addresses: [192.0.2.1/24, "2001:db8::1/64"]}   # office`},
		{"set ports em1 addresses 10.0.0.1/8", "+      - 10.0.0.1/8"},
		{"delete ports em1 addresses 198.51.100.1/24", "-      - 198.51.100.1/24    # first"},
		{"delete ports em1 addresses [ 198.51.100.1/24 198.51.101.1/24 ]", "-    addresses:|-      - 198.51.100.1/24    # first|-      - 198.51.101.1/24"},
		{"set ports em1 mtu 1500", "-    mtu: 9000              # jumbo|+    mtu: 1500              # jumbo"},
		{"delete ports em1", "-  em1:|-    mtu: 9000              # jumbo|-    addresses:|-      - 198.51.100.1/24    # first|-      - 198.51.101.1/24"},
		{"delete ports em0", "-  em0: {group: inside, addresses: [192.0.2.1/24]}   # office"},
		{"set ports em2", "+  em2:"},
		{"set sets web 8080", "-sets: {web: [80, 443]}|+sets: {web: [80, 443, 8080]}"},
		{"delete sets web 443", "-sets: {web: [80, 443]}|+sets: {web: [80]}"},
		{"set sets mail [ 25 587 ]", "-sets: {web: [80, 443]}|+sets: {web: [80, 443], mail: [25, 587]}"},
		{"set tables x routes 10.1.0.0/16 port em1", "+      - {to: 10.1.0.0/16, port: em1}"},
		{"set tables x routes default via 192.0.2.8", "-      - {to: default, via: 192.0.2.9}|+      - {to: default, via: 192.0.2.8}"},
		{"set tables x routes default metric 5", "-      - {to: default, via: 192.0.2.9}|+      - {to: default, via: 192.0.2.9, metric: 5}"},
		{"set tables x routes default metric 5 via 192.0.2.8", "+      - {to: default, metric: 5, via: 192.0.2.8}"},
		{"set tables x routes default via 192.0.2.8 weight 2", "-      - {to: default, via: 192.0.2.9}|+      - {to: default, via: [192.0.2.9, {gateway: 192.0.2.8, weight: 2}]}"},
		{"set tables x routes 10.0.0.0/8 via 192.0.2.9 port em1", "-      - {to: 10.0.0.0/8, via: [192.0.2.9, {gateway: 192.0.2.8, weight: 2}]} # two|+      - {to: 10.0.0.0/8, via: [{gateway: 192.0.2.9, port: em1}, {gateway: 192.0.2.8, weight: 2}]} # two"},
		{"delete tables x routes default", "-      - {to: default, via: 192.0.2.9}"},
		{"set tables y key source", "+  y:|+    key: source"},
		{"set tables x on-miss lookup main", "+    on-miss: {lookup: main}"},
		{"set marks main web match dport 443", "-    - {name: web, match: {proto: tcp, dport: 80}, then: [{mark: 0x10/0xff}, accept]}|+    - {name: web, match: {proto: tcp, dport: [80, 443]}, then: [{mark: 0x10/0xff}, accept]}"},
		{"set marks main web match sport not [ 1 2 ]", "-    - {name: web, match: {proto: tcp, dport: 80}, then: [{mark: 0x10/0xff}, accept]}|+    - {name: web, match: {proto: tcp, dport: 80, sport: {not: [1, 2]}}, then: [{mark: 0x10/0xff}, accept]}"},
		{"set marks main web then drop", "-    - {name: web, match: {proto: tcp, dport: 80}, then: [{mark: 0x10/0xff}, accept]}|+    - {name: web, match: {proto: tcp, dport: 80}, then: [{mark: 0x10/0xff}, drop]}"},
		{"set marks main web then dscp ef", "-    - {name: web, match: {proto: tcp, dport: 80}, then: [{mark: 0x10/0xff}, accept]}|+    - {name: web, match: {proto: tcp, dport: 80}, then: [{mark: 0x10/0xff}, {dscp: ef}, accept]}"},
		{"delete marks main web then mark", "-    - {name: web, match: {proto: tcp, dport: 80}, then: [{mark: 0x10/0xff}, accept]}|+    - {name: web, match: {proto: tcp, dport: 80}, then: [accept]}"},
		{"set marks main voice then drop", "+        - drop"},
		{"set marks main voice then mark 0x21/0xff", "-        - mark: 0x20/0xff  # stamped|+        - mark: 0x21/0xff  # stamped"},
		{"delete marks main voice match", "-      match: {dscp: ef}"},
		{"delete marks main voice name", "-    - name: voice|-      match: {dscp: ef}|+    - match: {dscp: ef}"},
		{"set marks main new then reject", "+    - name: new|+      then: [reject]"},
		{"set marks main [2] then reject", "+    - then: [reject]"},
		{"insert marks main voice before web", "-    - {name: web, match: {proto: tcp, dport: 80}, then: [{mark: 0x10/0xff}, accept]}|+    - {name: web, match: {proto: tcp, dport: 80}, then: [{mark: 0x10/0xff}, accept]}"},
		{"set rules bronze priority 300", "+  - {name: bronze, priority: 300}"},
		{"delete rules silver", "-  - {name: silver, priority: 200, lookup: main} # then silver"},
		{"delete rules gold", "-  - {name: gold, priority: 100, lookup: x}"},
		{"delete rules gold lookup", "-  - {name: gold, priority: 100, lookup: x}|+  - {name: gold, priority: 100}"},
		{"delete rules [1] name", "-  - {name: silver, priority: 200, lookup: main} # then silver|+  - {priority: 200, lookup: main} # then silver"},
		{"rename rules gold to golden", "-  - {name: gold, priority: 100, lookup: x}|+  - {name: golden, priority: 100, lookup: x}"},
		{"rename tables x to xx", "-  x:|+  xx:"},
		{"delete rules", "-rules:|-  # gold first|-  - {name: gold, priority: 100, lookup: x}|-  - {name: silver, priority: 200, lookup: main} # then silver"},
		{"set system ssh users alice keys \"ssh-ed25519 AAAA alice\"", `+system:|+  ssh:|+    users:|+      alice:|+        keys: ["ssh-ed25519 AAAA alice"]`},
	} {
		d := parse(t, edited)
		if err := run(t, d, c.edit); err != nil {
			t.Errorf("%s: %v", c.edit, err)
			continue
		}
		var lines []string
		for _, line := range strings.Split(document.Unified("a", "b", edited, d.String()), "\n")[2:] {
			if line != "" && (line[0] == '+' || line[0] == '-') {
				lines = append(lines, line)
			}
		}
		if got := strings.Join(lines, "|"); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.edit, strings.ReplaceAll(got, "|", "\n     "), strings.ReplaceAll(c.want, "|", "\n     "))
		}
		if _, err := document.Parse(mgmt.Schema(), d.Text()); err != nil {
			t.Errorf("%s: %v", c.edit, err)
		}
	}
}

// TestDeleteAll: what is left is comments, and the document can be filled again.
func TestDeleteAll(t *testing.T) {
	for text, want := range map[string]string{
		"# head\nversion: 1\n# ports\nports:\n  # em0\n  em0: {}\n# end\n": "# head\n# ports\n# end\n",
		"{version: 1}\n":        "{}\n",
		"--- {version: 1}\n...": "--- {}\n...",
		"version: 1":            "",
	} {
		d := parse(t, text)
		if err := d.Delete(); err != nil || d.String() != want {
			t.Errorf("%q: %v, %q", text, err, d)
		}
		if err := d.Set("rules", "a", "priority", "1"); err != nil {
			t.Error(err)
		}
		if got := commands(t, parse(t, d.String())); got != "rules a priority 1\n" {
			t.Errorf("%q: then %q", text, got)
		}
	}
}

// TestReplaceAcrossKeys: a route of a table that is keyed by source does not get to be one by destination, where there is no such table.
func TestReplaceAcrossKeys(t *testing.T) {
	from := "tables:\n  y: {key: source, routes: [{from: 198.51.100.64/26, lookup: z}]}\n"
	for _, c := range []struct{ name, text, words, want string }{
		{"no such table", "tables: {}\n", "tables y routes 198.51.100.64/26", "tables y routes 198.51.100.64/26: has from, where a new one has to"},
		{"deeper", "tables: {}\n", "tables y routes 198.51.100.64/26 lookup", "tables y routes 198.51.100.64/26: has from, where a new one has to"},
		{"keyed alike", "tables: {y: {key: source}}\n", "tables y routes 198.51.100.64/26", ""},
		{"the whole table", "tables: {}\n", "tables y", ""},
	} {
		b, err := document.Parse(mgmt.Schema(), []byte(from))
		if err != nil {
			t.Fatal(err)
		}
		a, err := document.Parse(mgmt.Schema(), []byte(c.text))
		if err != nil {
			t.Fatal(err)
		}
		words := strings.Fields(c.words)
		got := ""
		if err := a.Replace(words, b); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
		if c.want != "" && a.String() != c.text {
			t.Errorf("%s: refused, and yet\n%s", c.name, a)
		}
		if c.want == "" && !strings.Contains(a.String(), "from: 198.51.100.64/26") {
			t.Errorf("%s:\n%s", c.name, a)
		}
	}
}
