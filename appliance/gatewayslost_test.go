package appliance

import (
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"weir/fib"
	"weir/policy"
)

// TestGatewaysAreTold: the log tells once of a gateway that is lost and once when it answers again, not while its link is down, and
// of a few changes a minute only.
func TestGatewaysAreTold(t *testing.T) {
	g := newRig(t, 2, false, func(p *policy.Policy) {
		p.Tables[1].Routes = append(p.Tables[1].Routes, fib.Route{Prefix: prefix("172.16.0.0/16"),
			Hops: []fib.NextHop{{Gateway: addr("10.0.1.3"), Port: 1, Weight: 1}}})
	})
	core, logs := observer.New(zapcore.InfoLevel)
	g.router.log = zap.New(core)
	const mac = "02:00:00:00:00:03"
	const lost, answers = "gateway lost", "gateway answers"
	told := func(what string, want ...string) {
		t.Helper()
		g.router.mu.Lock()
		g.router.tellGateways(g.router.running)
		g.router.mu.Unlock()
		var got []string
		for _, e := range logs.TakeAll() {
			got = append(got, e.Message)
			if m := e.ContextMap(); m["port"] != "em1" || m["gateway"] != "10.0.1.3" {
				t.Errorf("%s: %s %v", what, e.Message, m)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: the log tells %q, expected %q", what, got, want)
		}
	}
	says := func(state int) {
		t.Helper()
		text := ""
		if state == netlink.NUD_REACHABLE {
			text = mac
		}
		g.kernelSays("10.0.1.3", state, text, false)
	}
	link := func(down ...uint16) {
		s := g.router.running
		s.snap = s.snap.WithAdjacencies(s.snap.Adjacencies.WithDown(down...))
	}
	told("at first")
	says(netlink.NUD_FAILED)
	told("failed", lost)
	told("failed still")
	says(netlink.NUD_INCOMPLETE)
	told("asked for again")
	says(netlink.NUD_REACHABLE)
	told("reachable", answers)
	says(netlink.NUD_STALE)
	told("stale")
	link(1)
	says(netlink.NUD_FAILED)
	told("failed behind a link that is down")
	link()
	told("when it is up", lost)
	link(1)
	told("down again")
	link()
	says(netlink.NUD_REACHABLE)
	told("reachable when it is up", answers)
	g.kernelSays("10.0.1.70", netlink.NUD_REACHABLE, mac, false)
	g.kernelSays("10.0.1.70", netlink.NUD_FAILED, "", false)
	told("a host that is no gateway")

	lines := 4 // so far, in this minute
	const changes = 2 * gatewayLinesMax
	for i := range changes {
		want := []string{lost}
		says(netlink.NUD_FAILED)
		if i%2 == 1 {
			want[0] = answers
			says(netlink.NUD_REACHABLE)
		}
		if lines++; lines > gatewayLinesMax {
			want = nil
		}
		told("a flapping one", want...)
	}
	g.router.neighbors.lost.minute = time.Now().Add(-time.Minute)
	g.router.mu.Lock()
	g.router.tellGateways(g.router.running)
	g.router.mu.Unlock()
	if all := logs.TakeAll(); len(all) != 1 || all[0].ContextMap()["changes"] != int64(changes+4-gatewayLinesMax) {
		t.Errorf("after a minute the log tells %v", all)
	}
}
