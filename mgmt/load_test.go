package mgmt

import (
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"weir/fib"
	"weir/policy"
	"weir/policy/packet"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestGolden compares what Load says about each file of testdata with the golden file beside it: for a bad one, its
// problems; for a good one, its warnings and the policy.
func TestGolden(t *testing.T) {
	for _, kind := range []string{"bad", "good"} {
		files, err := filepath.Glob(filepath.Join("testdata", kind, "*.yaml"))
		if err != nil || len(files) == 0 {
			t.Fatal("no files", err)
		}
		for _, file := range files {
			t.Run(kind+"/"+strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
				config, problems := Load(file)
				if refused := config == nil; refused != (kind == "bad") || refused != problems.Refused() {
					t.Errorf("config %v, problems:\n%v", config != nil, problems)
				}
				got := strings.ReplaceAll(problems.String(), "testdata/"+kind+"/", "")
				if config != nil {
					got += describe(config)
				}
				golden := strings.TrimSuffix(file, ".yaml") + ".golden"
				if *update {
					if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(golden)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
					t.Errorf("differs from %s (-want +got):\n%s", golden, diff)
				}
			})
		}
	}
}

// describe writes a policy down, with the position of everything.
func describe(c *Config) string {
	var b strings.Builder
	short := func(p Position) string { return fmt.Sprintf("%s:%d:%d", filepath.Base(p.File), p.Line, p.Column) }
	fmt.Fprintf(&b, "system%s", fields(c.System))
	if c.Policy.MultipathHash != 0 {
		fmt.Fprintf(&b, " multipath-hash %v", c.Policy.MultipathHash)
	}
	b.WriteByte('\n')
	if limits := c.Policy.ICMP; limits != policy.DefaultICMPLimits {
		fmt.Fprintf(&b, "icmp port %+v sender %+v\n", limits.Port, limits.Sender)
	}
	if c.Policy.ConsistentFragments {
		b.WriteString("fragments consistent\n")
	}
	for i, p := range c.Policy.Ports {
		fmt.Fprintf(&b, "%-16s port%s\n", short(c.PortPosition(i)), fields(p))
	}
	for _, n := range c.Policy.Neighbors {
		fmt.Fprintf(&b, "%16s neighbor %v port %d %x\n", "", n.Neighbor.Addr, n.Neighbor.Port, n.MAC)
	}
	for i, t := range c.Policy.Tables {
		fmt.Fprintf(&b, "%-16s table %d %s id %d key %d on-miss %d %d\n", short(c.TablePosition(i)), i, t.Name, t.ID, t.Key, t.OnMiss, t.MissTarget)
		for j, r := range t.Routes {
			fmt.Fprintf(&b, "%-16s   %v", short(c.RoutePosition(i, j)), r.Action)
			fmt.Fprintf(&b, " %s mtu %d target %d resume %v", describeRoute(&r), r.MTU, r.Target, r.Resume)
			for _, h := range r.Hops {
				fmt.Fprintf(&b, " [%v port %d weight %d]", h.Gateway, h.Port, h.Weight)
			}
			b.WriteByte('\n')
		}
	}
	for i, chain := range c.Policy.Marks {
		fmt.Fprintf(&b, "%-16s chain %d %s\n", short(c.ChainPosition(i)), i, chain.Name)
		for j, st := range chain.Statements {
			fmt.Fprintf(&b, "%-16s   %s", short(c.StatementPosition(i, j)), st.Name)
			if st.Match.Family != 0 || st.Match.Not {
				fmt.Fprintf(&b, " family %d not %v", st.Match.Family, st.Match.Not)
			}
			for _, c := range st.Match.Conditions {
				fmt.Fprintf(&b, " [%v%s]", c.Field, strings.Replace(fields(c), " Field "+c.Field.String(), "", 1))
			}
			for _, then := range st.Then {
				fmt.Fprintf(&b, " {%v%s}", then.Action, strings.Replace(fields(then), " Action "+then.Action.String(), "", 1))
			}
			b.WriteByte('\n')
		}
	}
	for i, r := range c.Policy.Rules {
		fmt.Fprintf(&b, "%-16s rule%s\n", short(c.RulePosition(i)), fields(r))
	}
	return b.String()
}

// fields writes the fields of a struct down that are not zero, so that a new one changes no golden file.
func fields(value any) string {
	var b strings.Builder
	v := reflect.ValueOf(value)
	for i := range v.NumField() {
		switch f := v.Field(i); {
		case f.IsZero():
		case f.Kind() == reflect.Struct && !f.Type().Implements(reflect.TypeFor[fmt.Stringer]()):
			fmt.Fprintf(&b, " %s {%s}", v.Type().Field(i).Name, strings.TrimSpace(fields(f.Interface())))
		default:
			fmt.Fprintf(&b, " %s %v", v.Type().Field(i).Name, f.Interface())
		}
	}
	return b.String()
}

// parse checks a text that names no files.
func parse(text string) (*Config, Problems) {
	return Parse("test.yaml", []byte(text), func(string) (io.ReadCloser, error) { return nil, os.ErrNotExist })
}

// mustParse is parse of a text that is right.
func mustParse(t testing.TB, text string) *Config {
	t.Helper()
	config, problems := parse(text)
	if config == nil {
		t.Fatalf("%s\n%s", text, problems)
	}
	return config
}

// TestSelectors checks every selector and action of a rule against the policy that it means.
func TestSelectors(t *testing.T) {
	prefix := func(s string) (p policy.Selector) {
		p.From, _ = parsePrefix(s)
		p.Family = familyOf(p.From.Addr())
		return p
	}
	for text, want := range map[string]policy.Rule{
		"lookup: main":                              {Table: tableMain},
		"not: true, lookup: default":                {Not: true, Table: tableDefault},
		"not: yes, lookup: default":                 {Not: true, Table: tableDefault},
		"goto: 7":                                   {Action: policy.RuleGoto, Goto: 7},
		"action: nop":                               {Action: policy.RuleNop},
		"action: blackhole":                         {Action: policy.RuleBlackhole},
		"action: unreachable":                       {Action: policy.RuleUnreachable},
		"action: prohibit":                          {Action: policy.RuleProhibit},
		"lookup: local, suppress-ifgroup: g":        {SuppressGroup: 9, HasSuppressGroup: true},
		"action: nop, from: 10.0.0.0/8":             {Action: policy.RuleNop, Match: prefix("10.0.0.0/8")},
		"action: nop, from: 10.1.2.3":               {Action: policy.RuleNop, Match: prefix("10.1.2.3/32")},
		"action: nop, from: 2001:db8::/32":          {Action: policy.RuleNop, Match: prefix("2001:db8::/32")},
		"action: nop, iif: b":                       {Action: policy.RuleNop, Match: policy.Selector{HasIngress: true, Ingress: 1}},
		"action: nop, iif: lo":                      {Action: policy.RuleNop, Match: policy.Selector{HasIngress: true, IngressLo: true}},
		"action: nop, iif-group: g":                 {Action: policy.RuleNop, Match: policy.Selector{HasGroup: true, Group: 9}},
		"action: nop, fwmark: 0x10":                 {Action: policy.RuleNop, Match: policy.Selector{HasMark: true, Mark: 16, MarkMask: 0xffffffff}},
		"action: nop, fwmark: 16/0xff":              {Action: policy.RuleNop, Match: policy.Selector{HasMark: true, Mark: 16, MarkMask: 0xff}},
		`action: nop, fwmark: "0/0xff"`:             {Action: policy.RuleNop, Match: policy.Selector{HasMark: true, MarkMask: 0xff}},
		"action: nop, tagged: t":                    {Action: policy.RuleNop, Match: policy.Selector{HasMark: true, Mark: 0x40, MarkMask: 0xc0}},
		"action: nop, tos: 0x10":                    {Action: policy.RuleNop, Match: policy.Selector{HasTOS: true, TOS: 16}},
		"action: nop, tos: 0xb8, family: ipv6":      {Action: policy.RuleNop, Match: policy.Selector{HasTOS: true, TOS: 0xb8, Family: packet.IPv6}},
		"action: nop, dscp: 0":                      {Action: policy.RuleNop, Match: policy.Selector{HasDSCP: true, DSCPMask: 63}},
		"action: nop, dscp: EF":                     {Action: policy.RuleNop, Match: policy.Selector{HasDSCP: true, DSCP: 46, DSCPMask: 63}},
		"action: nop, dscp: 0x20/0x38":              {Action: policy.RuleNop, Match: policy.Selector{HasDSCP: true, DSCP: 32, DSCPMask: 0x38}},
		"action: nop, proto: tcp":                   {Action: policy.RuleNop, Match: policy.Selector{HasProto: true, Proto: 6}},
		"action: nop, proto: 255":                   {Action: policy.RuleNop, Match: policy.Selector{HasProto: true, Proto: 255}},
		"action: nop, sport: 53":                    {Action: policy.RuleNop, Match: policy.Selector{Sport: policy.PortMatch{Kind: policy.PortRange, Lo: 53, Hi: 53}}},
		"action: nop, dport: 8000-8099":             {Action: policy.RuleNop, Match: policy.Selector{Dport: policy.PortMatch{Kind: policy.PortRange, Lo: 8000, Hi: 8099}}},
		"action: nop, dport: 0x50/0xfff0":           {Action: policy.RuleNop, Match: policy.Selector{Dport: policy.PortMatch{Kind: policy.PortMask, Value: 0x50, Mask: 0xfff0}}},
		"action: nop, flowlabel: 0xabcde":           {Action: policy.RuleNop, Match: policy.Selector{HasFlow: true, FlowLabel: 0xabcde, FlowMask: 0xfffff, Family: packet.IPv6}},
		"action: nop, flowlabel: 1/0xf":             {Action: policy.RuleNop, Match: policy.Selector{HasFlow: true, FlowLabel: 1, FlowMask: 0xf, Family: packet.IPv6}},
		"action: nop, family: ipv4":                 {Action: policy.RuleNop, Match: policy.Selector{Family: packet.IPv4}},
		"lookup: main, suppress-prefixlength: 0":    {Table: tableMain},
		"lookup: main, suppress-prefixlength: 0x10": {Table: tableMain, SuppressPrefixLength: 16},
	} {
		config := mustParse(t, "version: 1\ndefault-rules: no\ntags: {t: 0x40/0xc0}\ngroups: {g: 9}\nports: {a: , b: {group: g}}\nrules: [{priority: 5, name: r, "+text+"}]\n")
		want.Name, want.Priority = "r", 5
		if !strings.Contains(text, "prefixlength") {
			want.SuppressPrefixLength = -1
		}
		if diff := cmp.Diff(want, config.Policy.Rules[0], cmpopts.EquateComparable(policy.Rule{}.Match.From)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", text, diff)
		}
	}
}

// TestWalkOrder checks that the indexes of a Config are those of its snapshot.
func TestWalkOrder(t *testing.T) {
	config := mustParse(t, `version: 1
rules:
- {name: late, priority: 40000, action: nop}
- {name: early, priority: 5, action: nop}
- {name: zero, priority: 0, action: nop}
- {name: early2, priority: 5, action: nop}
`)
	want := []string{"local", "zero", "early", "early2", "main", "default", "late"}
	lines := []int{0, 5, 4, 6, 0, 0, 3}
	for i, name := range want {
		if got := config.Policy.Rules[i].Name; got != name || config.Snapshot.RuleName(uint16(i)) != name {
			t.Errorf("rule %d is %s in the policy and %s in the snapshot, want %s", i, got, config.Snapshot.RuleName(uint16(i)), name)
		}
		if got := config.RulePosition(i).Line; got != lines[i] {
			t.Errorf("rule %s is in line %d, want %d", name, got, lines[i])
		}
	}
}

// TestStableNames checks that what is generated depends on its own content alone.
func TestStableNames(t *testing.T) {
	const rule = "- {priority: 7, from: 10.0.0.0/8, lookup: main}\n"
	one := mustParse(t, "version: 1\nports: {a: {group: red}}\nrules:\n"+rule)
	two := mustParse(t, "version: 1\nports: {b: {group: blue}, a: {group: red}}\nrules:\n- {priority: 3, action: nop}\n"+
		rule+"- {lookup: main, priority: 7, from: 10.0.0.0/8}\n- {priority: 7, from: 11.0.0.0/8, lookup: main}\n")
	name := one.Policy.Rules[1].Name
	if got := two.Policy.Rules[2].Name; got != name {
		t.Errorf("rule is called %s, and %s among others", name, got)
	}
	if got := two.Policy.Rules[3].Name; got != name+"-2" {
		t.Errorf("its double is called %s", got)
	}
	if got := two.Policy.Rules[4].Name; strings.HasPrefix(got, name) {
		t.Errorf("another rule is called %s", got)
	}
	if a, b := one.Policy.Ports[0].Group, two.Policy.Ports[1].Group; a != b || a == two.Policy.Ports[0].Group {
		t.Errorf("group red is %d, and %d among others", a, b)
	}
}

// TestHash checks that the hash covers the routes-files.
func TestHash(t *testing.T) {
	hash := func(routes string) string {
		config, problems := Parse("test.yaml", []byte("version: 1\ntables: {x: {id: 1, routes-file: f}}\n"), func(name string) (io.ReadCloser, error) {
			if name != "f" {
				t.Errorf("opens %s", name)
			}
			return io.NopCloser(strings.NewReader(routes)), nil
		})
		if config == nil {
			t.Fatal(problems)
		}
		return config.Hash
	}
	if a, b := hash("blackhole 10/8\n"), hash("blackhole 11/8\n"); a == b {
		t.Error("hash is that of the text alone")
	}
}

func TestLoadRefuses(t *testing.T) {
	for name, want := range map[string]string{
		filepath.Join(t.TempDir(), "missing"): "no such file",
		t.TempDir():                           "not a regular file",
	} {
		config, problems := Load(name)
		if config != nil || len(problems) != 1 || !strings.Contains(problems.String(), want) {
			t.Errorf("%s: %v", name, problems)
		}
	}
}

// TestTOSRoutes checks the one route that a default without a gateway may not become.
func TestTOSRoutes(t *testing.T) {
	config := mustParse(t, "version: 1\ntables: {x: {id: 1, routes: [{to: default, tos: 0x10, type: throw}]}}\n")
	routes := config.Policy.Tables[tablesBuiltin].Routes
	if len(routes) != 1 || routes[0].Prefix != defaultPrefix(packet.IPv4) || routes[0].Action != fib.Throw {
		t.Errorf("routes %v", routes)
	}
}
