package policy

import (
	"net/netip"

	"weir/fib"
)

// Policy is a validated configuration in the form that Compile takes: names are resolved to indexes, nothing
// refers outside of it. mgmt builds it from the file.
type Policy struct {
	Hostname  string
	Ports     []Port // logical ports: netdevs first, in Device order, then VLANs
	Tables    []Table
	Marks     []Chain // the mark program
	Rules     []Rule  // in any order; Compile sorts by priority, stably
	Neighbors []StaticNeighbor
	ICMP      ICMPLimits

	// ConsistentFragments has all fragments of a datagram decided like the first: see Snapshot.ConsistentFragments.
	ConsistentFragments bool
	KernelRoutes        bool // the kernel is to have the rules and tables too, as far as it can: see Linux
	MultipathHash       HashPolicy
}

// Port is a logical port: a netdev that weir drives, one VLAN of it, or a VLAN within a VLAN (QinQ).
type Port struct {
	Name      string
	Device    uint16 // index of the netdev among the netdevs; a VLAN has its parent's
	VLAN      uint16 // 0: the untagged frames of the netdev; else this VLAN identifier's
	Inner     uint16 // 0: frames without a second tag; else those with this VLAN identifier in it, behind VLAN
	Service   bool   // the (outer) tag is sent as 802.1ad's, 0x88a8; received is either type
	Group     uint32 // interface group number, 0 is none
	GroupName string
	Addresses []netip.Prefix // the router's own, with their prefix lengths
	MTU       uint16         // bytes of the IP packet; 0: not known, so nothing is too big
	AnyMTU    bool           // MTU is assumed, not asked for: where the port exists, its netdev's counts
	Redirects bool           // senders are told of shorter ways
	Mode      string         // auto, zero-copy, copy, generic; empty in a VLAN

	ReversePath ReversePath // check of the sources of what comes in here
	SourceMark  bool        // that check sees the packet's mark (Linux's src_valid_mark), else 0
}

// Wire sets what all frames to neighbours on the port have in common.
func (p *Port) Wire(a *fib.Adjacency) {
	a.Device, a.MTU, a.VLAN, a.Service = p.Device, p.MTU, [2]uint16{p.VLAN, p.Inner}, p.Service
	switch {
	case p.Inner != 0:
		a.Tags = 2
	case p.VLAN != 0:
		a.Tags = 1
	}
}

// StaticNeighbor is a neighbour whose MAC address the configuration gives.
type StaticNeighbor struct {
	Neighbor fib.Neighbor
	MAC      [6]byte
}

// TableKey says which address a table is looked up by.
type TableKey uint8

// Table keys.
const (
	ByDestination TableKey = iota
	BySource
)

// OnMiss says what happens when a table has no answer.
type OnMiss uint8

// What a miss does. All but fall-through make the table opaque.
const (
	MissFallThrough OnMiss = iota // the walk goes on with the next rule
	MissUnreachable
	MissProhibit
	MissBlackhole
	MissLookup // go on in Table.MissTarget; if that misses too, it is a miss of both
)

// Well-known table ids (linux/rtnetlink.h RT_TABLE_*).
const (
	TableDefault uint32 = 253
	TableMain    uint32 = 254
	TableLocal   uint32 = 255
)

// Table is a routing table of a policy.
type Table struct {
	Name       string
	ID         uint32 // 1..2^32-1
	Key        TableKey
	OnMiss     OnMiss
	MissTarget uint16 // index of a table, for MissLookup
	Counters   bool   // count the hits of each route
	Routes     []fib.Route
}

// RuleAction is what a matching rule does, as in ip-rule(8).
type RuleAction uint8

// Rule actions.
const (
	RuleLookup RuleAction = iota
	RuleGoto
	RuleNop
	RuleBlackhole
	RuleUnreachable
	RuleProhibit
)

// Rule is one policy rule. It matches a packet if Not differs from Match.Matches.
type Rule struct {
	Name     string
	Priority uint32
	Not      bool // negates the whole conjunction of selectors
	Match    Selector
	Action   RuleAction
	Table    uint16 // RuleLookup: index of the table
	Goto     uint32 // RuleGoto: priority of the target, above Priority

	SuppressPrefixLength int    // a unicast result with a prefix length up to this is rejected; -1 is off
	SuppressGroup        uint32 // a unicast result that leaves through this interface group is rejected; see HasSuppressGroup
	HasSuppressGroup     bool
}

// Selector is a conjunction of conditions; one that is absent (its Has field false, its prefix invalid, its
// mask 0) is true. The zero Selector matches every packet.
//
// Family is not part of the conjunction but says which packets the rule is there for, as the family of a rule in
// Linux. From and To (of one family) and HasFlow (IPv6) imply it.
type Selector struct {
	Family   uint8        // packet.IPv4, packet.IPv6, 0: both
	From, To netip.Prefix // the zero Prefix: any. A prefix of one family never matches the other

	HasIngress bool // iif
	IngressLo  bool // iif lo: locally generated only, so never a forwarded packet
	Ingress    uint16
	HasGroup   bool // iif-group
	Group      uint32
	Mark       uint32 // fwmark Mark/MarkMask
	MarkMask   uint32
	HasMark    bool
	HasTOS     bool // tos as Linux: IPv4 compares tos&0x1c, IPv6 the six DSCP bits; 0 is no condition
	TOS        uint8
	HasDSCP    bool // (dscp ^ DSCP) & DSCPMask == 0, six bits, not shifted: 0..63
	DSCP       uint8
	DSCPMask   uint8
	HasProto   bool
	Proto      uint8
	Sport      PortMatch // TCP and UDP only; any fragment (unless they are consistent) and every other protocol counts as port 0
	Dport      PortMatch
	HasFlow    bool // IPv6 flow label, 20 bits
	FlowLabel  uint32
	FlowMask   uint32

	Beyond []Condition // what no rule in Linux can ask for: ICMP types, TCP flags, length …
}

// PortMatch matches an L4 port by range or by value and mask. The zero PortMatch matches everything.
type PortMatch struct {
	Lo, Hi uint16 // range, if Kind is PortRange
	Value  uint16 // (port ^ Value) & Mask == 0, if Kind is PortMask
	Mask   uint16
	Kind   PortKind
}

// PortKind is the form of a PortMatch.
type PortKind uint8

// Forms of a PortMatch.
const (
	PortAny PortKind = iota
	PortRange
	PortMask
)
