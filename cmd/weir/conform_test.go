package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/gopacket/gopacket/layers"

	"weir/perf/lab"
	"weir/policy/packet"
)

// besideRules ask tables of their own about these senders, or refuse what they send, and tell them that. Each has its part of
// 192.0.2.0/24 and of 2001:db8:99::/64. A table of weir's that is opaque is, in Linux, one that ends in a route of that type.
// Each table knows one network.
var besideRules = []struct {
	action, onMiss string
	told           [2]string // in each family; what is forwarded is
}{
	{action: "blackhole"},
	{action: "unreachable", told: [2]string{"em1 3/0 from 10.0.1.1", "em1 1/0 from fd00::1"}},
	{action: "prohibit", told: [2]string{"em1 3/13 from 10.0.1.1", "em1 1/1 from fd00::1"}},
	{onMiss: "blackhole"},
	{onMiss: "unreachable", told: [2]string{"em1 3/1 from 10.0.1.1", "em1 1/0 from fd00::1"}},
	{onMiss: "prohibit", told: [2]string{"em1 3/13 from 10.0.1.1", "em1 1/1 from fd00::1"}},
	{onMiss: "fall-through", told: [2]string{"em1 ip 60", "em1 ip 80"}},
}

// besideNets are the networks of those tables, and the way there.
var besideNets = []lab.Route{{To: "198.18.1.0/24", Via: "10.0.1.2"}, {To: "2001:db8:8::/64", Via: "fd00:0:0:1::2"}}

// besideSenders are those of a rule.
func besideSenders(k int) [2]string {
	return [2]string{fmt.Sprintf("192.0.2.%d/28", 16*(k+1)), fmt.Sprintf("2001:db8:99:0:%d::/80", k+1)}
}

// besideTables are the tables and rules of weir's configuration, behind table main.
func besideTables() string {
	tables, rules := "", "rules:\n"
	for k, r := range besideRules {
		what := ", action: " + r.action
		if r.onMiss != "" {
			what = fmt.Sprintf(", lookup: t%d", k)
			tables += fmt.Sprintf("  t%d: {id: %d, on-miss: %s, routes: [", k, 101+k, r.onMiss)
			for _, to := range besideNets {
				tables += fmt.Sprintf("{to: %q, via: %q}, ", to.To, to.Via)
			}
			tables += "]}\n"
		}
		for _, from := range besideSenders(k) {
			rules += fmt.Sprintf("  - {priority: %d, from: %q%s}\n", 101+k, from, what)
		}
	}
	return tables + rules
}

// addRules adds them to the router's kernel.
func (n *network) addRules() {
	n.t.Helper()
	for k, r := range besideRules {
		for family, from := range besideSenders(k) {
			rule := lab.Rule{Priority: 101 + k, IPv6: family == 1, From: netip.MustParsePrefix(from), Action: r.action}
			if r.onMiss != "" {
				rule.Table = 101 + k
				to := besideNets[family]
				to.Table = rule.Table
				need(n.t, n.router.AddRoute(to))
				if r.onMiss != "fall-through" {
					need(n.t, n.router.AddRoute(lab.Route{To: []string{"0.0.0.0/0", "::/0"}[family], Type: r.onMiss, Table: rule.Table}))
				}
			}
			need(n.t, n.router.AddRule(rule))
		}
	}
}

// logical is the port of the router that the end's frames belong to: that of its tags.
func (e *end) logical() string {
	name := e.port
	for _, id := range e.tags {
		if id != 0 {
			name += fmt.Sprintf(".%d", id)
		}
	}
	return name
}

// tagged is a frame with the end's tags.
func (e *end) tagged(frame []byte) []byte {
	var tags []byte
	for _, id := range e.tags {
		tags = append(tags, 0x81, 0)
		tags = binary.BigEndian.AppendUint16(tags, id)
	}
	return slices.Concat(frame[:12], tags, frame[12:])
}

// untagged is a frame that the router sent without its tags, which must be those of the end.
func (e *end) untagged(frame []byte) []byte {
	e.n.t.Helper()
	k := parsed(e.n.t, frame)
	var want []uint16
	for _, id := range e.tags {
		if id != 0 {
			want = append(want, id)
		}
	}
	if !slices.Equal(k.VLAN[:k.Tags], want) {
		e.n.t.Errorf("tags %v to %s, expected %v: %x", k.VLAN[:k.Tags], e.port, want, frame)
	}
	return slices.Concat(frame[:12], frame[k.L3()-2:])
}

// seen sends all cases through a router, and returns what came out because of each.
func (n *network) seen(cases []besideCase) (all [][]sight) {
	n.t.Helper()
	for _, c := range cases {
		if c.s.proto == layers.IPProtocolTCP {
			c.s.sport = uint16(c.s.id)
		}
		if !c.s.src.IsValid() {
			c.s.src = n.ends[0].addr(c.s.dst)
		}
		if c.bare {
			c.s.flow = c.s.id
		}
		frame := n.ends[0].frame(c.s)
		if c.bare {
			frame = withoutPayload(frame)
		}
		if c.edit != nil {
			frame = c.edit(frame)
		}
		all = append(all, n.through(frame, c.s.id))
	}
	return all
}

// withoutPayload leaves of a packet its IP header.
func withoutPayload(frame []byte) []byte {
	if frame[14]>>4 == 4 {
		frame = frame[:34]
		binary.BigEndian.PutUint16(frame[16:], 20)
		return fixIPv4(frame)
	}
	frame = frame[:54]
	binary.BigEndian.PutUint16(frame[18:], 0)
	return frame
}

// compare holds what came out of weir to what came out of Linux, and both to the cases.
func compare(t *testing.T, cases []besideCase, linux, weir [][]sight) {
	t.Helper()
	same := func(a, b sight) bool {
		return a.port == b.port && bytes.Equal(withoutID(t, a.frame), withoutID(t, b.frame))
	}
	for i, c := range cases {
		name := c.name
		if c.s.dst.Is6() {
			name += ", IPv6"
		}
		want := c.want
		if got := outline(t, linux[i]); got != want {
			t.Errorf("%s: Linux: %q, expected %q\n%v", name, got, want, linux[i])
		}
		if c.otherwise != nil {
			want = *c.otherwise
		}
		if got := outline(t, weir[i]); got != want {
			t.Errorf("%s: weir: %q, expected %q\n%v", name, got, want, weir[i])
		}
		if equal := slices.EqualFunc(linux[i], weir[i], same); !equal && c.differs == "" {
			t.Errorf("%s:\nLinux %v\nweir  %v", name, linux[i], weir[i])
		} else if equal && c.differs != "" {
			t.Errorf("%s: the same, although %s", name, c.differs)
		}
	}
}

// TestBesideKernel: what hosts see of whatever they send is what a kernel router would have shown them, byte for byte. With
// VLANs, which not every kernel has, weir's frames without their tags are those of a kernel router without VLANs.
func TestBesideKernel(t *testing.T) {
	kernel := newBeside(t)
	kernel.startKernel()
	cases := slices.Concat(besideCases(), conformCases())
	for i := range cases {
		cases[i].s.id = uint32(0x1000 + i)
	}
	linux := kernel.seen(cases)
	for _, shape := range []struct {
		name     string
		from, to []uint16
	}{
		{"untagged", nil, nil},
		{"priority", []uint16{0}, nil},
		{"pop", []uint16{100}, nil},
		{"push", nil, []uint16{200}},
		{"exchange", []uint16{100}, []uint16{200}},
		{"pop two", []uint16{100, 300}, nil},
		{"push two", nil, []uint16{200, 300}},
		{"exchange two", []uint16{100, 300}, []uint16{200, 301}},
		{"one to two", []uint16{100}, []uint16{200, 300}},
	} {
		t.Run(shape.name, func(t *testing.T) {
			n := newBeside(t, shape.from, shape.to)
			w := n.start(besideConfig(n))
			need(t, n.router.SetSysctl("net/ipv6/auto_flowlabels", "0"))
			n.awaitLinkLocal("em0")
			cases, linux := cases, linux
			var own []int
			for i, c := range cases { // the kernel may not have the VLAN
				linkLocal := strings.Contains(c.want, "link-local") && n.ends[0].logical() != "em0"
				if linkLocal || c.local && n.ends[0].logical()+n.ends[1].logical() != "em0em1" {
					own = append(own, i)
				}
			}
			cases, linux = without(cases, own), without(linux, own)
			compare(t, cases, linux, n.seen(cases))
			if s := w.rest(); s.Totals.Fragmented == 0 || s.Totals.ICMPLimited+s.Totals.Drops[packet.TransmitFull.String()] > 0 {
				t.Errorf("counted %+v", s.Totals)
			}
		})
	}
}

// without leaves out what has one of these indexes.
func without[T any](list []T, indexes []int) (rest []T) {
	for i, x := range list {
		if !slices.Contains(indexes, i) {
			rest = append(rest, x)
		}
	}
	return rest
}
