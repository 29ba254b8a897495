package demo

import (
	"errors"
	"net/netip"

	"weir/perf/lab"
)

// kernelRouter makes Linux itself the router, with rules and tables that mean what example.yaml means. Linux has no
// interface groups in rules, so they name the ports; and no source-keyed tables, so rule 200 names the sources.
func kernelRouter(n *network) error {
	h := n.hosts[router]
	errs := []error{h.EnableForwarding()}
	for port, addresses := range map[string][]string{
		"em0": {"192.0.2.1/24", "2001:db8:1::1/64"}, "em1": {"198.51.100.1/24", "2001:db8:2::1/64"},
		"wan0": {"10.0.0.1/24", "fd00:0:0:a::1/64"}, "wan1": {"10.0.1.1/24", "fd00:0:0:b::1/64"},
	} {
		for _, a := range addresses {
			errs = append(errs, h.AddAddress(port, a))
		}
	}
	for _, r := range []lab.Route{
		{To: "default", Via: "10.0.0.2"}, {To: "default", Via: "fd00:0:0:a::2"},
		{To: "203.0.113.0/25", Via: "10.0.1.2", Table: 100}, {To: "2001:db8:5:1::/64", Via: "fd00:0:0:b::2", Table: 100},
		{To: "default", Via: "10.0.1.2", Table: 102}, {To: "default", Via: "fd00:0:0:b::2", Table: 102},
		{To: "203.0.113.241/32", Via: "10.0.0.2", Table: 103}, {To: "0.0.0.0/0", Type: "prohibit", Table: 103},
		{To: "2001:db8:5:f::241/128", Via: "fd00:0:0:a::2", Table: 103}, {To: "::/0", Type: "prohibit", Table: 103},
	} {
		errs = append(errs, h.AddRoute(r))
	}
	dscp := uint8(46)
	for _, r := range []lab.Rule{
		{Priority: 100, IIF: "em0", Table: 100}, {Priority: 100, IPv6: true, IIF: "em0", Table: 100},
		{Priority: 200, From: netip.MustParsePrefix("198.51.100.64/26"), Table: 102},
		{Priority: 200, IPv6: true, From: netip.MustParsePrefix("2001:db8:2:0:1::/80"), Table: 102},
		{Priority: 300, IIF: "em1", DSCP: &dscp, Table: 102}, {Priority: 300, IPv6: true, IIF: "em1", DSCP: &dscp, Table: 102},
		{Priority: 310, IIF: "em1", Protocol: 6, DportMin: 8080, DportMax: 8089, Table: 102},
		{Priority: 310, IPv6: true, IIF: "em1", Protocol: 6, DportMin: 8080, DportMax: 8089, Table: 102},
		{Priority: 400, To: netip.MustParsePrefix("203.0.113.240/28"), Table: 103},
		{Priority: 401, IPv6: true, To: netip.MustParsePrefix("2001:db8:5:f::/64"), Table: 103},
	} {
		errs = append(errs, h.AddRule(r))
	}
	return errors.Join(errs...)
}
