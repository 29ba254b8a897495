package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"weir/perf/lab"
)

// kernelProtocol is the originator of weir's routes and rules in the kernel.
const kernelProtocol = 119

// byPort sends the services' port 7000 to wan0 and 7001 to wan1, by rules and tables that the kernel gets too.
func byPort(n *network, tables, rules string) string {
	wan0, wan1 := n.end("wan0"), n.end("wan1")
	return n.config(fmt.Sprintf(`
system: {kernel-routes: true}
groups: {outside: 9}
tables:
  x: {id: 100, on-miss: unreachable, routes: [{to: 0.0.0.0/0, via: %s}, {to: "::/0", via: "%s"}, %s]}
  y: {id: 101, routes: [{to: 0.0.0.0/0, via: %s}, {to: "::/0", via: "%s"}]}
rules:
  - {name: x, priority: 100, proto: udp, dport: 7000, lookup: x}
  - {name: y, priority: 200, proto: udp, dport: 7001, lookup: y}
  - {name: inside, priority: 300, to: 198.18.0.0/15, lookup: y, suppress-ifgroup: outside}
  %s
`, wan0.addr4(), wan0.addr6(), tables, wan1.addr4(), wan1.addr6(), rules))
}

// kernelFollows waits until the kernel has what the router runs.
func (w *weir) kernelFollows() {
	w.t.Helper()
	eventually(w.t, "the kernel has the policy", func() (bool, any) {
		s := w.look()
		return s.KernelRoutes != nil && s.KernelRoutes.Generation == s.Generation && len(s.Trouble) == 0, fmt.Sprintf("%+v %q", s.KernelRoutes, s.Trouble)
	})
}

// ours counts the router's routes and rules in its kernel.
func (n *network) ours() (count int) {
	n.t.Helper()
	need(n.t, n.router.Do(func() error {
		for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
			routes, err := netlink.RouteListFiltered(family, &netlink.Route{Protocol: kernelProtocol}, netlink.RT_FILTER_PROTOCOL|netlink.RT_FILTER_TABLE)
			if err != nil {
				return err
			}
			rules, err := netlink.RuleList(family)
			if err != nil {
				return err
			}
			count += len(routes)
			for _, r := range rules {
				if r.Protocol == kernelProtocol {
					count++
				}
			}
		}
		return nil
	}))
	return count
}

// foreigners gives the router's kernel a route and a rule of somebody else's beside those of byPort, and returns how to see
// whether they are there.
func (n *network) foreigners() (there func() bool) {
	n.t.Helper()
	route := lab.Route{To: "198.51.100.0/24", Table: 100, Type: "blackhole"}
	need(n.t, n.router.AddRoute(route), n.router.AddRule(lab.Rule{Priority: 100, From: netip.MustParsePrefix("198.51.100.0/24"), Table: 100}))
	return func() (both bool) {
		need(n.t, n.router.Do(func() error {
			routes, err := netlink.RouteListFiltered(unix.AF_INET, &netlink.Route{Table: 100}, netlink.RT_FILTER_TABLE)
			if err != nil {
				return err
			}
			rules, err := netlink.RuleList(unix.AF_INET)
			route := slices.ContainsFunc(routes, func(r netlink.Route) bool { return r.Dst != nil && r.Dst.String() == "198.51.100.0/24" })
			rule := slices.ContainsFunc(rules, func(r netlink.Rule) bool { return r.Src != nil && r.Src.String() == "198.51.100.0/24" })
			both = route && rule
			return err
		}))
		return both
	}
}

// TestKernelRoutes: the kernel follows the router. Where the router is killed, traffic goes on by the same tables; the next
// router takes over what is there, a commit changes what differs and no more, and the end takes away what is the router's.
func TestKernelRoutes(t *testing.T) {
	n := newNetworkOf(t, endOptions{name: "em0"}, endOptions{name: "wan0", config: "group: outside"}, endOptions{name: "wan1"})
	from, wan0, wan1 := n.ends[0], n.ends[1], n.ends[2]
	serve(t, wan0, wan1)
	need(t, n.router.EnableForwarding())
	foreign := n.foreigners()
	w := n.start(byPort(n, `{to: 198.18.1.0/24, via: 10.0.1.2}, {to: 198.18.2.0/24, type: throw}`, ""))
	n.warm([2]*end{from, wan0}, [2]*end{from, wan1})
	w.kernelFollows()
	if group := must[string](t)(n.router.Sysfs("class/net/wan0/netdev_group")); strings.TrimSpace(group) != "9" {
		t.Errorf("group of wan0 is %s", group)
	}

	// 5,000 packets a second in four flows, of both families by both tables.
	const rate = 5000
	at := func(h *end, f int, port uint16) *lab.UDPReceiver {
		return must[*lab.UDPReceiver](t)(h.ListenUDP(netip.AddrPortFrom(steady[f], port)))
	}
	var right, wrong []*lab.UDPReceiver
	var streams []<-chan streamed
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	for f := range 2 {
		right = append(right, at(wan0, f, 7000), at(wan1, f, 7001))
		wrong = append(wrong, at(wan1, f, 7000), at(wan0, f, 7001))
	}
	for _, r := range right {
		streams = append(streams, stream(ctx, from.Host, lab.UDPOptions{To: r.Address(), Size: 64, Rate: perSecond(rate) / 4}))
	}
	flows := func(what string) {
		t.Helper()
		for _, r := range right {
			was := r.Report().Received
			eventually(t, what, func() (bool, any) { now := r.Report().Received; return now > was+200, now })
		}
	}
	gaps := func() (missing uint64) {
		for _, r := range right {
			for _, f := range r.Report().Flows {
				missing += f.Gaps
			}
		}
		return missing
	}
	// lost tells how many packets are missing since the count before, and how long they would have taken.
	lost := func(what string, before uint64) {
		n := gaps() - before
		t.Logf("%s: %d packets lost, %v at %d packets a second", what, n, time.Duration(n)*time.Second/rate, rate)
	}
	flows("traffic passes the router")

	before, had := gaps(), n.ours()
	w.kill()
	flows("traffic passes the kernel of the dead router")
	lost("killed", before)
	if now := n.ours(); now != had || had == 0 {
		t.Errorf("the kernel had %d of the router's rules and routes, and has %d after it was killed", had, now)
	}
	before = gaps()
	monitor := n.monitor()
	w.run()
	w.kernelFollows()
	flows("traffic passes the next router")
	lost("started again", before)
	if s := w.look(); s.Totals.Transmitted == 0 {
		t.Errorf("the router forwards nothing: %+v", s.Totals)
	}
	if seen := monitor.until(); len(seen) > 0 {
		t.Errorf("taking over changed the kernel:\n%s", strings.Join(seen, "\n"))
	}

	// One route is new, one has another gateway, one is gone, and a rule is new, in one family.
	w.write(byPort(n, `{to: 198.18.1.0/24, via: 10.0.2.2}, {to: "2001:db8:77::/48", type: prohibit}`,
		`- {name: new, priority: 400, from: 10.55.0.0/16, action: prohibit}`))
	w.reload()
	w.kernelFollows()
	want := []string{"add rule 400 of 119", "add route 198.18.1.0/24 table 100 of 119", "add route 2001:db8:77::/48 table 100 of 119",
		"remove route 198.18.2.0/24 table 100 of 119"}
	if seen := monitor.until(); !slices.Equal(slices.Sorted(slices.Values(seen)), slices.Sorted(slices.Values(want))) {
		t.Errorf("the reload made\n%s\nexpected\n%s", strings.Join(seen, "\n"), strings.Join(want, "\n"))
	}
	flows("traffic passes after the reload")

	stop()
	for i, s := range streams {
		got := <-s
		need(t, got.err)
		if r := right[i].Report(); len(r.Flows) != 1 || r.Foreign > 0 {
			t.Errorf("stream %d: %+v", i, r)
		}
	}
	for _, r := range wrong {
		if got := r.Report(); got.Received > 0 {
			t.Errorf("%d packets went by the other table", got.Received)
		}
	}
	w.finish()
	if left := n.ours(); left > 0 || !foreign() {
		t.Errorf("%d of the router's routes and rules are left; those of others are there: %v", left, foreign())
	}
	if group := must[string](t)(n.router.Sysfs("class/net/wan0/netdev_group")); strings.TrimSpace(group) != "0" {
		t.Errorf("group of wan0 stays %s", group)
	}
}

// TestKernelRoutesLeft: a start that fails leaves the kernel what it forwards by; one without kernel routes takes them away, and
// a reload does too.
func TestKernelRoutesLeft(t *testing.T) {
	n := newNetwork(t, "em0", "wan0", "wan1")
	from, wan0, wan1 := n.ends[0], n.ends[1], n.ends[2]
	serve(t, wan0, wan1)
	need(t, n.router.EnableForwarding())
	foreign := n.foreigners()
	good := byPort(n, "", "")
	w := n.start(good)
	w.kernelFollows()
	had := n.ours()
	w.kill()
	w.write(strings.Replace(good, "  wan1:", "  em9:\n    mode: copy\n  wan1:", 1))
	w.fails()
	receiver := must[*lab.UDPReceiver](t)(wan1.ListenUDP(netip.AddrPortFrom(steady[0], 7001)))
	must[lab.UDPSent](t)(from.SendUDP(testContext(t), lab.UDPOptions{To: receiver.Address(), Count: 100, Rate: 1000}))
	eventually(t, "the kernel forwards", func() (bool, any) { r := receiver.Report(); return r.Received > 0, r })
	if now := n.ours(); now != had {
		t.Errorf("the kernel had %d of the router's, and has %d after a start that failed", had, now)
	}

	w.write(strings.Replace(good, "kernel-routes: true", "kernel-routes: false", 1))
	w.run()
	gone := func() (bool, any) { left := n.ours(); return left == 0 && foreign(), left }
	eventually(t, "a start without kernel routes removes them", gone)
	w.write(good)
	w.reload()
	w.kernelFollows()
	if now := n.ours(); now != had {
		t.Errorf("the kernel had %d of the router's, and has %d now", had, now)
	}
	w.write(strings.Replace(good, "kernel-routes: true", "kernel-routes: false", 1))
	w.reload()
	eventually(t, "a reload without kernel routes removes them", gone)
}

// TestKernelRoutesComeBack: a link that goes down loses its routes in the kernel, and has them again when it comes up; one that
// somebody else has taken makes the router degraded until it is free.
func TestKernelRoutesComeBack(t *testing.T) {
	n := newNetwork(t, "em0", "wan0", "wan1")
	w := n.start(byPort(n, "{to: 198.18.1.0/24, via: 10.0.1.2}", ""))
	w.unbalanced = true // what is under way when the link goes down
	w.kernelFollows()
	had := n.ours()
	need(t, n.router.SetDown("wan1"))
	eventually(t, "the kernel drops routes of a link that is down", func() (bool, any) { now := n.ours(); return now < had, now })
	need(t, n.router.SetUp("wan1"))
	eventually(t, "the routes come back", func() (bool, any) { now := n.ours(); return now == had, now })

	theirs := lab.Route{To: "198.18.3.0/24", Table: 100, Type: "blackhole"}
	need(t, n.router.AddRoute(theirs))
	w.write(byPort(n, "{to: 198.18.1.0/24, via: 10.0.1.2}, {to: 198.18.3.0/24, via: 10.0.1.2}", ""))
	w.reload()
	eventually(t, "the router says that somebody else has a route", func() (bool, any) {
		out, _ := w.call("show", "counters")
		return strings.Contains(out, "DEGRADED: kernel routes: add route 198.18.3.0/24 metric 0 table 100: somebody else's is there"), out
	})
	need(t, n.router.RemoveRoute(theirs))
	w.reload()
	w.kernelFollows()
	if now := n.ours(); now != had+1 {
		t.Errorf("%d routes and rules, expected %d", now, had+1)
	}
}

// monitor sees every change of routes and rules in the router's kernel.
type monitor struct {
	n      *network
	socket *nl.NetlinkSocket
}

func (n *network) monitor() *monitor {
	n.t.Helper()
	m := &monitor{n: n}
	need(n.t, n.router.Do(func() (err error) {
		m.socket, err = nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_IPV4_RULE, unix.RTNLGRP_IPV6_RULE)
		return err
	}))
	n.t.Cleanup(m.socket.Close)
	return m
}

// until is what the monitor has seen since the last time, but for what the kernel does itself.
func (m *monitor) until() (seen []string) {
	t := m.n.t
	t.Helper()
	sentinel := lab.Route{To: "192.0.2.250/32", Table: 250, Type: "blackhole"}
	need(t, m.n.router.AddRoute(sentinel), m.n.router.RemoveRoute(sentinel))
	for {
		messages, _, err := m.socket.Receive()
		need(t, err)
		for _, message := range messages {
			text := describeChange(message.Header.Type, message.Data)
			if strings.HasPrefix(text, "remove route 192.0.2.250/32") {
				return seen
			}
			if text != "" && !strings.HasPrefix(text, "add route 192.0.2.250/32") {
				seen = append(seen, text)
			}
		}
	}
}

// describeChange is empty for routes and rules of the kernel's own.
func describeChange(kind uint16, data []byte) string {
	attributes, err := nl.ParseRouteAttr(data[unix.SizeofRtMsg:])
	if err != nil {
		return err.Error()
	}
	verb, what := "add", "route"
	switch kind {
	case unix.RTM_DELROUTE:
		verb = "remove"
	case unix.RTM_NEWRULE:
		what = "rule"
	case unix.RTM_DELRULE:
		verb, what = "remove", "rule"
	}
	of := map[uint16][]byte{}
	for _, a := range attributes {
		of[a.Attr.Type] = a.Value
	}
	if what == "rule" {
		return fmt.Sprintf("%s rule %d of %d", verb, binary.NativeEndian.Uint32(of[unix.FRA_PRIORITY]), of[unix.FRA_PROTOCOL][0])
	}
	protocol := data[5]
	if protocol == unix.RTPROT_KERNEL {
		return ""
	}
	addr, _ := netip.AddrFromSlice(of[unix.RTA_DST])
	return fmt.Sprintf("%s route %s/%d table %d of %d", verb, addr, data[1], binary.NativeEndian.Uint32(of[unix.RTA_TABLE]), protocol)
}
