package fib

import "net/netip"

// Action is what a route does with a packet that it matches, as in ip-route(8).
type Action uint8

// Route actions. Lookup is weir's own: the match is sent on to another table.
const (
	Unicast Action = iota
	Local
	Throw
	Blackhole
	Unreachable
	Prohibit
	Lookup
)

// String is the word of ip-route(8) for the action.
func (a Action) String() string {
	if int(a) < len(actionNames) {
		return actionNames[a]
	}
	return "unknown"
}

var actionNames = [...]string{"unicast", "local", "throw", "blackhole", "unreachable", "prohibit", "lookup"}

// Route is one route of a table: prefix, TOS and metric identify it.
// Routes are immutable once they are in a table.
type Route struct {
	Prefix  netip.Prefix // masked; of a source-keyed table: the source prefix
	TOS     uint8        // IPv4 only; 0 matches any TOS. Compared as tos & 0x1c, as Linux does
	Metric  uint32       // lower wins
	MTU     uint16       // path MTU in bytes; 0: the port's
	Action  Action
	Target  uint16    // Lookup: index of the table that goes on
	Resume  bool      // Lookup: where the target misses, try the next shorter prefix (else: a miss of this table)
	RunTime bool      // came at run time, not with the configuration; of no meaning to lookups
	Hops    []NextHop // Unicast: one, or several for ECMP

	Counter uint32 // where its hits are counted, from 1; 0: nowhere
}

// NextHop is one way out: a port, and the gateway on it, or none where the destination is on the link.
type NextHop struct {
	Gateway   netip.Addr // the zero Addr: on-link, the destination itself is the neighbour
	Port      uint16     // logical port, index into the snapshot's ports
	Weight    uint16     // 1..65535, relative share among the route's hops; 0 counts as 1
	Adjacency uint32     // gateway's index into the Adjacencies; unused where on-link. Set by policy.Compile
	ID        uint32     // what flows know the hop by, see Hop; 0: Table.Insert makes one of Port and Gateway
}

// OnLink reports whether the destination itself is the neighbour.
func (h *NextHop) OnLink() bool { return !h.Gateway.IsValid() }
