package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"weir/appliance"
	"weir/mgmt"
	"weir/perf/lab"
)

// apply makes changes of routes, and returns what it said.
func (w *weir) apply(changes ...string) (said string, status int) {
	w.t.Helper()
	var b bytes.Buffer
	last, status, err := mgmt.Feed(testContext(w.t), w.control, strings.NewReader(strings.Join(changes, "\n")+"\n"), &b, "routes", "apply")
	need(w.t, err)
	return b.String() + string(last), status
}

// applied makes changes, none of which may be refused.
func (w *weir) applied(changes ...string) {
	w.t.Helper()
	if said, status := w.apply(changes...); status != mgmt.StatusOK {
		w.t.Fatalf("status %d: %s", status, said)
	}
}

// shown is how a table's route of a prefix is shown.
func (w *weir) shown(table, prefix string) (list []appliance.RouteState) {
	w.t.Helper()
	out, status := w.call("show", "tables", table, "|", "json")
	if err := json.Unmarshal([]byte(out), &list); err != nil || status != mgmt.StatusOK {
		w.t.Fatalf("table %s: status %d, %v: %s", table, status, err, out)
	}
	return slices.DeleteFunc(list, func(r appliance.RouteState) bool { return r.Prefix != prefix })
}

func (w *weir) table(name string) appliance.TableState {
	w.t.Helper()
	out, _ := w.call("show", "tables", "|", "json")
	var list []appliance.TableState
	need(w.t, json.Unmarshal([]byte(out), &list))
	return list[slices.IndexFunc(list, func(s appliance.TableState) bool { return s.Name == name })]
}

// TestRouteChangesUnderTraffic: while tens of thousands of routes come, change and go, and with them the way of the packets,
// and commits happen, every packet leaves by the old way or the new one, and flows whose routes stay do not notice. The table
// gets array forms on the way, and loses them.
func TestRouteChangesUnderTraffic(t *testing.T) {
	n := newNetwork(t, "em0", "wan0", "wan1")
	from, wan0, wan1 := n.ends[0], n.ends[1], n.ends[2]
	serve(t, wan0, wan1)
	w := n.start(uplinkPolicy(n, 0))
	n.warm([2]*end{from, wan0}, [2]*end{from, wan1})
	var alternate [2][2]*lab.UDPReceiver // by family and uplink
	var unmoved [2]*lab.UDPReceiver
	for f := range 2 {
		alternate[f] = [2]*lab.UDPReceiver{listen(t, wan0, alternating[f]), listen(t, wan1, alternating[f])}
		unmoved[f] = listen(t, wan0, steady[f])
	}
	w.applied(fmt.Sprintf("add other %s/32 via %s", alternating[0], wan0.addr4()), fmt.Sprintf("add other %s/128 via %s", alternating[1], wan0.addr6()))
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	rate := perSecond(20_000) / 4
	var moving, still [2]<-chan streamed
	for f := range 2 {
		moving[f] = stream(ctx, from.Host, lab.UDPOptions{To: netip.AddrPortFrom(alternating[f], 7000), Flows: 4, Rate: rate, Size: 64})
		still[f] = stream(ctx, from.Host, lab.UDPOptions{To: netip.AddrPortFrom(steady[f], 7000), Flows: 4, Rate: rate, Size: 64})
	}

	const others, rounds = 10_000, 20
	in, changes := io.Pipe()
	fed := make(chan string, 1)
	go func() {
		var b bytes.Buffer
		last, _, err := mgmt.Feed(testContext(t), w.control, in, &b, "routes", "apply")
		in.Close() // who writes does not wait then
		fed <- fmt.Sprintf("%s%s%v", b.String(), last, err)
	}()
	forms := map[string]bool{}
	count := 0
	lines := bufio.NewWriter(changes)
	change := func(format string, args ...any) {
		fmt.Fprintf(lines, format+"\n", args...)
		count++
	}
	for round := range rounds {
		to := []*end{wan0, wan1}[round%2]
		for i := range others {
			switch {
			case round%4 == 3:
				change("delete other 10.%d.%d.0/24", 64+i>>8, i&0xff)
			default:
				change("replace other 10.%d.%d.0/24 via %s", 64+i>>8, i&0xff, to.addr4())
			}
			if i%100 == 0 {
				change("replace other %s/32 via %s", alternating[0], []*end{wan0, wan1}[i/100%2].addr4())
				change("replace other %s/128 via %s", alternating[1], []*end{wan0, wan1}[i/100%2].addr6())
			}
		}
		need(t, lines.Flush())
		forms[w.table("other").Form] = true
		if round%5 == 0 {
			w.reload()
		}
	}
	need(t, changes.Close())
	if said, want := <-fed, fmt.Sprintf("%d changes applied, 0 refused\n<nil>", count); said != want {
		t.Errorf("changes: %s, want %s", said, want)
	}
	for up, to := range []*end{wan0, wan1} { // what is applied is in force
		w.applied(fmt.Sprintf("replace other %s/32 via %s", alternating[0], to.addr4()))
		was := alternate[0][up].Report().Received
		eventually(t, "packets go the new way", func() (bool, any) { return alternate[0][up].Report().Received > was+100, was })
	}
	stop()
	var list []delivery
	for f := range 2 {
		list = append(list, delivery{<-moving[f], alternate[f][:]}, delivery{<-still[f], []*lab.UDPReceiver{unmoved[f]}})
	}
	delivered(t, w, list...)
	for f := range 2 {
		if a, b := alternate[f][0].Report(), alternate[f][1].Report(); a.Received == 0 || b.Received == 0 {
			t.Errorf("uplinks got %d and %d packets", a.Received, b.Received)
		}
	}
	if !forms["tree"] || len(forms) < 2 {
		t.Errorf("forms of the table: %v", forms)
	}
	s := w.rest()
	if s.Totals.Dropped > 0 || len(s.Trouble) > 0 || s.RunTimeRoutes == nil || s.RunTimeRoutes.Routes != 2 {
		t.Errorf("counted %+v, trouble %v, %+v", s.Totals, s.Trouble, s.RunTimeRoutes)
	}
}

// TestRouteChanges: what is refused and why, how routes are shown, what a commit makes of them, and that gateways are kept resolved as
// long as routes lead there.
func TestRouteChanges(t *testing.T) {
	n := newNetwork(t, "em0", "wan0", "wan1")
	wan1 := n.end("wan1")
	config := uplinkPolicy(n, 0)
	w := n.start(config)
	gateway := netip.MustParseAddr("10.0.2.77") // nobody has it
	known := func() bool {
		return slices.ContainsFunc(w.look().Neighbors, func(s appliance.NeighborState) bool { return s.Address == gateway.String() })
	}
	said, status := w.apply(
		"add other 192.0.2.0/24 via "+wan1.addr4().String(),
		"add other 192.0.2.0/24 dev wan0",
		"add nowhere 192.0.2.0/24 dev wan0",
		"# nothing",
		"replace main 0.0.0.0/0 dev wan1",
		"delete other 0.0.0.0/0",
		"delete other 198.51.100.0/24",
		"add other 198.51.100.0/24 dev wan9",
		"add other 198.51.100.0/24 via 9.9.9.9",
		"add other 198.51.100.0/24 via "+wan1.addr6().String(),
		"add other 198.51.100.0/24 via "+wan1.gateway4().String(),
		"add local 198.51.100.0/24 dev wan0",
		"add other 198.51.100.0/24",
		"add other blackhole 198.51.100.0/24 dev wan0",
		"add other 2001:db8::/32 dev wan0 mtu 1000",
		"add other 2001:db8::/32 dev wan0 tos 0x10",
		"add other prohibit 198.51.100.0/24 metric 7",
		"add other 198.51.100.0/24 metric 8 nexthop dev wan0 nexthop via "+wan1.addr4().String()+" weight 2",
	)
	for _, line := range []string{
		"line 2: the table has such a route", "line 3: no table is called nowhere", "line 5: the route is the configuration's", "line 6: the route is the configuration's",
		"line 7: the table has no such route", "line 8: no port is called wan9", "line 9: gateway 9.9.9.9 is in no network", "line 10: gateway " + wan1.addr6().String() + " is of the other family",
		"line 11: gateway " + wan1.gateway4().String() + " is the router itself", "line 12: table local", "line 13: route goes nowhere", "line 14: a route of type blackhole goes nowhere",
		"line 15: mtu 1000, at least 1280", "line 16: IPv6 routes have no tos", "3 changes applied, 14 refused",
	} {
		if status != mgmt.StatusRefused || !strings.Contains(said, line) {
			t.Errorf("%q is missing; status %d:\n%s", line, status, said)
		}
	}
	if strings.Count(said, "\n") != 15 {
		t.Errorf("said:\n%s", said)
	}
	p, err := n.router.Start(testContext(t), lab.Command{Name: executable(t), Args: []string{"routes", "apply", "--json", "--control", w.control},
		Env: []string{asWeir + "=1"}, Stdin: strings.NewReader("foo\nreplace other 192.0.2.0/24 dev wan0")}) // without an end of the last line
	need(t, err)
	var report routesReport
	if err := p.Wait(); !strings.Contains(fmt.Sprint(err), "exit status 1") {
		t.Errorf("%v: %s", err, p.Output())
	}
	if err := json.Unmarshal([]byte(p.Output()), &report); err != nil || report.Applied != 1 || report.Refused != 1 || report.Errors[0].Line != 1 {
		t.Errorf("%v: %s", err, p.Output())
	}
	if s := w.shown("other", "192.0.2.0/24"); len(s) != 1 || s[0].Origin != "run-time" || !strings.Contains(s[0].Text, "wan0") {
		t.Errorf("%+v", s)
	}
	if s := w.shown("other", "0.0.0.0/0"); len(s) != 1 || s[0].Origin != "configuration" {
		t.Errorf("%+v", s)
	}
	if s := w.shown("other", "198.51.100.0/24"); len(s) != 2 || s[0].Metric != 7 || !strings.Contains(s[1].Text, "weight 2") {
		t.Errorf("%+v", s)
	}

	if known() {
		t.Fatal("a neighbour that nobody has is known")
	}
	w.applied("add other 203.0.113.0/28 via "+gateway.String(), "add other 203.0.113.16/28 via "+gateway.String()+" dev wan0")
	if !known() {
		t.Error("a gateway is not known")
	}
	w.applied("delete other 203.0.113.0/28")
	w.hangup()
	if !known() {
		t.Error("a gateway that a route leads to has gone")
	}
	w.applied("replace other blackhole 203.0.113.16/28")
	if known() {
		t.Error("a gateway that no route leads to has stayed")
	}
	if said, status := w.apply("add other 203.0.113.32/28 via "+gateway.String()+" dev wan0", "add other 203.0.113.32/28 via 10.0.2.78 dev wan0"); status != mgmt.StatusRefused {
		t.Error(said)
	}
	if slices.ContainsFunc(w.look().Neighbors, func(s appliance.NeighborState) bool { return s.Address == "10.0.2.78" }) {
		t.Error("the gateway of a route that was refused has stayed")
	}

	// The next configuration has one of the routes itself, and another port is gone.
	w.write(strings.Replace(config, "  other:\n    id: 100\n    routes: [", "  other:\n    id: 100\n    routes: [{to: 192.0.2.0/24, type: prohibit}, ", 1))
	w.reload()
	s := w.look()
	if s.RunTimeRoutes == nil || s.RunTimeRoutes.Lost != 1 || s.RunTimeRoutes.Routes != 4 || !strings.Contains(s.RunTimeRoutes.Some[0], "192.0.2.0/24 in table other: the route is the configuration's") {
		t.Errorf("%+v", s.RunTimeRoutes)
	}
	if s := w.shown("other", "192.0.2.0/24"); len(s) != 1 || s[0].Origin != "configuration" {
		t.Errorf("%+v", s)
	}
	if len(s.Trouble) > 0 || !known() {
		t.Errorf("trouble %v, gateway known: %v", s.Trouble, known())
	}
	w.write(strings.ReplaceAll(config, "other", "another"))
	w.reload()
	if s := w.look(); s.RunTimeRoutes == nil || s.RunTimeRoutes.Lost != 4 || s.RunTimeRoutes.Routes != 0 || known() {
		t.Errorf("%+v, gateway known: %v", s.RunTimeRoutes, known())
	}
}
