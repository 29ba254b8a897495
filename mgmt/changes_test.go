package mgmt

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func parsed(t *testing.T, text string) *Config {
	t.Helper()
	config, problems := Parse("test.yaml", []byte(text), nil)
	if config == nil {
		t.Fatalf("%s\n%s", problems, text)
	}
	return config
}

func TestDifferences(t *testing.T) {
	const base = `version: 1
system: {hostname: a}
ports: {em0: {addresses: [192.0.2.1/24]}, em1: {mtu: 1500}}
neighbors: [{address: 192.0.2.9, port: em0, mac: "02:00:00:00:00:09"}]
tables: {x: {id: 100, routes: [{to: 10.0.0.0/8, via: 192.0.2.9}, {to: 10.1.0.0/16, port: em1}]}, y: {id: 101}}
marks: {main: [{name: m, match: {proto: tcp}, then: [{mark: 1}]}, {name: n, match: {proto: udp}, then: [{mark: 2}]}]}
rules: [{name: r, priority: 1, iif: em1, lookup: x}, {name: s, priority: 2, fwmark: 1, lookup: y}]
`
	for _, c := range []struct {
		from, to string
		want     []string
	}{
		{"hostname: a", "hostname: b", []string{"system: hostname changed"}},
		{"mtu: 1500", "mtu: 1400", []string{"ports: 1 changed (em1)"}},
		{"{em0: ", "{aa: {mtu: 1300}, em0: ", []string{"ports: 1 added (aa)"}}, // all indexes shift, and nothing else has changed
		{"00:09\"", "00:0a\"", []string{"neighbors: 1 changed (192.0.2.9 at em0)"}},
		{"10.1.0.0/16, port: em1", "10.1.0.0/16, port: em0", []string{"routes of x: 1 changed (10.1.0.0/16)"}},
		{"10.1.0.0/16, port: em1", "10.2.0.0/16, port: em1", []string{"routes of x: 1 added (10.2.0.0/16), 1 removed (10.1.0.0/16)"}},
		{"id: 101", "id: 102", []string{"tables: 1 changed (y)"}},
		{"tables: {x", "tables: {w: {id: 99}, x", []string{"tables: 1 added (w)"}},
		{"proto: tcp", "proto: icmp", []string{"statements of main: 1 changed (m)"}},
		{"{name: m, match: {proto: tcp}, then: [{mark: 1}]}, {name: n, match: {proto: udp}, then: [{mark: 2}]}",
			"{name: n, match: {proto: udp}, then: [{mark: 2}]}, {name: m, match: {proto: tcp}, then: [{mark: 1}]}", []string{"statements of main: in another order"}},
		{"priority: 2", "priority: 3", []string{"rules: 1 changed (s)"}},
		{"iif: em1, lookup: x", "iif: em1, lookup: y", []string{"rules: 1 changed (r)"}},
		{"version: 1\n", "version: 1\n# nothing\n", nil},
	} {
		if !strings.Contains(base, c.from) {
			t.Fatal(c.from)
		}
		from, to := parsed(t, base), parsed(t, strings.Replace(base, c.from, c.to, 1))
		if got := Differences(from, to); !slices.Equal(got, c.want) {
			t.Errorf("%s for %s: %q, want %q", c.to, c.from, got, c.want)
		}
	}
	var many strings.Builder
	for i := range 9 {
		fmt.Fprintf(&many, ", {to: 10.%d.0.0/24, port: em1}", i+1)
	}
	to := parsed(t, strings.Replace(base, ", port: em1}", ", port: em1}"+many.String(), 1))
	if got, want := Differences(parsed(t, base), to), "routes of x: 9 added (10.1.0.0/24, 10.2.0.0/24, 10.3.0.0/24, 10.4.0.0/24, …)"; len(got) != 1 || got[0] != want {
		t.Errorf("%q, want %q", got, want)
	}
}
