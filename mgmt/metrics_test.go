package mgmt

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"go.uber.org/zap"
)

// freePort is an address that nobody listens on.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// scrape is the answer at an address, or why there is none.
func scrape(address string) string {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Get("http://" + address + MetricsPath)
	if err != nil {
		return err.Error()
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return fmt.Sprint(response.StatusCode, " ", string(body), err)
}

// TestMetricsFollowCommits: the address comes, moves and goes with commits; one that is in use refuses the commit, and whatever
// else refuses one leaves the address as it is.
func TestMetricsFollowCommits(t *testing.T) {
	const answer, refused = "200 metrics<nil>", "connection refused"
	b := newBench(t, "version: 1\n")
	m := NewMetrics(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "metrics") }), zap.NewNop())
	b.Engine = NewEngine(b.path, func(System) (Router, error) { return b.router, nil }, zap.NewNop(), m)
	defer m.Close()
	first, second := freePort(t), freePort(t)
	with := func(address string) string {
		return fmt.Sprintf("version: 1\nsystem: {metrics: {listen: %q}}\n", address)
	}
	commit := func(text, failure string) {
		t.Helper()
		b.write(text)
		r := b.reload()
		if failure == "" && !r.OK() || failure != "" && !strings.Contains(r.String(), failure) {
			t.Errorf("commit of %q: %s, expected %q", text, r.String(), failure)
		}
	}
	answers := func(address, want string) {
		t.Helper()
		if got := scrape(address); !strings.Contains(got, want) {
			t.Errorf("%s answers %q, expected %q", address, got, want)
		}
	}
	commit("version: 1\n", "")
	answers(first, refused)
	commit(with(first), "")
	answers(first, answer)
	commit(with(first), "") // stays
	answers(first, answer)

	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	calls := len(b.router.calls)
	commit(with(taken.Addr().String()), "prepare: serve metrics (system.metrics.listen): listen tcp "+taken.Addr().String()+": bind: address already in use; commit 2, generation 3 stays")
	if len(b.router.calls) != calls {
		t.Errorf("the router was asked to %v", b.router.calls[calls:])
	}
	answers(first, answer)

	b.router.prepareErr = errors.New("no such port")
	commit(with(second), "no such port")
	commit("version: 1\n", "no such port")
	b.router.prepareErr = nil
	b.router.publishErr = errors.New("not now")
	commit(with(second), "not now")
	b.router.publishErr = nil
	answers(first, answer)
	answers(second, refused)

	commit(with(second), "")
	answers(first, refused)
	answers(second, answer)
	commit("version: 1\n", "")
	answers(second, refused)
	commit(with(second), "")
	answers(second, answer)
	m.Close()
	answers(second, refused)
	if got, want := b.Outcomes(), (Outcomes{Succeeded: 6, Failed: 4}); got != want {
		t.Errorf("outcomes %+v, expected %+v", got, want)
	}
	commit("version: 2\n", "expected 1")
	if got := b.Outcomes().Refused; got != 1 {
		t.Errorf("%d refused", got)
	}
}

func TestMetricsAddress(t *testing.T) {
	for text, want := range map[string]string{
		`{listen: "127.0.0.1:9550"}`: "127.0.0.1:9550", `{listen: "[::1]:80"}`: "[::1]:80", `{listen: "[::]:9550"}`: "[::]:9550",
	} {
		if c := mustParse(t, "version: 1\nsystem: {metrics: "+text+"}\n"); c.System.Metrics != want {
			t.Errorf("%s: %q", text, c.System.Metrics)
		}
	}
	for text, want := range map[string]string{
		`{}`: "key listen is missing", `{listen: ""}`: "expected an address and a port", `{listen: "localhost:9550"}`: "expected an address and a port",
		`{listen: "127.0.0.1:0"}`: "expected an address and a port", `{listen: 9550}`: "expected an address and a port", `[]`: "expected a mapping",
		`{port: 9550}`: "unknown key",
	} {
		if _, problems := parse("version: 1\nsystem: {metrics: " + text + "}\n"); !strings.Contains(problems.String(), want) || !strings.Contains(problems.String(), "test.yaml:2:") {
			t.Errorf("%s: %s", text, problems)
		}
	}
}

var _ Service = (*Metrics)(nil)
