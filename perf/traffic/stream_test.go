package traffic

import (
	"compress/gzip"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestReadStreams reads a file that has everything.
func TestReadStreams(t *testing.T) {
	dir := t.TempDir()
	prefixes, file := filepath.Join(dir, "prefixes.gz"), filepath.Join(dir, "streams.yaml")
	f := must[*os.File](t)(os.Create(prefixes))
	z := gzip.NewWriter(f)
	must[int](t)(z.Write([]byte("# a table\n198.51.100.7/24 via 10.0.0.1\n\n2001:db8::/32\n198.51.100.0/24\n203.0.113.0/25\n")))
	check(t, z.Close(), f.Close(), os.WriteFile(file, []byte(`streams:
  - name: web
    from: 10.0.0.2
    to: 198.51.100.0/24
    proto: tcp
    sport: 1024-65535
    dport: 443
    flows: 1000
    choice: zipf 1.5
    size: 128x2,1518x1
    weight: 3
    dscp: 46
    vlan: 100
  - {from: 10.0.0.2-10.0.0.9, prefixes: `+prefixes+`}
  - {from: 2001:db8::/64, to: 2001:db8:1::9, proto: icmp, choice: uniform}
`), 0o600))
	list := must[[]Stream](t)(ReadStreams(file))
	if len(list) != 3 {
		t.Fatalf("%d streams", len(list))
	}
	for i, want := range []string{
		"name=web from=10.0.0.2/32 to=198.51.100.0/24 proto=tcp sport=1024-65535 dport=443 flows=1000 choice=zipf:1.5 weight=3 dscp=46 vlan=100",
		"from=10.0.0.2-10.0.0.9 to 2 prefixes proto=udp sport=1024-65535 dport=9 flows=1",
		"from=2001:db8::/64 to=2001:db8:1::9/128 proto=icmp flows=1",
	} {
		if got := list[i].String(); got != want && got != strings.ReplaceAll(strings.ReplaceAll(want, "/32 ", " "), "/128", "") {
			t.Errorf("stream %d: %s", i, got)
		}
	}
	if got := list[0].Sizes.String(); got != "128x2,1518x1" || list[1].Sizes.String() != "64" || list[2].Sizes.String() != "78" || list[2].Proto != icmpv6 {
		t.Errorf("sizes %s and %v, protocol %d", got, list[1].Sizes, list[2].Proto)
	}
}

// TestStreamErrors wants the place of what is wrong in a file.
func TestStreamErrors(t *testing.T) {
	file := filepath.Join(t.TempDir(), "s.yaml")
	for text, want := range map[string]string{
		"":                                       "s.yaml: there are none: expected a list under `streams:`",
		"streams: []":                            "s.yaml: there are none",
		"streams: [":                             "s.yaml:1:10: ",
		"streams:\n  - to: x: y":                 "s.yaml:2:",
		"streams:\n  - {from: 10.0.0.2, too: 1}": `s.yaml:2:22: unknown field "too"`,
		"streams:\n  - {from: 10.0.0.2, to: 10.0.0.3, from: 10.0.0.4}":                           "s.yaml:2:36: ",
		"streams:\n  - name: a\n    to: 10.0.0.3":                                                "s.yaml:2:5: streams[0]: from is missing",
		"streams:\n  - from: 10.0.0.2\n    to: 10.0.0.3\n  - from: 10.0.0.2\n    to: 10.0.0.300": `s.yaml:5:9: streams[1].to: to "10.0.0.300": expected an address`,
		"streams:\n  - from: 10.0.0.9-10.0.0.2\n    to: 10.0.0.3":                                `s.yaml:2:11: streams[0].from: from "10.0.0.9-10.0.0.2"`,
		"streams:\n  - {from: 10.0.0.2, to: 2001:db8::1}":                                        "s.yaml:2:26: streams[0].to: from and to are of two families",
		"streams:\n  - {from: 10.0.0.2, to: 10.0.0.3, prefixes: x}":                              "streams[0].prefixes: to and prefixes: expected one of them",
		"streams:\n  - {from: 10.0.0.2, prefixes: /nowhere}":                                     "streams[0].prefixes: read prefixes: open /nowhere",
		"streams:\n  - {from: 10.0.0.2, to: 10.0.0.3, dport: 9-8}":                               `s.yaml:2:43: streams[0].dport: dport "9-8": expected a port`,
		"streams:\n  - {from: 10.0.0.2, to: 10.0.0.3, sport: 65536}":                             `streams[0].sport: sport "65536"`,
		"streams:\n  - {from: 10.0.0.2, to: 10.0.0.3, vlan: 4095}":                               `streams[0].vlan: vlan "4095": expected a number from 0 to 4094`,
		"streams:\n  - {from: 10.0.0.2, to: 10.0.0.3, dscp: 64}":                                 `streams[0].dscp: dscp "64": expected a number from 0 to 63`,
		"streams:\n  - {from: 10.0.0.2, to: 10.0.0.3, flows: 0}":                                 `streams[0].flows: flows "0": expected a number from 1 to 1048576`,
		"streams:\n  - {from: 10.0.0.2, to: 10.0.0.3, weight: 1001}":                             `streams[0].weight: weight "1001"`,
		"streams:\n  - {from: 10.0.0.2, to: 10.0.0.3, proto: sctp}":                              `streams[0].proto: proto "sctp": expected udp, tcp or icmp`,
		"streams:\n  - {from: 10.0.0.2, to: 10.0.0.3, choice: zipf 5}":                           `streams[0].choice: choice "zipf 5": expected uniform, zipf`,
		"streams:\n  - {from: 10.0.0.2, to: 10.0.0.3, choice: zipf NaN}":                         `streams[0].choice: choice "zipf NaN"`,
		"streams:\n  - {from: 10.0.0.2, to: 10.0.0.3, size: 63}":                                 `streams[0].size: frame size "63": must be 64 to 16000 bytes`,
		"streams:\n  - {from: '2001:db8::1', to: '2001:db8::2', proto: tcp, size: 89}":           "streams[0].size: size 89: headers and a stamp take 90 bytes",
		"streams:\n  - from: fe80::1%eth0\n    to: 2001:db8::2":                                  `s.yaml:2:11: streams[0].from: from "fe80::1%eth0"`,
		"streams: {from: 10.0.0.2}":                                                              "s.yaml:1:",
		"streams:\n  - from: 10.0.0.2\n    to: 10.0.0.3\n    flows: many":                        `s.yaml:4:12: streams[0].flows: flows "many"`,
	} {
		check(t, os.WriteFile(file, []byte(text), 0o600))
		if _, err := ReadStreams(file); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	if _, err := ReadStreams(file + "x"); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("a file that is not there: %v", err)
	}
	for text, want := range map[string]string{
		"":                                 "from is missing",
		"from":                             `"from" is not NAME=VALUE`,
		"from=10.0.0.2":                    "to is missing",
		"from=10.0.0.2 to=1.2.3.4 a=b":     `no such name "a": expected from, to,`,
		"from=10.0.0.2 from=10.0.0.3":      "from is given twice",
		"from=10.0.0.2 to=1.2.3.4 size=1x": `frame size "1"`,
	} {
		if _, err := ParseStream(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	if _, err := ReadPrefixes(file); err == nil || !strings.Contains(err.Error(), "line 1") {
		t.Errorf("prefixes that are none: %v", err)
	}
}

// FuzzParseStream: what is read is read again from what it says of itself, and the same.
func FuzzParseStream(f *testing.F) {
	for _, text := range allKinds {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseStream(text)
		if err != nil || s.Prefixes != nil || s.Proto == icmp || s.Proto == icmpv6 {
			return // prefixes are a number in the text, and the identifiers of ICMP are not in it
		}
		again, err := ParseStream(s.String() + " size=" + s.Sizes.String())
		if err != nil || again.String() != s.String() || again.From != s.From || again.To != s.To || again.SrcPort != s.SrcPort || again.DstPort != s.DstPort {
			t.Errorf("%q: %s, read again: %s, %v", text, s.String(), again.String(), err)
		}
	})
}

// TestRange: addresses that are drawn are within their range, and a range says what it was read from.
func TestRange(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		address := func(name string) netip.Addr {
			if rapid.Bool().Draw(t, "ipv6") {
				b := rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, name)
				return netip.AddrFrom16([16]byte(b))
			}
			b := rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, name)
			return netip.AddrFrom4([4]byte(b))
		}
		a, b := address("a"), address("b")
		if a.Is4() != b.Is4() || a.Is4In6() || b.Is4In6() {
			t.Skip("two families")
		}
		if b.Less(a) {
			a, b = b, a
		}
		r, err := parseRange("from", a.String()+"-"+b.String())
		if err != nil || r != (Range{a, b}) {
			t.Fatalf("%v, %v", r, err)
		}
		if again, err := parseRange("from", r.String()); err != nil || again != r {
			t.Fatalf("%s: %v, %v", r, again, err)
		}
		rng := random(rapid.Uint64().Draw(t, "seed"))
		for range 20 {
			if x := r.draw(rng); x.Less(a) || b.Less(x) {
				t.Fatalf("%s of %s", x, r)
			}
		}
	})
}
