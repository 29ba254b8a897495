package mgmt

import (
	"bytes"
	"fmt"
	"io"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"weir/fib"
)

// openSeed opens one of some texts, whichever the name's length says.
func openSeed(texts [][]byte) func(string) (io.ReadCloser, error) {
	return func(name string) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(texts[len(name)%len(texts)])), nil
	}
}

const withRoutesFile = `version: 1
ports: {em0: {addresses: [192.0.2.1/24, 2001:db8::1/64]}, em1: {addresses: [198.51.100.1/24]}}
tables: {x: {id: 100, routes-file: f}, z: {id: 101}}
`

func parseRoutes(file io.Reader) (*Config, Problems) {
	return Parse("test.yaml", []byte(withRoutesFile), func(string) (io.ReadCloser, error) { return io.NopCloser(file), nil })
}

// TestRoutesFileMeans checks lines against the same routes in YAML.
func TestRoutesFileMeans(t *testing.T) {
	for line, route := range map[string]string{
		"10.0.0.0/8 via 192.0.2.9":                                           "{to: 10.0.0.0/8, via: 192.0.2.9}",
		"10/8 via 192.0.2.9 dev em0":                                         "{to: 10.0.0.0/8, via: 192.0.2.9, port: em0}",
		"10.1.2.3 via 192.0.2.9 # host":                                      "{to: 10.1.2.3/32, via: 192.0.2.9}",
		"to 10.0.0.0/8 dev em1 via 192.0.2.9":                                "{to: 10.0.0.0/8, via: 192.0.2.9, port: em1}",
		"default via 192.0.2.9":                                              "{to: default, via: 192.0.2.9}",
		"default via 2001:db8::9 dev em0 pref medium":                        "{to: default, via: 2001:db8::9}",
		"default dev em1":                                                    "{to: default, port: em1}",
		"throw default":                                                      "{to: default, type: throw}",
		"prohibit 2001:db8:1::/48 metric 7":                                  "{to: 2001:db8:1::/48, type: prohibit, metric: 7}",
		"unicast 10.0.0.0/8 dev em1 tos 0x10 mtu 1400":                       "{to: 10.0.0.0/8, port: em1, tos: 16, mtu: 1400}",
		"10.0.0.0/8 dev em1 dsfield 16 mtu lock 1400 onlink":                 "{to: 10.0.0.0/8, port: em1, tos: 16, mtu: 1400}",
		"10.0.0.0/8 lookup z on-miss resume":                                 "{to: 10.0.0.0/8, lookup: z, on-miss: resume}",
		"10.0.0.0/8 proto static scope global lookup main":                   "{to: 10.0.0.0/8, lookup: main}",
		"default nexthop via 192.0.2.9 nexthop via 192.0.2.8":                "{to: default, via: [192.0.2.9, 192.0.2.8]}",
		"10.0.0.0/8 nexthop via 192.0.2.9 weight 3 nexthop dev em1 weight 2": "{to: 10.0.0.0/8, via: [{gateway: 192.0.2.9, weight: 3}, {port: em1, weight: 2}]}",
		"  \t10.0.0.0/8   via inet 192.0.2.9\ttable 100\r":                   "{to: 10.0.0.0/8, via: 192.0.2.9}",
		"# nothing": "",
	} {
		config, problems := parseRoutes(strings.NewReader(line + "\n"))
		if config == nil {
			t.Errorf("%s: %v", line, problems)
			continue
		}
		want := mustParse(t, strings.Replace(withRoutesFile, "routes-file: f", "routes: ["+route+"]", 1))
		if diff := cmp.Diff(want.Policy.Tables, config.Policy.Tables, cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{})); diff != "" {
			t.Errorf("%s (-yaml +file):\n%s", line, diff)
		}
	}
}

// TestSharedHops checks that a next hop that routes share is checked for each of them.
func TestSharedHops(t *testing.T) {
	config, problems := parseRoutes(strings.NewReader(`10.0.0.0/8 via 192.0.2.9
11.0.0.0/8 via 192.0.2.9
2001:db8:1::/48 via 192.0.2.9
default via 192.0.2.9
`))
	if config != nil || len(problems) != 1 || problems[0].Line != 3 {
		t.Errorf("problems %v", problems)
	}
	config, problems = parseRoutes(strings.NewReader("10.0.0.0/8 dev em0\n2001:db8:1::/48 dev em0\ndefault dev em0\ndefault via 192.0.2.9 metric 1\n"))
	if config == nil {
		t.Fatal(problems)
	}
	if routes := config.Policy.Tables[tablesBuiltin].Routes; len(routes) != 5 || &routes[0].Hops[0] != &routes[1].Hops[0] {
		t.Errorf("routes %v", routes)
	}
}

// TestRoutesFileBounds checks that endless input ends, with memory that does not grow with it.
func TestRoutesFileBounds(t *testing.T) {
	for name, file := range map[string]io.Reader{
		"line":     io.MultiReader(strings.NewReader("blackhole 10/8\n"), repeat("x", 1<<30)),
		"NULs":     repeat("\x00", 1<<30),
		"errors":   repeat("x\n", 4<<20),
		"comments": repeat("# comment\n", 8<<20),
		"nexthops": repeat("10/8 "+strings.Repeat("nexthop via 192.0.2.9 ", 300)+"\n", 4<<20),
		"same":     repeat("blackhole 10/8\n", 2<<20),
	} {
		// Garbage of errors is collected meanwhile, so what is alive afterwards is measured.
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		config, problems := parseRoutes(file)
		runtime.GC()
		runtime.ReadMemStats(&after)
		if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 8<<20 {
			t.Errorf("%s: %d bytes are kept", name, grown)
		}
		if len(problems) > listedMax+2 {
			t.Errorf("%s: %d problems are listed", name, len(problems))
		}
		if (config == nil) != problems.Refused() {
			t.Errorf("%s: config %v with problems %v", name, config != nil, problems)
		}
		runtime.KeepAlive(problems)
	}
}

// repeat reads as text over and over, up to size.
func repeat(text string, size int64) io.Reader { return io.LimitReader(&repeater{text: text}, size) }

type repeater struct {
	text string
	next int
}

func (r *repeater) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = r.text[r.next]
		if r.next++; r.next == len(r.text) {
			r.next = 0
		}
	}
	return len(p), nil
}

// TestParsePrefix4 compares the fast reader of prefixes with the one that knows all forms.
func TestParsePrefix4(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(
			rapid.Custom(func(t *rapid.T) string {
				b := rapid.SliceOfN(rapid.Uint8(), 4, 4).Draw(t, "octets")
				bits := rapid.IntRange(0, 32).Draw(t, "bits")
				return netip.PrefixFrom(netip.AddrFrom4([4]byte(b)), bits).Masked().String()
			}),
			rapid.StringMatching(`[0-9]{0,4}(\.[0-9]{1,3}){2,4}(/[0-9]{0,3})?`),
		).Draw(t, "text")
		fast, ok := parsePrefix4([]byte(text))
		slow, wrong := parsePrefix(text)
		if ok && (wrong != "" || fast != slow) {
			t.Errorf("%s: %v, want %v %s", text, fast, slow, wrong)
		}
		if full := wrong == "" && slow.String() == text; full && !ok {
			t.Errorf("%s is refused", text)
		}
	})
}

// TestRouteSet compares the set with a map.
func TestRouteSet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := &decoder{names: names{tables: map[string]uint16{}}}
		d.startTables()
		set, twin := newRouteSet(d, tableMain), map[routeKey]int{}
		for range rapid.IntRange(0, 300).Draw(t, "routes") {
			r := fib.Route{
				Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, rapid.Byte().Draw(t, "octet"), 0, 0}), 16),
				TOS:    rapid.SampledFrom([]uint8{0, 4}).Draw(t, "tos"),
				Metric: rapid.Uint32Range(0, 1).Draw(t, "metric"),
			}
			first, added := set.add(&r)
			want, known := twin[keyOf(&r)]
			if added == known || known && first != want {
				t.Fatalf("%v: index %d, added %v; want %d, %v", r, first, added, want, !known)
			}
			if added {
				twin[keyOf(&r)] = len(set.routes())
				d.addRoute(tableMain, r, spot{})
			}
		}
	})
}

func FuzzRoutesFile(f *testing.F) {
	for _, text := range seeds(f, ".routes") {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		config, problems := parseRoutes(bytes.NewReader(text))
		if (config == nil) != problems.Refused() {
			t.Fatalf("config %v with problems:\n%s", config != nil, problems)
		}
		lines := bytes.Split(text, []byte("\n"))
		for _, p := range problems {
			if p.File == "f" && (p.Line < 1 || p.Line > len(lines) || p.Column < 1 || p.Column > len([]rune(string(lines[p.Line-1])))+1) {
				t.Errorf("problem %q is outside of %q", p, text)
			}
		}
	})
}

// routesText is n different routes over eight gateways.
func routesText(n int) []byte {
	var b bytes.Buffer
	for i := range n {
		fmt.Fprintf(&b, "%d.%d.%d.0/24 via 192.0.2.%d dev em0 metric 5\n", 1+i>>16, i>>8&255, i&255, 2+i%8)
	}
	return b.Bytes()
}

// BenchmarkRoutesFile reads a file of a million routes; decode is without Compile, load with it.
func BenchmarkRoutesFile(b *testing.B) {
	const n = 1_000_000
	text := routesText(n)
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			d := newDecoder("bench.yaml", func(string) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(text)), nil })
			root, err := parseTree([]byte(withRoutesFile))
			if err != nil {
				b.Fatal(err)
			}
			if d.decode(&root); d.found.errors > 0 || len(d.policy.Tables[tablesBuiltin].Routes) != n {
				b.Fatal(d.found.list)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/route")
	})
	b.Run("load", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if config, problems := parseRoutes(bytes.NewReader(text)); config == nil {
				b.Fatal(problems)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/route")
	})
}

// BenchmarkRules reads 10,000 rules; tree is the YAML alone, load is everything.
func BenchmarkRules(b *testing.B) {
	const n = 10_000
	var text bytes.Buffer
	text.WriteString("version: 1\nports: {em0: {addresses: [192.0.2.1/24]}}\nrules:\n")
	for i := range n {
		fmt.Fprintf(&text, "  - {name: r%d, priority: %d, iif: em0, from: 10.%d.%d.0/24, proto: tcp, dport: %d, lookup: main}\n", i, i, i>>8, i&255, 1+i)
	}
	b.Run("tree", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(text.Len()))
		for b.Loop() {
			if _, err := parseTree(text.Bytes()); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("load", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(text.Len()))
		for b.Loop() {
			if config, problems := Parse("bench.yaml", text.Bytes(), func(string) (io.ReadCloser, error) { return nil, os.ErrNotExist }); config == nil {
				b.Fatal(problems)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/rule")
	})
}
