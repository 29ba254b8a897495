package document_test

import (
	"fmt"
	"strings"
	"testing"

	"weir/mgmt"
	"weir/mgmt/document"
)

// large is a text near the limit: tens of thousands of rules, one a line.
func large(rules int) string {
	var b strings.Builder
	b.WriteString("version: 1\nports:\n  em0: {addresses: [192.0.2.1/24]}\ntables:\n  x: {id: 100}\nrules:\n")
	for i := range rules {
		fmt.Fprintf(&b, "  - {name: customer-%d, priority: %d, from: 10.%d.%d.%d/30, iif: em0, lookup: x} # contract %d\n", i, 1+i, i>>14&255, i>>6&255, i<<2&255, i)
	}
	return b.String()
}

const largeRules = 60_000

func BenchmarkParse(b *testing.B) {
	text := []byte(large(largeRules))
	b.ReportMetric(float64(len(text))/(1<<20), "MiB")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := document.Parse(mgmt.Schema(), text); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkSet sets values of rules, and adds rules, at random places of a large document.
func BenchmarkSet(b *testing.B) {
	d := parse(b, large(largeRules))
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		name := fmt.Sprintf("customer-%d", i*7919%(2*largeRules))
		if err := d.Set("rules", name, "priority", fmt.Sprint(i)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkText(b *testing.B) {
	d := parse(b, large(largeRules))
	for b.Loop() {
		_ = d.Text()
	}
}

// BenchmarkDelete deletes rules from a large document and adds them again.
func BenchmarkDelete(b *testing.B) {
	d := parse(b, large(largeRules))
	for i := 0; b.Loop(); i++ {
		name := fmt.Sprintf("customer-%d", i*7919%largeRules)
		if err := d.Delete("rules", name); err != nil {
			b.Fatal(err)
		}
		if err := d.Set("rules", name, "priority", "7"); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkLoadSet builds a large document of set commands.
func BenchmarkLoadSet(b *testing.B) {
	list, err := parse(b, large(largeRules)).SetCommands()
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(len(list)), "commands")
	for b.Loop() {
		d := parse(b, "")
		for _, words := range list {
			if err := d.Set(words...); err != nil {
				b.Fatal(err)
			}
		}
	}
}

func BenchmarkChanges(b *testing.B) {
	from, to := parse(b, large(largeRules)), parse(b, large(largeRules))
	for i := range 100 {
		if err := to.Set("rules", fmt.Sprintf("customer-%d", i*597), "priority", "7"); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("commands", func(b *testing.B) {
		for b.Loop() {
			if changes, err := document.Changes(from, to); err != nil || len(changes) != 100 {
				b.Fatal(len(changes), err)
			}
		}
	})
	b.Run("unified", func(b *testing.B) {
		x, y := from.String(), to.String()
		for b.Loop() {
			if document.Unified("a", "b", x, y) == "" {
				b.Fatal("no difference")
			}
		}
	})
}
