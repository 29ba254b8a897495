package policy

import (
	"net/netip"
	"testing"

	"weir/policy/packet"
)

// replyLab is a policy whose router has several addresses to answer from.
func replyLab(t *testing.T) *Snapshot {
	l := newLab(t)
	l.Ports[0].Addresses = append(l.Ports[0].Addresses, prefix("192.0.3.1/24"), prefix("fd00:1::1/64"), prefix("fe80::1/64"))
	l.Ports[1].Addresses = append(l.Ports[1].Addresses, prefix("198.51.101.1/24"))
	l.defaults()
	l.table("main", "0.0.0.0/0 via 198.51.101.7 em1", "::/0 via 2001:db8:2::7 em1", "10.9.0.0/16 dev em2", "10.10.0.0/16 prohibit", "10.11.0.0/16 via 192.0.3.9 em0 mtu 500")
	l.rule(1, "prohibit", Selector{IngressLo: true, HasIngress: true, To: prefix("10.12.0.0/16")})
	l.rule(2, "blackhole", Selector{From: prefix("198.51.100.0/22")}) // of no reply: it has no source yet
	l.rule(3, "blackhole", Selector{From: prefix("fd00:1::/64"), To: prefix("fd00:66::/32")})
	return l.compile()
}

// TestReply: where an error about a packet comes from, and which way it goes.
func TestReply(t *testing.T) {
	s := replyLab(t)
	linkLocal := netip.MustParseAddr("fe80::aa")
	for _, c := range []struct {
		port, sender string
		source, way  string // empty: none
		mtu          uint16
	}{
		{"em0", "192.0.2.9", "192.0.2.1", "em0", 1500}, // of the sender's subnet
		{"em0", "192.0.3.9", "192.0.3.1", "em0", 1500},
		{"em1", "192.0.3.9", "192.0.3.1", "em0", 1500},  // wherever the packet came in
		{"em0", "8.8.8.8", "198.51.101.1", "em1", 1400}, // of the gateway's subnet
		{"em0", "10.9.0.1", "192.0.2.1", "em2", 1500},   // of any port: that one has none
		{"em0", "10.11.0.1", "192.0.3.1", "em0", 500},
		{"em0", "10.10.0.1", "", "", 0},                 // no way
		{"em0", "10.12.0.1", "", "", 0},                 // the router may not
		{"em0", "198.51.100.1", "198.51.100.1", "-", 0}, // the router itself

		{"em0", "2001:db8:1::9", "2001:db8:1::1", "em0", 1500},
		{"em0", "fd00:1::9", "fd00:1::1", "em0", 1500},
		{"em0", "fd99::9", "fd00:1::1", "em1", 1400},           // the closest
		{"em0", "2001:db8:2::9", "2001:db8:1::1", "em1", 1400}, // of the port that the packet came in on
		{"em0", "fd00:66::9", "", "", 0},                       // a rule for that source
		{"em2", "2001:db8:9::9", "2001:db8:1::1", "em1", 1400}, // of any port
		{"em2", "fe80::9", "fe80::aa", "em2", 0},
		{"em0", "fe80::9", "fe80::aa", "em0", 0},
	} {
		k := key(t, s, "iif="+c.port+" src=192.0.2.9 dst=10.0.0.1")
		sender := netip.MustParseAddr(c.sender)
		k.Src, k.Family = sender.As16(), packet.IPv4
		if sender.Is6() {
			k.Family = packet.IPv6
		}
		var own packet.Key
		var v Verdict
		from, ok := s.Reply(&k, &own, linkLocal, &v)
		if !ok {
			if c.source != "" {
				t.Errorf("to %s, by %s: nothing, expected from %s", c.sender, c.port, c.source)
			}
			continue
		}
		way := s.PortName(v.Port)
		if v.Action == Punt {
			way = "-"
		}
		if from.Source.String() != c.source || way != c.way || from.MTU != c.mtu || v.MTU != 0 {
			t.Errorf("to %s, by %s: %+v by %s (%+v), expected %s by %s, MTU %d", c.sender, c.port, from, way, v, c.source, c.way, c.mtu)
		}
	}
}

// TestRedirect: who is told of which next hop.
func TestRedirect(t *testing.T) {
	l := newLab(t)
	l.Ports[0].Addresses = append(l.Ports[0].Addresses, prefix("192.0.3.1/24"))
	l.Ports[0].Redirects, l.Ports[3].Redirects = true, true
	l.defaults()
	l.table("main", "0.0.0.0/0 via 192.0.2.7 em0", "10.1.0.0/16 via 198.51.100.7 em1", "10.2.0.0/16 via 203.0.113.7 em0.100",
		"::/0 via fe80::7 em0", "2001:db8:9::/48 via 2001:db8:1::7 em0", "10.3.0.0/16 via 203.0.113.7 em0.100")
	s := l.compile()
	for _, c := range []struct{ spec, want string }{
		{"iif=em0 src=192.0.2.5 dst=8.8.8.8", "192.0.2.7"},
		{"iif=em0 src=192.0.2.5 dst=192.0.2.9", "192.0.2.9"},
		{"iif=em0 src=192.0.3.5 dst=8.8.8.8", ""},     // the gateway is in another subnet
		{"iif=em0 src=192.0.2.7 dst=8.8.8.8", ""},     // the sender is the next hop
		{"iif=em0 src=8.8.4.4 dst=8.8.8.8", ""},       // the sender is behind a router
		{"iif=em1 src=192.0.2.5 dst=8.8.8.8", ""},     // came in elsewhere
		{"iif=em1 src=198.51.100.5 dst=10.1.0.1", ""}, // may not
		{"iif=em0 src=192.0.2.5 dst=10.2.0.1", ""},    // leaves by a VLAN of the port
		{"iif=em0.100 src=203.0.113.5 dst=10.3.0.1", "203.0.113.7"},
		{"iif=em0 src=192.0.2.5 dst=8.8.8.8 ttl=1", ""},
		{"iif=em0 src=2001:db8:1::5 dst=2001:db8:7::1", "fe80::7"},
		{"iif=em0 src=fe80::5 dst=2001:db8:7::1", "fe80::7"},
		{"iif=em0 src=2001:db8:5::5 dst=2001:db8:7::1", ""},
		{"iif=em0 src=2001:db8:1::5 dst=2001:db8:9::1", ""}, // the gateway's link-local address is not known
		{"iif=em0 src=2001:db8:1::5 dst=2001:db8:1::9", "2001:db8:1::9"},
	} {
		k := key(t, s, c.spec)
		v := s.Evaluate(&k, nil)
		next, ok := s.Redirect(&k, &v)
		if got := map[bool]string{true: next.String()}[ok]; got != c.want {
			t.Errorf("%s: %q, expected %q", c.spec, got, c.want)
		}
	}
}
