package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"weir/appliance"
	"weir/mgmt"
	"weir/perf/lab"
)

// show reads what `show WHAT | json` says into value.
func (w *weir) show(value any, what ...string) {
	w.t.Helper()
	out, status := w.call(append(append([]string{"show"}, what...), "|", "json")...)
	if err := json.Unmarshal([]byte(out), value); err != nil || status != mgmt.StatusOK {
		w.t.Fatalf("show %v: status %d, %v: %s", what, status, err, out)
	}
}

// hits are the packets and bytes of all items, by "rule NAME", "mark CHAIN NAME", "answered TABLE", "missed TABLE", and of the
// routes of table other.
func (w *weir) hits() map[string]appliance.HitState {
	w.t.Helper()
	var rules []appliance.RuleState
	var marks []appliance.StatementState
	var tables []appliance.TableState
	var routes []appliance.RouteState
	w.show(&rules, "rules")
	w.show(&marks, "marks")
	w.show(&tables, "tables")
	w.show(&routes, "tables", "other")
	all := map[string]appliance.HitState{}
	for _, r := range rules {
		all["rule "+r.Name] = r.HitState
	}
	for _, s := range marks {
		all["mark "+s.Chain+" "+s.Name] = s.HitState
	}
	for _, t := range tables {
		all["answered "+t.Name], all["missed "+t.Name] = t.Answered, t.Missed
	}
	for _, r := range routes {
		if r.Hits == nil {
			w.t.Fatal("table other does not count its routes")
		}
		all["route "+r.Prefix] = *r.Hits
	}
	return all
}

// TestHits: the items of the policy count exactly the packets that matched them, while they are read and through commits
// that keep them by name, wherever they move.
func TestHits(t *testing.T) {
	n := newNetwork(t, "em0", "wan0", "wan1")
	from, wan0, wan1 := n.ends[0], n.ends[1], n.ends[2]
	serve(t, wan0, wan1)
	config := func(marks, rules string) string {
		return n.config(fmt.Sprintf(`
tables:
  main: {id: 254, routes: [{to: 0.0.0.0/0, via: %s}]}
  other:
    id: 100
    counters: true
    routes: [{to: %s/32, via: %s}, {to: 198.51.100.0/24, type: blackhole}]
marks: {main: [%s{name: voice, match: {proto: udp, dport: 7000}, then: [{mark: 0x10/0xff}]}]}
rules:%s
  - {name: marked, priority: 200, fwmark: 0x10/0xff, lookup: other}
`, wan0.addr4(), alternating[0], wan1.addr4(), marks, rules))
	}
	w := n.start(config("", ""))
	n.warm([2]*end{from, wan0}, [2]*end{from, wan1})
	before := w.hits()

	moved, kept := listen(t, wan1, alternating[0]), listen(t, wan0, steady[0])
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	o := lab.UDPOptions{Rate: perSecond(10_000) / 2, Size: 64}
	var streams [2]<-chan streamed
	for i, r := range []*lab.UDPReceiver{moved, kept} {
		o.To = r.Address()
		streams[i] = stream(ctx, from.Host, o)
	}
	for i := range 10 {
		was := kept.Report().Received
		eventually(t, "traffic passes", func() (bool, any) { w.hits(); got := kept.Report().Received; return got > was, got })
		if i%2 == 0 {
			w.write(config(`{name: early, match: {proto: tcp}, then: [{mark: 0x20/0xff}]}, `, "\n  - {name: first, priority: 1, from: 192.0.2.0/24, lookup: other}"))
		} else {
			w.write(config("", ""))
		}
		w.reload()
	}
	stop()
	sent := [2]streamed{<-streams[0], <-streams[1]}
	late := delivered(t, w, delivery{sent[0], []*lab.UDPReceiver{moved}}, delivery{sent[1], []*lab.UDPReceiver{kept}})
	after := w.hits()
	both, one := sent[0].sent.Packets+sent[1].sent.Packets, sent[0].sent.Packets
	const size = 20 + 8 + 64
	for what, want := range map[string]uint64{
		"mark main voice": both, "rule marked": both, "answered other": one, "route " + alternating[0].String() + "/32": one,
		"missed other": both - one, "answered main": both - one, "rule main": both - one, "rule local": both, "missed local": both,
		"route 198.51.100.0/24": 0, "rule default": 0, "missed main": 0,
	} {
		got := after[what].Packets - before[what].Packets
		if diff := int64(want) - int64(got); diff < 0 || diff > int64(late) {
			t.Errorf("%s: %d packets, %d were sent, of which %d did not reach the router", what, got, want, late)
		}
		if bytes := after[what].Bytes - before[what].Bytes; bytes != got*size {
			t.Errorf("%s: %d bytes of %d packets", what, bytes, got)
		}
		if last := after[what].LastHit; (last == nil) != (after[what].Packets == 0) || last != nil && (time.Since(*last) < 0 || time.Since(*last) > time.Hour) {
			t.Errorf("%s: last hit %v", what, last)
		}
	}
	if h, ok := after["rule first"]; ok {
		t.Errorf("a rule that is gone has %+v", h)
	}

	for what, want := range map[string]string{
		"rules": "fwmark 0x10/0xff lookup other", "rules marked": "lookup other", "marks": "proto udp dport 7000 mark 0x10/0xff",
		"marks main": "voice", "tables": "falls through", "tables other": netip.PrefixFrom(alternating[0], 32).String(), "tables main": "via " + wan0.addr4().String(),
	} {
		if out, status := w.call(strings.Fields("show " + what)...); status != mgmt.StatusOK || !strings.Contains(out, want) {
			t.Errorf("show %s: status %d, does not say %q:\n%s", what, status, want, out)
		}
	}
	for what, want := range map[string]int{"rules nobody": mgmt.StatusRefused, "marks nobody": mgmt.StatusRefused, "tables nobody": mgmt.StatusRefused, "rules a b": mgmt.StatusBadCommand} {
		if out, status := w.call(strings.Fields("show " + what)...); status != want {
			t.Errorf("show %s: status %d: %s", what, status, out)
		}
	}
}
