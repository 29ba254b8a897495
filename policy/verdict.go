package policy

import "weir/policy/packet"

// Action is what becomes of a packet.
type Action uint8

// Actions.
const (
	Drop    Action = iota // count Reason, send nothing
	Forward               // to Adjacency, or to the neighbour {Port, destination} if that is Unresolved
	Punt                  // to the kernel: it is for the router itself
	Reject                // count Reason and answer with the ICMP error Type, Code
	Reset                 // count Reason and answer with a TCP reset
)

// Unresolved is the Adjacency of a verdict whose on-link neighbour is not known yet.
const Unresolved = ^uint32(0)

// None is the Rule or Table of a verdict that none decided, and the Port of one without a way out.
const None = ^uint16(0)

// LocalOutput is the Key.Ingress of a packet that the router itself sends, as its ICMP errors are. It came in on no
// port, so that rules for a port or a group do not match it, and "iif lo" does; its source may be the router's own
// address, or link-local.
const LocalOutput = None

// Verdict is the decision on one packet. It has no pointers, so that a batch of them is plain memory.
type Verdict struct {
	Adjacency uint32 // Forward
	Mark      uint32 // after the mark program
	MTU       uint16 // Reject with ICMP 3/4 or 2/0: the next hop's MTU; Forward: to be cut into fragments of at most that, 0: it fits
	Port      uint16 // Forward, and errors about the way out: egress, logical; else None
	Rule      uint16 // index of the rule that decided, or None
	Table     uint16 // index of the table that decided, or None
	Statement uint16 // index of the statement of marks that dropped or rejected it, or None
	Action    Action
	Reason    packet.Reason
	Type      uint8 // Reject: ICMP or ICMPv6 type and code
	Code      uint8
	Prefix    uint8 // length of the prefix that decided; NoPrefix if none
	TOS       uint8 // after the mark program
	SetDSCP   bool  // Forward, Punt: the packet goes on with the DSCP of TOS, which is not the one that it has
	OnLink    bool  // Forward: the destination itself is the neighbour, there is no gateway
}

// NoPrefix is the Prefix of a verdict that no route decided.
const NoPrefix uint8 = 255
