package policy

import (
	"math"
	"net/netip"

	"weir/fib"
)

// Linux is what of a policy the kernel's own tables and rules can express. What they cannot is left out; Compile warns of
// it and says how the kernel differs there. The kernel's own part is not in it: its default rules, own addresses and
// connected networks.
//
//	weir                            Linux
//	rule                            one for each family that it is there for
//	rule by iif-group               one for each port of the group
//	table's on-miss                 a default route of that type, behind all others of the table
//	throw in such a table           a route of that type: to weir it is a miss
//	IPv6 route of metric m          of metric 1024+m: behind connected networks, whose metric is 256 there, and 0 in weir
//	gateway given twice             given once, with the sum of the weights
//
// An on-miss of type unreachable becomes the ICMP error of such a route, which in IPv4 is 3/1, not 3/0.
type Linux struct {
	Rules []LinuxRule // IPv4's first; within a family in the order of the walk

	tables []linuxTable
}

// LinuxRule is a rule in the form that Linux has, which is comparable: two rules that are equal are the same. What is zero is no
// condition, but for the suppressions, and masks have no bits beyond those that count.
type LinuxRule struct {
	Family    uint8 // packet.IPv4 or packet.IPv6
	Priority  uint32
	Not       bool
	From, To  netip.Prefix
	Ingress   string // name of a netdev, or lo
	Mark      uint32
	MarkMask  uint32
	TOS       uint8
	HasDSCP   bool
	DSCP      uint8
	DSCPMask  uint8
	Proto     uint8
	Sport     PortMatch // of the kind PortMask only where no range is the same
	Dport     PortMatch
	FlowLabel uint32
	FlowMask  uint32

	Action               RuleAction
	Table                uint32 // RuleLookup: number of the table
	Goto                 uint32
	SuppressPrefixLength int // -1 is off
	HasSuppressGroup     bool
	SuppressGroup        uint32
}

// LinuxRoute is a route of table number Table in the form that Linux has: of type Unicast, Throw, Blackhole, Unreachable or
// Prohibit, with the metric that it has there, and with weights up to 256.
type LinuxRoute struct {
	Table uint32
	fib.Route
}

// Linux is what the kernel is to be given; nil unless the policy wants that (Policy.KernelRoutes).
func (s *Snapshot) Linux() *Linux { return s.linux }

// compileLinux translates the policy and warns of what is left out.
func compileLinux(r *report, tables []table) *Linux {
	l := &Linux{Rules: linuxRules(r)}
	if m := mainChain(r.policy.Marks); m >= 0 {
		r.chain(m).warnf("kernel routes: the kernel does not run the marks: there packets keep the mark and the DSCP that they come with, and none is dropped or rejected")
	}
	for i := range r.policy.Ports {
		if p := &r.policy.Ports[i]; p.ReversePath != ReverseOff {
			r.port(i).warnf("kernel routes: the kernel checks no reverse path by this: that is net.ipv4.conf.%s.rp_filter, which weir leaves alone", p.Name)
		}
	}
	for i := range r.policy.Tables {
		if t, ok := newLinuxTable(r, i); ok {
			t.routes = tables[i].routes
			l.tables = append(l.tables, t)
		}
	}
	return l
}

// Limits of Linux.
const (
	linuxWeightMax  = 256            // rtnh_hops in struct rtnexthop is a byte, and 1 less (linux/rtnetlink.h)
	linuxMetric6    = 1024           // IP6_RT_PRIO_USER (linux/ipv6_route.h): what 0 is to IPv6
	linuxMetricMiss = math.MaxUint32 // of the route that is a table's on-miss
)
