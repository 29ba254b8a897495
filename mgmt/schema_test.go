package mgmt

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"weir/mgmt/document"
)

// sectionsOf are the decoder's sections by the path of the schema that describes them.
var sectionsOf = map[string]*section{
	"":                            &topKeys,
	"system":                      &systemKeys,
	"system icmp":                 &icmpKeys,
	"system icmp per-destination": &rateKeys,
	"system metrics":              &metricsKeys,
	"system syslog":               &syslogKeys,
	"system ssh":                  &sshKeys,
	"system management":           &managementKeys,
	"system ssh users <user>":     &sshUserKeys,
	"ports <port>":                &portKeys,
	"ports <port> vlans <vlan>":   &vlanKeys,
	"ports <port> vlans <vlan> vlans <vlan>": {keys: slices.DeleteFunc(slices.Clone(vlanKeys.keys), func(key string) bool {
		return key == "protocol" || key == "vlans" // checkInner refuses them
	})},
	"neighbors <address>":                          &neighborKeys,
	"tables <table>":                               &tableKeys,
	"tables <table> on-miss":                       &missKeys,
	"tables <table> routes <prefix>":               &routeKeys,
	"tables <table> routes <prefix> via <address>": &hopKeys,
	"marks <chain> <statement>":                    &statementKeys,
	"marks <chain> <statement> match":              &matchKeys,
	"marks <chain> <statement> then":               &thenKeys,
	"rules <rule>":                                 &ruleKeys,
}

// walkSchema visits a schema and all below it, with the keys that lead there.
func walkSchema(s *document.Schema, at []string, visit func(s *document.Schema, at []string)) {
	visit(s, at)
	for _, k := range s.Keys {
		walkSchema(k, append(slices.Clone(at), k.Key), visit)
	}
	if s.Each != nil {
		walkSchema(s.Each, append(slices.Clone(at), s.Each.Key), visit)
	}
}

// TestSchemaKeys: the schema and the decoder have the same keys.
func TestSchemaKeys(t *testing.T) {
	seen := map[string]bool{}
	walkSchema(Schema(), nil, func(s *document.Schema, at []string) {
		if len(s.Keys) == 0 {
			return
		}
		name := strings.Join(at, " ")
		seen[name] = true
		decoder := sectionsOf[name]
		if decoder == nil {
			t.Errorf("the decoder has no section %q", name)
			return
		}
		var keys []string
		for _, k := range s.Keys {
			keys = append(keys, k.Key)
		}
		for _, key := range keys {
			if !slices.Contains(decoder.keys, key) {
				t.Errorf("%s: the decoder knows no %s", name, key)
			}
		}
		for _, key := range decoder.keys {
			if !slices.Contains(keys, key) && !unsupported[strings.TrimPrefix(decoder.name+"."+key, ".")] {
				t.Errorf("%s: the schema has no %s", name, key)
			}
		}
	})
	for name := range sectionsOf {
		if !seen[name] {
			t.Errorf("the schema has no section %q", name)
		}
	}
}

// TestSchemaHelp: everything has its line of help, in one style.
func TestSchemaHelp(t *testing.T) {
	walkSchema(Schema(), nil, func(s *document.Schema, at []string) {
		if len(at) > 0 && (s.Help == "" || len(s.Help) > 90 || strings.HasSuffix(s.Help, ".")) {
			t.Errorf("%s: help %q", strings.Join(at, " "), s.Help)
		}
		if (s.Form == document.Value || s.Form == document.Values) && s.Example == "" && len(s.Words) == 0 && len(at) > 0 {
			t.Errorf("%s: nothing says what a value looks like", strings.Join(at, " "))
		}
		if (s.Form == document.Named || s.Form == document.Entries) && !strings.HasPrefix(s.Each.Key, "<") {
			t.Errorf("%s: its entries are called %q", strings.Join(at, " "), s.Each.Key)
		}
	})
}

// schemaBase is a configuration in which every word of the schema can be set.
const schemaBase = `version: 1
ports:
  em0: {group: g, addresses: [192.0.2.1/24], vlans: {100: {}}}
groups: {g: 1}
sets: {s: [1]}
tags: {t: 0x1/0x1}
tables:
  x:
    id: 100
    routes:
      - {to: 10.0.0.0/8, via: 192.0.2.9}
      - {to: 10.1.0.0/16, lookup: x}
      - {to: 10.2.0.0/16}
marks:
  main:
    - {name: m, match: {dport: 1}, then: []}
rules:
  - {name: r, priority: 1, lookup: x}
  - {name: none, priority: 2}
`

// TestSchemaWords: the decoder accepts every word that the schema has for a value.
func TestSchemaWords(t *testing.T) {
	names := strings.NewReplacer("<port>", "em0", "<vlan>", "100", "<table>", "x", "<prefix>", "10.0.0.0/8", "<chain>", "main", "<statement>", "m", "<rule>", "r", "<user>", "alice")
	words := 0
	walkSchema(Schema(), nil, func(s *document.Schema, at []string) {
		name := names.Replace(strings.Join(at, " "))
		switch {
		case strings.HasSuffix(name, "routes 10.0.0.0/8 from"):
			return // of a table that is keyed by source
		case strings.HasSuffix(name, "routes 10.0.0.0/8 on-miss"):
			name = "tables x routes 10.1.0.0/16 on-miss"
		case strings.HasSuffix(name, "routes 10.0.0.0/8 type"):
			name = "tables x routes 10.2.0.0/16 type"
		case name == "rules r action":
			name = "rules none action"
		}
		for _, w := range s.Words {
			words++
			d, err := document.Parse(Schema(), []byte(schemaBase))
			if err != nil {
				t.Fatal(err)
			}
			line := append(strings.Fields(name), w.Word)
			switch {
			case strings.HasSuffix(name, "icmp-type"), strings.HasSuffix(name, "icmp-code"):
				// What a name means depends on the protocol: one of the two has it.
				if icmpWord(t, d, name, w.Word) {
					continue
				}
			case w.Word == "unicast":
				line = append(strings.Fields("tables x routes 10.0.0.0/8 type"), w.Word)
			}
			if err := d.Set(line...); err != nil {
				t.Errorf("set %s: %v", strings.Join(line, " "), err)
				continue
			}
			if wrong := wrongAt(d, line); wrong != "" {
				t.Errorf("set %s: %s", strings.Join(line, " "), wrong)
			}
		}
	})
	if words < 100 {
		t.Errorf("only %d words", words)
	}
}

func icmpWord(t *testing.T, d *document.Document, name, word string) bool {
	for _, proto := range []string{"icmp", "icmpv6"} {
		d, err := document.Parse(Schema(), d.Text())
		if err != nil {
			t.Fatal(err)
		}
		at, _, _ := strings.Cut(name, " icmp-")
		for _, line := range [][]string{append(strings.Fields(at), "proto", proto), append(strings.Fields(name), word)} {
			if err := d.Set(line...); err != nil {
				t.Fatal(err)
			}
		}
		if wrongAt(d, append(strings.Fields(name), word)) == "" {
			return true
		}
	}
	return false
}

// wrongAt is what the decoder has against the value of the last key of a line, if anything.
func wrongAt(d *document.Document, line []string) string {
	_, problems := parse(d.String())
	key := line[len(line)-2]
	for _, p := range problems {
		if p.Severity == Error && (p.Path == key || strings.HasSuffix(p.Path, "."+key) || strings.Contains(p.Path, "."+key+"[") || strings.Contains(p.Message, "syntax")) {
			return fmt.Sprintf("%s\n%s", p, d)
		}
	}
	return ""
}

// TestSchemaRefuses: what has the wrong form is refused where it is typed.
func TestSchemaRefuses(t *testing.T) {
	for line, want := range map[string]string{
		"rules gold priorty 100":              "rules gold priorty: unknown key; did you mean priority?",
		"rules r priority high":               "rules r priority high: expected a number, found high",
		"rules r priority":                    "rules r priority: expected a number",
		"rules r priority 1 2":                "rules r priority 1 2: nothing follows here",
		"rules r action drop":                 "rules r action drop: expected nop, blackhole, unreachable or prohibit, found drop; did you mean nop?",
		"rules [7] priority 1":                "rules [7]: there are 2",
		"rulez r":                             "rulez: unknown key; did you mean rules?",
		"tables x on-miss drop":               "tables x on-miss drop: expected fall-through, unreachable, prohibit, blackhole or lookup, found drop",
		"tables x routes 10.0.0.0/8 metric x": "tables x routes 10.0.0.0/8 metric x: expected a number, found x",
		"ports em0 redirects maybe":           "ports em0 redirects maybe: expected true or false, found maybe",
		"ports em0 reverse-path lose":         "ports em0 reverse-path lose: expected off, loose or strict, found lose; did you mean loose?",
		"marks main m match dport not 5":      "marks main m match dport not: has values that are not negated; delete them first",
		"marks main m then jmp x":             "marks main m then jmp: expected accept, drop, reject, return, mark, tag, dscp, jump or goto, found jmp",
		"":                                    "expected what to set",
		"ports":                               "ports: expected <port>",
		"system metrics listen \"a\tb\"":      "system metrics listen \"a�b\": a word is on one line, and without tabs",
		"system hostname \"a\x1b[31m\"":       "system hostname \"a�[31m\": character U+001B is not allowed",
		"tables x routes 10.0.0.0/8 via a b":  "tables x routes 10.0.0.0/8 via a b: unknown key",
		"sets s [ 1 2":                        "sets s [ 1 2: expected ] at the end",
	} {
		d, err := document.Parse(Schema(), []byte(schemaBase))
		if err != nil {
			t.Fatal(err)
		}
		words, err := document.Words(line)
		if err != nil {
			t.Fatal(err)
		}
		err = d.Set(words...)
		if err == nil || err.Error() != want {
			t.Errorf("set %s:\n got %v\nwant %s", line, err, want)
		}
		if d.String() != schemaBase {
			t.Errorf("set %s changes the text, though it is refused:\n%s", line, d)
		}
	}
}

// TestCompletion: keys, words, and names of what there is.
func TestCompletion(t *testing.T) {
	text := strings.Replace(schemaBase, "rules:", "neighbors: [{address: 192.0.2.9, port: em0, mac: 02:00:00:00:00:09}]\nrules:", 1)
	for _, c := range []struct {
		line, partial string
		existing      bool
		want          string
	}{
		{"", "", false, "version system ports neighbors groups sets tags tables marks rules default-rules fragments"},
		{"", "s", true, "sets"},
		{"", "t", false, "tags tables"},
		{"ports", "", false, "em0 <port>"},
		{"ports em0", "r", false, "reverse-path redirects"},
		{"ports em0 reverse-path", "", false, "off loose strict"},
		{"ports em0", "", true, "group addresses vlans"},
		{"ports em0 addresses", "", true, "192.0.2.1/24"},
		{"ports em0 addresses", "", false, "<address/length>"},
		{"ports new vlans 7", "n", false, "name"},
		{"rules", "", false, "r none <rule>"},
		{"rules", "", true, "r none"},
		{"rules r", "lo", false, "lookup"},
		{"rules r lookup", "", false, "x local main default <table>"},
		{"rules r lookup", "", true, "x"},
		{"rules r iif", "em0.", false, "em0.100"},
		{"rules r iif-group", "", false, "g <group>"},
		{"rules new tagged", "", false, "t <tag>"},
		{"tables", "", false, "x local main default <table>"},
		{"tables x on-miss", "", false, "fall-through unreachable prohibit blackhole lookup"},
		{"tables x on-miss lookup", "m", false, "main"},
		{"tables x routes", "10.", true, "10.0.0.0/8 10.1.0.0/16 10.2.0.0/16"},
		{"tables x routes 10.1.0.0/16", "", true, "to lookup"},
		{"marks main m match dport", "", false, "not $s <ports>"},
		{"marks main m match dport not", "", false, "$s <ports>"},
		{"marks main m match proto", "ud", false, "udp udplite"},
		{"marks main m then", "", false, "accept drop reject return mark tag dscp jump goto"},
		{"marks main m then jump", "", false, "main <chain>"},
		{"system workers", "", false, "auto <cpu>"},
		{"system ssh users alice role", "", false, "read-only operator admin"},
		{"neighbors", "", true, "192.0.2.9"},
		{"neighbors 192.0.2.9 port em0", "", true, "address port mac"},
		{"nowhere", "", false, ""},
		{"rules r priority 5", "", false, ""},
	} {
		d, err := document.Parse(Schema(), []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, candidate := range d.Complete(strings.Fields(c.line), c.partial, c.existing) {
			got = append(got, candidate.Word)
			if candidate.Placeholder != strings.HasPrefix(candidate.Word, "<") {
				t.Errorf("%s: %v", c.line, candidate)
			}
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%q %q (existing %v):\n got %s\nwant %s", c.line, c.partial, c.existing, strings.Join(got, " "), c.want)
		}
	}
}
