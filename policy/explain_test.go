package policy

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"weir/policy/packet"
)

var update = flag.Bool("update", false, "write the golden files anew")

// explainLab is a policy in which an explanation has much to say.
func explainLab(t testing.TB) *Snapshot {
	l := newLab(t)
	l.Ports[0].Redirects = true
	l.defaults()
	l.table("main", "0.0.0.0/0 via 198.51.100.7 em1")
	l.table("x", "10.0.0.0/8 via 198.51.100.7 em1", "10.5.0.0/16 via 198.51.100.7 em1 weight 3 via 192.0.2.9 em0", "10.3.0.0/16 blackhole",
		"10.4.0.0/16 lookup z resume", "10.6.0.0/16 throw", "10.11.0.0/16 via 192.0.2.9 em0", "10.7.0.0/16 dev em1 tos 0x10 metric 20 mtu 1300")
	l.table("y", "10.9.0.0/16 lookup z").Key = BySource
	l.table("z", "10.8.0.0/16 via 198.51.100.9 em1").OnMiss = MissLookup
	l.table("w", "10.8.8.0/24 unreachable")
	l.table("z").MissTarget = l.tableIndex("w")
	l.table("closed").OnMiss = MissUnreachable
	name := func(r *Rule, name string) *Rule { r.Name = name; return r }
	name(l.rule(100, "lookup x", Selector{HasGroup: true, Group: 1}), "gold").SuppressPrefixLength = 0
	name(l.rule(200, "lookup y", Selector{}), "by-source")
	r := name(l.rule(300, "lookup main", Selector{HasMark: true, Mark: 0x10, MarkMask: 0xff}), "web")
	r.HasSuppressGroup = true
	name(l.rule(400, "goto 900", Selector{HasDSCP: true, DSCP: 46, DSCPMask: 63}), "not-voice").Not = true
	name(l.rule(500, "prohibit", Selector{To: prefix("10.66.0.0/16")}), "closed")
	name(l.rule(600, "nop", Selector{HasProto: true, Proto: 6, Dport: PortMatch{Kind: PortRange, Lo: 1, Hi: 1023}}), "low-ports")
	name(l.rule(700, "lookup closed", Selector{Family: 6}), "six")
	name(l.rule(900, "lookup closed", Selector{From: prefix("172.16.0.0/12")}), "private")
	return l.compile()
}

var explainCases = []struct{ name, spec string }{
	{"forward", "iif=em0 src=192.0.2.5 dst=10.5.1.1 proto=tcp sport=40000 dport=443"},
	{"fallthrough", "iif=em1 src=198.51.100.5 dst=8.8.8.8 dport=53"},
	{"resume", "iif=em0 src=192.0.2.5 dst=10.4.1.1"},
	{"nested", "iif=em2 src=10.9.1.1 dst=10.8.8.8 proto=icmp icmp-type=8"},
	{"voice", "iif=em2 src=9.0.0.1 dst=10.66.1.1 tos=0xb8 fragment=first proto=tcp dport=80"},
	{"opaque", "iif=em2 src=172.16.1.1 dst=8.8.8.8"},
	{"suppressed", "iif=em2 src=9.0.0.1 dst=8.8.8.8 mark=0x10"},
	{"martian", "iif=em0 src=127.0.0.1 dst=8.8.8.8"},
	{"own-source", "iif=em0 src=192.0.2.1 dst=8.8.8.8"},
	{"local", "iif=em0 src=192.0.2.5 dst=192.0.2.1"},
	{"on-link", "iif=em1 src=198.51.100.5 dst=192.0.2.77"},
	{"ttl", "iif=em0 src=192.0.2.5 dst=10.1.1.1 ttl=1"},
	{"too-big", "iif=em0 src=192.0.2.5 dst=10.7.1.1 tos=0x10 length=1400"},
	{"fragmented", "iif=em0 src=192.0.2.5 dst=10.1.1.1 length=1500 df=false"},
	{"redirect", "iif=em0 src=192.0.2.5 dst=10.11.1.1"},
	{"blackhole", "iif=em0 src=192.0.2.5 dst=10.3.1.1"},
	{"ipv6", "iif=em0 src=2001:db8:1::5 dst=2001:db8:9::1 flowlabel=0x12345"},
	{"scope", "iif=em0 src=fe80::5 dst=2001:db8:2::9"},
}

func TestExplainGolden(t *testing.T) {
	s := explainLab(t)
	for _, c := range explainCases {
		explainGolden(t, s, c.name, c.spec)
	}
}

// explainGolden compares the explanation of a packet, as text and as JSON, with its golden files.
func explainGolden(t *testing.T, s *Snapshot, name, spec string) {
	t.Helper()
	explainKeyGolden(t, s, name, key(t, s, spec))
}

func explainKeyGolden(t *testing.T, s *Snapshot, name string, k packet.Key) {
	t.Helper()
	e := s.Explain(&k)
	var text bytes.Buffer
	if err := e.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(text.String()) {
		if n := len(strings.TrimSuffix(line, "\n")); n > textWidth {
			t.Errorf("%s: line of %d columns: %s", name, n, line)
		}
	}
	golden(t, name+".txt", text.Bytes())
	js, err := json.MarshalIndent(e, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, name+".json", append(js, '\n'))
}

func mustJSON(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", "explain", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got; -update writes it anew):\n%s", name, diff)
	}
}

// TestAppendJSONIsMarshal holds the fast encoder to encoding/json.
func TestAppendJSONIsMarshal(t *testing.T) {
	odd := newLab(t)
	odd.Ports[1].Name = `em"1<é`
	odd.table("x", "0.0.0.0/0 dev em2", "10.0.0.0/8 dev em0")
	odd.table("x").Routes[1].Hops[0].Port = 1
	odd.rule(1, "lookup x", Selector{}).Name = "a\tb"
	for _, s := range []*Snapshot{odd.compile(), explainLab(t)} {
		rapid.Check(t, func(t *rapid.T) {
			k := genKey(t, len(s.Ports))
			v := s.Evaluate(&k, nil)
			want, err := json.Marshal(s.explanation(&k, v))
			if err != nil {
				t.Fatal(err)
			}
			if got := s.AppendJSON([]byte("x"), &k, v); string(got) != "x"+string(want) {
				t.Fatalf("got  %s\nwant %s", got[1:], want)
			}
		})
	}
}

func TestExplainPackets(t *testing.T) {
	s := explainLab(t)
	in := `{"iif":"em0","src":"192.0.2.5","dst":"10.1.1.1"}

  {"iif":"em0","src":"192.0.2.5","dst":"10.3.1.1","ttl":1}
{"iif":"em2","src":"9.0.0.1","dst":"10.66.1.1","tos":"0xb8"}`
	want := `{"verdict":"forward","port":"em1","gateway":"198.51.100.7","table":"x","rule":"gold","prefix":"10.0.0.0/8","mark":0,"tos":0}
{"verdict":"blackhole","table":"x","rule":"gold","prefix":"10.3.0.0/16","mark":0,"tos":0,"reason":"blackhole"}
{"verdict":"prohibit","rule":"closed","mark":0,"tos":184,"icmp":{"type":3,"code":13},"reason":"prohibit"}
`
	var out bytes.Buffer
	if err := s.ExplainPackets(strings.NewReader(in), &out, false); err != nil || out.String() != want {
		t.Errorf("%v\n%s", err, cmp.Diff(want, out.String()))
	}

	out.Reset()
	if err := s.ExplainPackets(strings.NewReader(in), &out, true); err != nil {
		t.Fatal(err)
	}
	var e struct {
		Verdict string
		Steps   []Step
	}
	if err := json.NewDecoder(&out).Decode(&e); err != nil || e.Verdict != "forward" || len(e.Steps) < 4 {
		t.Errorf("with steps: %v %+v", err, e)
	}

	for _, c := range []struct{ in, want string }{
		{"\n{}", "line 2: parse packet: iif is missing"},
		{strings.Repeat(" ", 70000), "line 1: longer than 65536 bytes"},
	} {
		if err := s.ExplainPackets(strings.NewReader(c.in), &out, false); fmt.Sprint(err) != c.want {
			t.Errorf("%.10q: %v, want %s", c.in, err, c.want)
		}
	}
}

// TestExplainPacketsAnswersAtOnce lets a program wait for each answer before it asks again.
func TestExplainPacketsAnswersAtOnce(t *testing.T) {
	s := explainLab(t)
	askR, ask, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	answerR, answer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		defer answer.Close()
		done <- s.ExplainPackets(askR, answer, false)
	}()
	decoder := json.NewDecoder(answerR)
	for range 3 {
		fmt.Fprintln(ask, `{"iif":"em0","src":"192.0.2.5","dst":"10.1.1.1"}`)
		var e struct{ Verdict string }
		if err := decoder.Decode(&e); err != nil || e.Verdict != "forward" {
			t.Fatalf("%v %+v", err, e)
		}
	}
	ask.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
	askR.Close()
	answerR.Close()
}
