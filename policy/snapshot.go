package policy

import (
	"net/netip"

	"weir/fib"
	"weir/policy/packet"
)

// Snapshot is everything a worker reads to decide. It comes from Compile, is immutable once published, and any
// number of goroutines may read it; Generation alone is for the publisher to set before that.
//
// Its tables may change while workers decide (fib.Table.Share). Then whoever else asks it for a decision, by Evaluate or
// Explain, or for routes, must keep the tables' writer out, or say like a worker when it has left what it read.
type Snapshot struct {
	Generation  uint64 // 0 until published; higher is newer
	Ports       []Port // logical ports, by the index that Key.Ingress and Verdict.Port hold
	Adjacencies *fib.Adjacencies
	ICMP        ICMPLimits

	marks     program
	rules     []rule
	tables    []table
	ingress   []ingress             // by device
	own       ownSet                // IPv4 addresses in network order that are the router's, or a connected broadcast
	addresses map[netip.Addr]uint16 // the router's own, of both families, with their port
	portIndex map[string]uint16     // by name, for packets that people describe
	seed      uint64                // of the flow hash

	tableIndex map[string]uint16 // by name

	hashPolicy   HashPolicy
	checksSource bool // a port has a reverse-path check
	linksDown    bool // as Adjacencies say: not every route stands
	warnings     []*CompileError
	names        names
	cells        cells // of a Tally
	arrays       bool  // a table has array forms: see Promote
	matchers     matchers
	matches      bool   // there are some
	consistent   bool   // see ConsistentFragments
	linux        *Linux // what the kernel is to have of it; nil: nothing
}

// rule is a Rule with what Compile found out about it.
type rule struct {
	Rule
	family uint8     // the only family it is there for, or 0
	jump   [2]uint16 // RuleGoto: index of the target for IPv4 and IPv6, or None
	beyond []condition
}

// table is a Table with its routes in the form that is looked up.
type table struct {
	name   string
	id     uint32
	key    TableKey
	onMiss OnMiss
	target uint16
	routes *fib.Table

	counters bool // routes have hits of their own
}

// ingress maps what arrives on a device to logical ports.
type ingress struct {
	untagged uint16
	vlans    *[4096]uint16     // by VLAN identifier, None where no port is; nil where the device has no VLANs
	stacked  map[uint32]uint16 // by both identifiers of two tags, see stack; one hash lookup, for such frames alone
}

// stack is the key of two tags: 16 million pairs are too many for an array.
func stack(outer, inner uint16) uint32 { return uint32(outer&0xfff)<<12 | uint32(inner&0xfff) }

// Ingress sets k.Ingress to the logical port that a packet with k's VLAN tags arrives on. It is false where there is
// none (reason packet.UnknownVLAN): an unknown VLAN, or a device that is not there. A tag with VLAN identifier 0 carries a
// priority only (IEEE 802.1Q) and counts as none.
func (s *Snapshot) Ingress(device uint16, k *packet.Key) bool {
	if int(device) >= len(s.ingress) {
		return false
	}
	in := &s.ingress[device]
	switch {
	case k.Tags == 0 || k.Tags == 1 && k.VLAN[0] == 0:
		k.Ingress = in.untagged
		return true
	case k.Tags == 1 && in.vlans != nil:
		port := in.vlans[k.VLAN[0]&0xfff]
		if port == None {
			return false
		}
		k.Ingress = port
		return true
	case k.Tags == 2:
		return in.two(k)
	}
	return false
}

// two is Ingress for two tags.
func (in *ingress) two(k *packet.Key) bool {
	port, ok := in.untagged, true
	switch outer, inner := k.VLAN[0], k.VLAN[1]; {
	case outer != 0 && inner != 0:
		port, ok = in.stacked[stack(outer, inner)]
	case outer|inner != 0 && in.vlans != nil:
		port = in.vlans[(outer|inner)&0xfff]
		ok = port != None
	case outer|inner != 0:
		ok = false
	}
	if ok {
		k.Ingress = port
	}
	return ok
}

// WithAdjacencies returns a snapshot that differs in its adjacencies only and shares all else. They must be a later
// version of this snapshot's (see fib.Adjacencies.With), since routes refer to them by index.
func (s *Snapshot) WithAdjacencies(a *fib.Adjacencies) *Snapshot {
	next := *s
	next.Adjacencies, next.linksDown = a, a.LinksDown()
	return &next
}

// ConsistentFragments reports whether all fragments of a datagram are decided like its first one. A first fragment then
// counts as a whole packet: rules, marks and the flow hash see its L4 header. So do they in a later one, whose Key must have
// been completed with what the first one's says: Proto, ports, ICMP type and code, TCP flags. What is each fragment's own
// (its length, TTL, TOS, and which fragment it is) stays its own.
//
// Otherwise fragments are what they are in Linux: rules and the hash see no ports in any of them, marks those of the first.
func (s *Snapshot) ConsistentFragments() bool { return s.consistent }

// Warnings are the remarks of Compile on what is allowed but probably not meant.
func (s *Snapshot) Warnings() []*CompileError { return s.warnings }

// Own reports whether the address is the router's own, and on which logical port.
func (s *Snapshot) Own(addr netip.Addr) (port uint16, ok bool) {
	port, ok = s.addresses[addr]
	return port, ok
}

// PortByName returns the index of the logical port.
func (s *Snapshot) PortByName(name string) (uint16, bool) {
	i, ok := s.portIndex[name]
	return i, ok
}

// PortName is the name of logical port i, or "" for None.
func (s *Snapshot) PortName(i uint16) string {
	if int(i) < len(s.Ports) {
		return s.Ports[i].Name
	}
	return ""
}

// Rules is the number of rules.
func (s *Snapshot) Rules() int { return len(s.rules) }

// Rule returns rule i, in the order of the walk. It must not be written to.
func (s *Snapshot) Rule(i uint16) *Rule { return &s.rules[i].Rule }

// RuleName is the name of rule i, or "" for None.
func (s *Snapshot) RuleName(i uint16) string {
	if int(i) < len(s.rules) {
		return s.rules[i].Name
	}
	return ""
}

// Statements is the number of statements of the mark program that can run.
func (s *Snapshot) Statements() int { return len(s.marks.statements) }

// StatementName is the chain and the name of statement i, or empty for None. The two are the statement's own as long as
// its configuration does not rename it; i is not.
func (s *Snapshot) StatementName(i uint16) (chain, name string) {
	if int(i) >= len(s.marks.statements) {
		return "", ""
	}
	st := &s.marks.statements[i]
	return s.marks.chains[st.chain].name, st.name
}

// Tables is the number of tables.
func (s *Snapshot) Tables() int { return len(s.tables) }

// Table returns table i without its routes, which Routes has.
func (s *Snapshot) Table(i uint16) Table {
	t := &s.tables[i]
	return Table{Name: t.name, ID: t.id, Key: t.key, OnMiss: t.onMiss, MissTarget: t.target, Counters: t.counters}
}

// TableName is the name of table i, or "" for None.
func (s *Snapshot) TableName(i uint16) string {
	if int(i) < len(s.tables) {
		return s.tables[i].name
	}
	return ""
}

// Routes returns the routes of table i, which are their writer's to change.
func (s *Snapshot) Routes(i uint16) *fib.Table { return s.tables[i].routes }
