package demo

import "net/netip"

// protocol is a way to send a flow, by the name that weir explain has for it.
type protocol string

const (
	icmp protocol = "icmp" // ICMPv6 for IPv6
	tcp  protocol = "tcp"
	udp  protocol = "udp"
)

// flow is one case of the demonstration, in both families.
type flow struct {
	title     string
	client    string // host that sends
	port      string // of the router, where it comes in
	ends      [2]ends
	tos       int
	dport     uint16 // of TCP and UDP
	protocols []protocol

	// What example.yaml means for it. Another configuration makes these meaningless.
	uplink string // host where it arrives; empty: prohibited
}

type ends struct{ from, to netip.Addr }

func pair(from4, to4, from6, to6 string) [2]ends {
	return [2]ends{
		{netip.MustParseAddr(from4), netip.MustParseAddr(to4)},
		{netip.MustParseAddr(from6), netip.MustParseAddr(to6)},
	}
}

var (
	everyProtocol = []protocol{icmp, tcp, udp}

	known   = [2]string{"203.0.113.10", "2001:db8:5:1::10"}    // to table x
	unknown = [2]string{"203.0.113.200", "2001:db8:5:2::10"}   // to table x
	walled  = [2]string{"203.0.113.241", "2001:db8:5:f::241"}  // known to table walled
	refused = [2]string{"203.0.113.250", "2001:db8:5:f::250"}  // unknown to table walled
	alice   = [2]string{"192.0.2.10", "2001:db8:1::10"}        // client-a
	bob     = [2]string{"198.51.100.20", "2001:db8:2::20"}     // client-b
	bobby   = [2]string{"198.51.100.66", "2001:db8:2:0:1::66"} // client-b, known to table y
)

func between(from, to [2]string) [2]ends { return pair(from[0], to[0], from[1], to[1]) }

// flows are the cases of the demonstration.
var flows = []flow{
	{
		title: "a priority port, and table x knows the destination", client: clientA, port: "em0",
		ends: between(alice, known), dport: 7000, protocols: everyProtocol, uplink: uplink1,
	},
	{
		title: "a priority port, but table x does not know: falls through to main", client: clientA, port: "em0",
		ends: between(alice, unknown), dport: 7000, protocols: everyProtocol, uplink: uplink0,
	},
	{
		title: "a guest goes by table main", client: clientB, port: "em1",
		ends: between(bob, known), dport: 7000, protocols: everyProtocol, uplink: uplink0,
	},
	{
		title: "a guest whose source table y sends to table z", client: clientB, port: "em1",
		ends: between(bobby, known), dport: 7000, protocols: everyProtocol, uplink: uplink1,
	},
	{
		title: "a guest in a hurry: DSCP 46", client: clientB, port: "em1", tos: 46 << 2,
		ends: between(bob, known), dport: 7000, protocols: everyProtocol, uplink: uplink1,
	},
	{
		title: "a guest on the web: TCP port 8080", client: clientB, port: "em1",
		ends: between(bob, known), dport: 8080, protocols: []protocol{tcp}, uplink: uplink1,
	},
	{
		title: "the same port, but UDP: no rule for it", client: clientB, port: "em1",
		ends: between(bob, known), dport: 8080, protocols: []protocol{udp}, uplink: uplink0,
	},
	{
		title: "the walled table knows the destination", client: clientB, port: "em1",
		ends: between(bob, walled), dport: 7000, protocols: everyProtocol, uplink: uplink0,
	},
	{
		title: "the walled table does not know, and is opaque: prohibited", client: clientB, port: "em1",
		ends: between(bob, refused), dport: 7000, protocols: []protocol{icmp},
	},
}

// servicePorts are the TCP and UDP ports that the uplinks serve.
var servicePorts = []uint16{7000, 8080}
