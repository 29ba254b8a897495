package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"

	"weir/policy/packet"
)

// founding is the policy of the founding document's cases, and a rule for every kind of selector and action that this
// version has. Packets come in on em0 (group priority) and em1 (guests), and leave by wan0 and wan1, each of which has
// a gateway. Addresses of one family differ from those of the other only in their form.
const founding = `
system: {icmp: {per-destination: {rate: 0}}}
tables:
  main:
    id: 254
    routes:
      - {to: 0.0.0.0/0, via: 10.0.2.2}
      - {to: "::/0", via: "fd00:0:0:2::2"}
      - {to: 203.0.113.112/28, via: 10.0.2.2, tos: 0x10}
      - {to: 198.18.0.0/15, type: unreachable}
      - {to: "2001:db8:f0::/48", type: unreachable}
  x:                       # knows part of the world, falls through
    id: 100
    routes:
      - {to: 203.0.113.0/26, via: 10.0.3.2}
      - {to: "2001:db8:5:0::/60", via: "fd00:0:0:3::2"}
      - {to: 203.0.113.32/28, type: throw}
      - {to: "2001:db8:5:2::/64", type: throw}
  y:                       # keyed by source, sends what it knows to z
    id: 101
    key: source
    routes:
      - {from: 10.0.1.64/26, lookup: z}
      - {from: "fd00:0:0:1:1::/80", lookup: z}
  z:
    id: 102
    routes:
      - {to: 0.0.0.0/0, via: 10.0.3.2}
      - {to: "::/0", via: "fd00:0:0:3::2"}
  walled:                  # opaque
    id: 103
    on-miss: prohibit
    routes:
      - {to: 203.0.113.241/32, via: 10.0.2.2}
      - {to: "2001:db8:5:f1::/64", via: "fd00:0:0:2::2"}
  shut: {id: 104, on-miss: unreachable, routes: [{to: 203.0.113.129/32, via: 10.0.2.2}]}
  hole: {id: 105, on-miss: blackhole, routes: [{to: 203.0.113.161/32, via: 10.0.2.2}]}
  vague:                   # only default routes, which a rule suppresses
    id: 106
    routes:
      - {to: 0.0.0.0/0, via: 10.0.3.2}
      - {to: "::/0", via: "fd00:0:0:3::2"}
      - {to: 203.0.113.200/32, via: 10.0.3.2}
      - {to: "2001:db8:5:c8::/64", via: "fd00:0:0:3::2"}
rules:
  - {name: gold, priority: 100, iif-group: priority, lookup: x}
  - {name: by-source, priority: 200, lookup: y}
  - {name: expedited, priority: 300, dscp: 46, lookup: z}
  - {name: marked, priority: 310, fwmark: 0x10/0xf0, lookup: z}
  - {name: web, priority: 320, proto: tcp, dport: 8000-8099, lookup: z}
  - {name: from-port, priority: 330, proto: udp, sport: 4000, lookup: z}
  - {name: suppressed, priority: 340, lookup: vague, suppress-prefixlength: 0}
  - {name: jump, priority: 350, proto: udp, dport: 9000, goto: 500}
  - {name: walled, priority: 400, to: 203.0.113.240/28, lookup: walled}
  - {name: walled6, priority: 400, to: "2001:db8:5:f0::/60", lookup: walled}
  - {name: shut, priority: 410, to: 203.0.113.128/28, lookup: shut}
  - {name: hole, priority: 420, to: 203.0.113.160/28, lookup: hole}
  - {name: closed, priority: 430, to: 203.0.113.176/28, action: prohibit}
  - {name: closed6, priority: 430, to: "2001:db8:5:b0::/60", action: prohibit}
  - {name: gone, priority: 440, to: "2001:db8:5:a0::/60", action: blackhole}
  - {name: labelled, priority: 450, flowlabel: 0x12345, lookup: z}
  - {name: strangers, priority: 500, not: true, from: 10.0.0.0/8, lookup: z}
  - {name: strangers6, priority: 500, not: true, from: "fd00::/16", lookup: z}
  - {name: small, priority: 510, tos: 0x08, family: ipv4, lookup: z}
`

// known4 and known6 are addresses of the host behind em1 that table y knows.
var (
	known4 = netip.MustParseAddr("10.0.1.66")
	known6 = netip.MustParseAddr("fd00:0:0:1:1::66")
)

// newFounding is a network with that policy.
func newFounding(t *testing.T) (n *network, from, guests, wan0, wan1 *end) {
	n = newNetworkOf(t, endOptions{name: "em0", config: "group: priority"}, endOptions{name: "em1", config: "group: guests"},
		endOptions{name: "wan0"}, endOptions{name: "wan1", config: "mtu: 1400"})
	need(t, n.ends[1].AddAddress(hostPort, known4.String()+"/24"), n.ends[1].AddAddress(hostPort, known6.String()+"/64"))
	for _, e := range n.ends {
		e.watch()
	}
	return n, n.ends[0], n.ends[1], n.ends[2], n.ends[3]
}

// outcome is what becomes of a packet: where it leaves, or which error comes back; the zero one is silence.
type outcome struct {
	port       string
	kind, code uint8
}

func (o outcome) String() string {
	switch {
	case o.port != "":
		return "leaves by " + o.port
	case o.kind != 0 || o.code != 0:
		return fmt.Sprintf("ICMP %d/%d", o.kind, o.code)
	}
	return "silence"
}

// outcomes finds what became of every packet that was sent, by its id. Twice something is an error.
func (n *network) outcomes() map[uint32]outcome {
	n.t.Helper()
	found := make(map[uint32]outcome)
	for _, e := range n.ends {
		for _, f := range e.frames.all() {
			id, ok := idOf(f.Data)
			if !ok || id >= 0xf0000000 {
				continue
			}
			k := parsed(n.t, f.Data)
			o := outcome{port: e.port}
			// Packets that are sent are UDP, TCP or echo requests; so other ICMP is an error about one.
			if k.Fragment != packet.FragmentNone {
				// no error of ours
			} else if k.Proto == packet.ProtoICMP && k.ICMPType != 8 || k.Proto == packet.ProtoICMPv6 && k.ICMPType != 128 {
				o = outcome{kind: k.ICMPType, code: k.ICMPCode}
			}
			if first, twice := found[id]; twice {
				n.t.Errorf("packet %d: %v and %v", id, first, o)
			}
			found[id] = o
		}
	}
	return found
}

// TestFoundingCases: real packets go where the founding document wants them.
func TestFoundingCases(t *testing.T) {
	n, em0, em1, wan0, wan1 := newFounding(t)
	w := n.start(n.config(founding))
	addr := netip.MustParseAddr
	type tcase struct {
		what string
		from *end
		s    spec
		want outcome
	}
	v4 := func(host int) netip.Addr { return addr(fmt.Sprintf("203.0.113.%d", host)) }
	v6 := func(net int) netip.Addr { return addr(fmt.Sprintf("2001:db8:5:%x::9", net)) }
	to := func(e *end) outcome { return outcome{port: e.port} }
	cases := []tcase{
		{"priority, x knows", em0, spec{dst: v4(10)}, to(wan1)},
		{"priority, x knows", em0, spec{dst: v6(1)}, to(wan1)},
		{"priority, x does not know: main", em0, spec{dst: v4(70)}, to(wan0)},
		{"priority, x does not know: main", em0, spec{dst: v6(0x40)}, to(wan0)},
		{"priority, x throws: main", em0, spec{dst: v4(33)}, to(wan0)},
		{"priority, x throws: main", em0, spec{dst: v6(2)}, to(wan0)},
		{"no priority", em1, spec{dst: v4(10)}, to(wan0)},
		{"no priority", em1, spec{dst: v6(1)}, to(wan0)},
		{"source known to y goes by z", em1, spec{src: known4, dst: v4(10)}, to(wan1)},
		{"source known to y goes by z", em1, spec{src: known6, dst: v6(1)}, to(wan1)},
		{"opaque table knows", em1, spec{dst: v4(241)}, to(wan0)},
		{"opaque table knows", em1, spec{dst: v6(0xf1)}, to(wan0)},
		{"opaque table prohibits", em1, spec{dst: v4(250)}, outcome{kind: 3, code: 13}},
		{"opaque table prohibits", em1, spec{dst: v6(0xff)}, outcome{kind: 1, code: 1}},
		{"opaque table: unreachable", em1, spec{dst: v4(130)}, outcome{kind: 3, code: 0}},
		{"opaque table: blackhole", em1, spec{dst: v4(165)}, outcome{}},
		{"rule prohibits", em1, spec{dst: v4(180)}, outcome{kind: 3, code: 13}},
		{"rule prohibits", em1, spec{dst: v6(0xb1)}, outcome{kind: 1, code: 1}},
		{"rule is a blackhole", em1, spec{dst: v6(0xa1)}, outcome{}},
		{"route is unreachable", em1, spec{dst: addr("198.18.0.1")}, outcome{kind: 3, code: 1}},
		{"route is unreachable", em1, spec{dst: addr("2001:db8:f0::1")}, outcome{kind: 1, code: 0}},
		{"DSCP", em1, spec{dst: v4(70), tos: 46<<2 | 1}, to(wan1)},
		{"DSCP", em1, spec{dst: v6(0x40), tos: 46<<2 | 1}, to(wan1)},
		{"other DSCP", em1, spec{dst: v4(70), tos: 45 << 2}, to(wan0)},
		{"TCP port", em1, spec{dst: v4(70), proto: layers.IPProtocolTCP, dport: 8042}, to(wan1)},
		{"TCP port", em1, spec{dst: v6(0x40), proto: layers.IPProtocolTCP, dport: 8042}, to(wan1)},
		{"the same port of UDP", em1, spec{dst: v4(70), dport: 8042}, to(wan0)},
		{"another TCP port", em1, spec{dst: v4(70), proto: layers.IPProtocolTCP, dport: 8100}, to(wan0)},
		{"source port", em1, spec{dst: v4(70), sport: 4000}, to(wan1)},
		{"a first fragment has no ports for rules", em1, spec{dst: v4(70), sport: 4000, fragment: packet.FragmentFirst}, to(wan0)},
		{"default route is suppressed", em1, spec{dst: v4(201)}, to(wan0)},
		{"a longer route is not", em1, spec{dst: v4(200)}, to(wan1)},
		{"a longer route is not", em1, spec{dst: v6(0xc8)}, to(wan1)},
		{"goto skips the wall", em1, spec{dst: v4(250), dport: 9000}, to(wan0)},
		{"goto skips the wall", em1, spec{dst: v6(0xff), dport: 9000}, to(wan0)},
		{"not from here", em1, spec{src: addr("192.0.2.77"), dst: v4(70)}, to(wan1)},
		{"not from here", em1, spec{src: addr("2001:db8:77::1"), dst: v6(0x40)}, to(wan1)},
		{"flow label", em1, spec{dst: v6(0x40), flow: 0x12345}, to(wan1)},
		{"TOS", em1, spec{dst: v4(70), tos: 0x08}, to(wan1)},
		{"TTL", em1, spec{dst: v4(70), ttl: 1}, outcome{kind: 11, code: 0}},
		{"hop limit", em1, spec{dst: v6(0x40), ttl: 1}, outcome{kind: 3, code: 0}},
		{"TTL, and prohibited", em1, spec{dst: v4(250), ttl: 1}, outcome{kind: 3, code: 13}},
		{"too big for wan1", em0, spec{dst: v4(10), df: true, payload: 1400}, outcome{kind: 3, code: 4}},
		{"too big for wan1", em0, spec{dst: v6(1), payload: 1400}, outcome{kind: 2, code: 0}},
		{"not too big for wan0", em1, spec{dst: v6(1), payload: 1400}, to(wan0)},
		{"martian", em1, spec{src: addr("127.0.0.1"), dst: v4(70)}, outcome{}},
		{"the router's own source", em1, spec{src: em0.gateway4(), dst: v4(70)}, outcome{}},
	}
	for i := range cases {
		c := &cases[i]
		if c.s.id = uint32(i); !c.s.src.IsValid() {
			c.s.src = c.from.addr(c.s.dst)
		}
		c.from.sent(c.s)
	}
	n.settle(w)
	got := n.outcomes()
	for i, c := range cases {
		if got[uint32(i)] != c.want {
			t.Errorf("%s (%s to %s): %v, expected %v", c.what, c.s.src, c.s.dst, got[uint32(i)], c.want)
		}
	}
}

// randomSpec is a packet that the policy has something to say about, and its description for weir explain.
func randomSpec(r *rand.Rand, e *end, id uint32) (spec, map[string]any) {
	s := spec{id: id, ttl: uint8(2 + r.IntN(250)), payload: 32 + r.IntN(100)}
	if r.IntN(20) == 0 {
		s.ttl = 1
	}
	if r.IntN(8) == 0 {
		s.payload = 1330 + r.IntN(80)
	}
	v6 := r.IntN(2) == 0
	if v6 {
		s.src, s.dst = e.addr6(), netip.MustParseAddr(fmt.Sprintf("2001:db8:5:%x::9", r.IntN(256)))
		if r.IntN(4) == 0 {
			s.src = known6
		}
		if r.IntN(10) == 0 {
			s.dst = netip.MustParseAddr("2001:db8:f0::7")
		}
		if r.IntN(4) == 0 {
			s.flow = 0x12345
		}
	} else {
		s.src, s.dst = e.addr4(), netip.MustParseAddr(fmt.Sprintf("203.0.113.%d", r.IntN(256)))
		s.df = r.IntN(2) == 0
		if r.IntN(4) == 0 {
			s.src = known4
		}
		if r.IntN(10) == 0 {
			s.dst = netip.MustParseAddr("198.18.3.4")
		}
	}
	if r.IntN(2) == 0 {
		s.tos = []uint8{46 << 2, 46<<2 | 2, 0x08, 0x10, uint8(r.IntN(256))}[r.IntN(5)]
	}
	description := map[string]any{"iif": e.port, "src": s.src.String(), "dst": s.dst.String(), "tos": s.tos, "ttl": s.ttl}
	switch r.IntN(3) {
	case 0:
		s.proto = layers.IPProtocolICMPv4
		description["proto"], description["icmp-type"] = "icmp", 8
		if v6 {
			s.proto = layers.IPProtocolICMPv6
			description["proto"], description["icmp-type"] = "icmpv6", 128
		}
	case 1:
		s.proto, description["proto"] = layers.IPProtocolTCP, "tcp"
		description["tcp-flags"] = "syn"
	default:
		s.proto, description["proto"] = layers.IPProtocolUDP, "udp"
	}
	if s.proto == layers.IPProtocolTCP || s.proto == layers.IPProtocolUDP {
		s.sport, s.dport = []uint16{4000, 5000}[r.IntN(2)], []uint16{7999, 8000, 8099, 8100, 9000}[r.IntN(5)]
		description["sport"], description["dport"] = s.sport, s.dport
	}
	if r.IntN(8) == 0 && s.payload < 1000 {
		s.fragment = packet.FragmentFirst + packet.Fragment(r.IntN(2))
		description["fragment"] = []string{"", "first", "later"}[s.fragment]
		if s.fragment == packet.FragmentLater {
			for _, name := range []string{"sport", "dport", "icmp-type", "tcp-flags"} {
				delete(description, name)
			}
		}
	}
	if v6 {
		description["flowlabel"] = s.flow
	} else {
		description["df"] = s.df
	}
	return s, description
}

// TestRandomPackets: every packet really goes where `weir explain` says that it goes, from the same file.
func TestRandomPackets(t *testing.T) {
	n, em0, em1, wan0, _ := newFounding(t)
	w := n.start(n.config(founding))
	n.warm([2]*end{em0, em1}, [2]*end{wan0, em0})
	for i, dst := range []netip.Addr{known4, known6} { // whose replies would go by table z
		s := spec{src: em0.addr(dst), dst: dst, id: 0xf0f00000 + uint32(i)}
		em0.sent(s)
		em1.frames.await(t, "packet to a host that table y knows", is(s.id))
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	const packets = 1500
	var frames [packets][]byte
	var from [packets]*end
	var descriptions bytes.Buffer
	out := json.NewEncoder(&descriptions)
	lines := make([]string, packets)
	for i := range packets {
		from[i] = []*end{em0, em1, wan0}[r.IntN(3)]
		s, description := randomSpec(r, from[i], uint32(i))
		frames[i] = from[i].frame(s)
		k := parsed(t, frames[i])
		description["length"] = k.Length
		line := must[[]byte](t)(json.Marshal(description))
		lines[i] = string(line)
		need(t, out.Encode(json.RawMessage(line)))
	}

	explain := exec.Command(executable(t), "explain", "-c", w.file, "--packets", "-")
	explain.Env = append(os.Environ(), asWeir+"=1")
	explain.Stdin = &descriptions
	var complaint bytes.Buffer
	explain.Stderr = &complaint
	answers, err := explain.Output()
	if err != nil {
		t.Fatalf("weir explain: %v: %s", err, complaint.String())
	}
	var want []outcome
	kinds := make(map[string]int)
	for scanner := bufio.NewScanner(bytes.NewReader(answers)); scanner.Scan(); {
		var d struct {
			Verdict, Port string
			ICMP          *struct{ Type, Code uint8 }
		}
		need(t, json.Unmarshal(scanner.Bytes(), &d))
		o := outcome{}
		switch {
		case d.Verdict == "forward":
			o.port = d.Port
		case d.ICMP != nil:
			o.kind, o.code = d.ICMP.Type, d.ICMP.Code
		}
		want = append(want, o)
		kinds[o.String()]++
	}
	if len(want) != packets {
		t.Fatalf("%d decisions about %d packets", len(want), packets)
	}
	t.Logf("expected: %v", kinds)

	// Errors are rate limited to 1,000 a second and port.
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for i, f := range frames {
		from[i].send(f)
		<-tick.C
	}
	n.settle(w)
	got := n.outcomes()
	wrong := 0
	for i, o := range want {
		id := uint32(i)
		if o.kind != 0 && mute(parsed(t, frames[i])) {
			o = outcome{} // none may be sent about it
		}
		if got[id] != o {
			if wrong++; wrong <= 10 {
				t.Errorf("packet %d: %v, weir explain says %v: %s", i, got[id], o, lines[i])
			}
		}
	}
	if wrong > 0 {
		t.Errorf("%d of %d packets wrong", wrong, packets)
	}
	if s := w.look(); s.Totals.ICMPLimited+s.Totals.ICMPSpared > 0 {
		t.Errorf("%d errors were not sent because of the rate limits; this test must stay below them", s.Totals.ICMPLimited+s.Totals.ICMPSpared)
	}
}

// mute tells the packets that no ICMP error may be sent about.
func mute(k packet.Key) bool { return k.Fragment == packet.FragmentLater }

// TestExplainAgreesByHand: the program's words for a packet that was sent, and that a person asks about.
func TestExplainAgreesByHand(t *testing.T) {
	n, em0, _, _, wan1 := newFounding(t)
	w := n.start(n.config(founding))
	s := spec{src: em0.addr4(), dst: netip.MustParseAddr("203.0.113.10"), sport: 1, dport: 2, id: 1}
	em0.sent(s)
	frame := wan1.frames.await(t, "packet", is(1))
	if sum := binary.BigEndian.Uint16(frame[24:]); sum == 0 {
		t.Error("no header checksum")
	}
	explain := exec.Command(executable(t), "explain", "-c", w.file, "iif=em0", "src="+s.src.String(), "dst="+s.dst.String(), "sport=1", "dport=2")
	explain.Env = append(os.Environ(), asWeir+"=1")
	text := string(must[[]byte](t)(explain.Output()))
	for _, word := range []string{"gold", "203.0.113.0/26", "wan1", "10.0.3.2"} {
		if !slices.Contains(strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(" \n,():\"", r) }), word) {
			t.Errorf("weir explain does not say %q:\n%s", word, text)
		}
	}
}
