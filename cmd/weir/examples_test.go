package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"weir/mgmt"
	"weir/policy"
	"weir/policy/packet"
)

// examples are configurations that teach, each with what it does to packets in lines such as
//
//	# expect: iif=em0 src=192.0.2.9 dst=203.0.113.7 proto=tcp dport=80 -> forward wan1 via 10.0.1.2 rule web table web
//
// On the left is a packet as `weir explain` takes it. On the right is the verdict, behind forward the port, and then any
// of: via GATEWAY, rule, table, prefix and statement that decided, the mark and the dscp that the packet leaves the marks
// with, icmp TYPE/CODE of the error that is sent, and the word reset for that of TCP. A packet that no ICMP is given for
// gets none.
const examples = "../../mgmt/examples"

// expectation is one such line.
type expectation struct {
	line    int
	text    string
	packet  []string
	verdict string
	port    string
	reset   bool
	more    map[string]string // by word
}

// example is a file and what it says of itself.
type example struct {
	*mgmt.Config
	list []expectation
}

func exampleFiles(t *testing.T) []string {
	t.Helper()
	files := must[[]string](t)(filepath.Glob(filepath.Join(examples, "*.yaml")))
	if len(files) == 0 {
		t.Fatal("no examples")
	}
	return files
}

// loadExample reads a file, which must be accepted without a warning, and its expectations.
func loadExample(t *testing.T, file string) example {
	t.Helper()
	config, problems := mgmt.Load(file)
	if len(problems) > 0 {
		t.Fatalf("%s", problems)
	}
	x := example{Config: config}
	for i, line := range strings.Split(string(config.Text), "\n") {
		if text, ok := strings.CutPrefix(line, "# expect: "); ok {
			e, err := parseExpectation(text)
			if err != nil {
				t.Fatalf("%s:%d: %v", file, i+1, err)
			}
			e.line = i + 1
			x.list = append(x.list, e)
		} else if strings.Contains(line, "expect:") {
			t.Errorf("%s:%d: an expectation begins with `# expect: `", file, i+1)
		}
	}
	if len(x.list) < 5 {
		t.Fatalf("%s: %d expectations", file, len(x.list))
	}
	return x
}

var expectationWords = []string{"via", "rule", "table", "prefix", "statement", "mark", "dscp", "icmp"}

func parseExpectation(text string) (e expectation, err error) {
	left, right, ok := strings.Cut(text, " -> ")
	words := strings.Fields(right)
	if !ok || len(words) == 0 {
		return e, fmt.Errorf("an expectation is PACKET -> VERDICT …, not %q", text)
	}
	e = expectation{text: text, packet: strings.Fields(left), verdict: words[0], more: make(map[string]string)}
	words = words[1:]
	if e.verdict == "forward" {
		if len(words) == 0 {
			return e, fmt.Errorf("forward needs a port")
		}
		e.port, words = words[0], words[1:]
	}
	for len(words) > 0 {
		word := words[0]
		switch {
		case word == "reset":
			e.reset, words = true, words[1:]
			continue
		case !slices.Contains(expectationWords, word):
			return e, fmt.Errorf("%q is none of %v", word, expectationWords)
		case len(words) == 1:
			return e, fmt.Errorf("nothing behind %s", word)
		case e.more[word] != "":
			return e, fmt.Errorf("%s is given twice", word)
		}
		e.more[word], words = words[1], words[2:]
	}
	return e, nil
}

// differs says what of the decision is not as expected.
func (e *expectation) differs(x policy.Explanation) error {
	got := map[string]string{
		"via": x.Gateway, "rule": x.Rule, "table": x.Table, "prefix": x.Prefix, "statement": x.Statement, "mark": fmt.Sprintf("0x%x", x.Mark),
		"dscp": strconv.Itoa(int(x.TOS >> 2)),
	}
	if name := packet.DSCPs.Text(x.TOS >> 2); name != "" && x.TOS>>2 != 0 {
		got["dscp"] = name
	}
	if x.ICMP != nil {
		got["icmp"] = fmt.Sprintf("%d/%d", x.ICMP.Type, x.ICMP.Code)
	}
	switch {
	case x.Verdict != e.verdict || x.Verdict == "forward" && x.Port != e.port:
		return fmt.Errorf("%s %s", x.Verdict, x.Port)
	case x.Reset != e.reset:
		return fmt.Errorf("reset %v", x.Reset)
	case got["icmp"] != e.more["icmp"]:
		return fmt.Errorf("icmp %q", got["icmp"])
	}
	for word, want := range e.more {
		if got[word] != want {
			return fmt.Errorf("%s %q", word, got[word])
		}
	}
	return nil
}

// TestExamples: every example is accepted without a warning, decides as it says, and is listed in the README beside it.
func TestExamples(t *testing.T) {
	readme := string(must[[]byte](t)(os.ReadFile(filepath.Join(examples, "README.md"))))
	listed := regexp.MustCompile(`\(([a-z0-9-]+\.yaml)\)`).FindAllStringSubmatch(readme, -1)
	files := exampleFiles(t)
	if len(listed) != len(files) {
		t.Errorf("%d examples are listed, there are %d", len(listed), len(files))
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			if !strings.Contains(readme, "("+filepath.Base(file)+")") {
				t.Error("not listed")
			}
			x := loadExample(t, file)
			for _, e := range x.list {
				k, err := x.Snapshot.ParsePacket(e.packet)
				if err != nil {
					t.Errorf("%s:%d: %v", file, e.line, err)
					continue
				}
				decision := x.Snapshot.Explain(&k)
				if err := e.differs(decision); err != nil {
					var why strings.Builder
					need(t, decision.WriteText(&why))
					t.Errorf("%s:%d: %s\nbut %v:\n%s", file, e.line, e.text, err, &why)
				}
			}
		})
	}
}

// TestExpectations: the format is strict, and what does not hold is noticed.
func TestExpectations(t *testing.T) {
	for _, text := range []string{"", "iif=em0", "iif=em0 ->", "iif=em0 -> forward", "iif=em0 -> drop color red", "iif=em0 -> drop rule", "iif=em0 -> drop rule a rule b"} {
		if _, err := parseExpectation(text); err == nil {
			t.Errorf("%q is taken for an expectation", text)
		}
	}
	right := policy.Explanation{Verdict: "forward", Port: "em1", Gateway: "10.0.0.2", Rule: "r", Table: "t", Prefix: "10.0.0.0/8", Mark: 16, TOS: 46 << 2}
	for text, ok := range map[string]bool{
		"iif=em0 -> forward em1": true,
		"iif=em0 -> forward em1 via 10.0.0.2 rule r table t prefix 10.0.0.0/8 mark 0x10 dscp ef": true,
		"iif=em0 -> forward em2":               false,
		"iif=em0 -> drop":                      false,
		"iif=em0 -> forward em1 rule q":        false,
		"iif=em0 -> forward em1 via 10.0.0.3":  false,
		"iif=em0 -> forward em1 icmp 3/0":      false,
		"iif=em0 -> forward em1 reset":         false,
		"iif=em0 -> forward em1 dscp 0":        false,
		"iif=em0 -> forward em1 statement any": false,
	} {
		e, err := parseExpectation(text)
		need(t, err)
		if err := e.differs(right); (err == nil) != ok {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestReadmeExplains: what the README shows of explain is what explain says.
func TestReadmeExplains(t *testing.T) {
	readme := string(must[[]byte](t)(os.ReadFile("../../README.md")))
	_, session, _ := strings.Cut(readme, "\n$ weir explain -c ")
	session, _, ok := strings.Cut(session, "```\n")
	line, shown, _ := strings.Cut(session, "\n")
	words := strings.Fields(line)
	if !ok || len(words) < 2 {
		t.Fatal("the README shows no explanation")
	}
	config, problems := mgmt.Load(filepath.Join("../..", words[0]))
	if config == nil {
		t.Fatal(problems)
	}
	k := must[packet.Key](t)(config.Snapshot.ParsePacket(words[1:]))
	var said strings.Builder
	need(t, config.Snapshot.Explain(&k).WriteText(&said))
	if shown != said.String() {
		t.Errorf("the README shows\n%s\nexplain says\n%s", shown, &said)
	}
}
