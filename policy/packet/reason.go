package packet

// Reason names why a packet was not forwarded. Zero is no reason: the packet goes on.
// The list below is the one place that defines a drop counter and its description; counters are arrays
// indexed by Reason.
type Reason uint8

// Reasons, in the order in which a packet can meet them.
const (
	None Reason = iota

	// Parse.
	Truncated      // frame ends before a header that it announces
	NotIP          // EtherType is neither IPv4 nor IPv6 (steer hands those to the kernel)
	TooManyTags    // more than two VLAN tags
	BadVersion     // IP version does not fit the EtherType
	BadHeaderLen   // IPv4 header length below 20 bytes
	BadChecksum    // IPv4 header checksum is wrong
	BadTotalLen    // IP length field below the header's or beyond the frame
	BadOption      // IPv4 or IPv6 hop-by-hop options that make no sense
	UnknownOption  // IPv6 hop-by-hop option that is not known and must not be passed over (RFC 8200 section 4.2)
	SourceRoute    // IPv4 source-route option (RFC 7126 sections 4.3, 4.4)
	TooManyHeaders // IPv6 extension-header chain longer than MaxExtensionHeaders
	UnknownVLAN    // VLAN tag that no port is configured for

	// Fragments that are to be decided like the first of their datagram.
	FragmentPending // no room for another one that came before the first
	FragmentOrphan  // the first did not come

	// Decision.
	Martian     // source or destination address that must not be forwarded (RFC 1812 section 5.3.7)
	MarkDrop    // dropped by the mark program
	MarkReject  // rejected by the mark program
	OwnSource   // source is one of the router's own addresses
	Blackhole   // rule or route of type blackhole
	Unreachable // rule or route of type unreachable
	Prohibit    // rule or route of type prohibit
	NoRoute     // no table had an answer
	ReversePath // no way back to the source, or not by the port that the packet came in on (RFC 3704)
	BeyondScope // IPv6 link-local source to another link (RFC 4291 section 2.5.6)
	TTLExceeded // TTL or hop limit would reach 0
	TooBig      // larger than the egress MTU, and may not or cannot be fragmented
	PortDown    // egress port is gone or has no queue for this worker

	// Neighbour.
	NeighborPending // waiting room of an unresolved next hop is full
	NeighborFailed  // next hop did not resolve

	// Transmit.
	TransmitFull // transmit ring has no room
	NoFrame      // no free frame to copy into
	PuntFull     // queue to the kernel is full

	// End marks the number of reasons.
	End
)

type reasonInfo struct{ name, help string }

var reasons = [End]reasonInfo{
	None:            {"none", "not dropped"},
	Truncated:       {"truncated", "frame ends before a header that it announces"},
	NotIP:           {"not-ip", "EtherType is neither IPv4 nor IPv6"},
	TooManyTags:     {"too-many-tags", "more than two VLAN tags"},
	BadVersion:      {"bad-version", "IP version does not fit the EtherType"},
	BadHeaderLen:    {"bad-header-length", "IPv4 header length below 20 bytes"},
	BadChecksum:     {"bad-checksum", "IPv4 header checksum is wrong"},
	BadTotalLen:     {"bad-total-length", "IP length field shorter than the header or longer than the frame"},
	BadOption:       {"bad-option", "IPv4 or IPv6 hop-by-hop options that make no sense"},
	UnknownOption:   {"unknown-option", "IPv6 hop-by-hop option that is not known and must not be passed over"},
	SourceRoute:     {"source-route", "IPv4 source-route option"},
	TooManyHeaders:  {"too-many-headers", "IPv6 extension-header chain too long"},
	UnknownVLAN:     {"unknown-vlan", "VLAN tag that no port is configured for"},
	FragmentPending: {"fragment-pending", "too many fragments wait for the first of their datagram"},
	FragmentOrphan:  {"fragment-orphan", "first fragment of the datagram did not come"},
	Martian:         {"martian", "address that must not be forwarded"},
	MarkDrop:        {"mark-drop", "dropped by a statement of marks"},
	MarkReject:      {"mark-reject", "rejected by a statement of marks"},
	OwnSource:       {"own-source", "source is one of the router's own addresses"},
	Blackhole:       {"blackhole", "rule or route of type blackhole"},
	Unreachable:     {"unreachable", "rule or route of type unreachable"},
	Prohibit:        {"prohibit", "rule or route of type prohibit"},
	NoRoute:         {"no-route", "no table had an answer"},
	ReversePath:     {"reverse-path", "no way back to the source, or not by the port that the packet came in on"},
	BeyondScope:     {"beyond-scope", "IPv6 link-local source to another link"},
	TTLExceeded:     {"ttl-exceeded", "TTL or hop limit would reach 0"},
	TooBig:          {"too-big", "larger than the egress MTU, and may not or cannot be fragmented"},
	PortDown:        {"port-down", "egress port is gone or has no queue for this worker"},
	NeighborPending: {"neighbor-pending", "waiting room of an unresolved next hop is full"},
	NeighborFailed:  {"neighbor-failed", "next hop did not resolve"},
	TransmitFull:    {"transmit-full", "transmit ring has no room"},
	NoFrame:         {"no-frame", "no free frame to copy into"},
	PuntFull:        {"punt-full", "queue to the kernel is full"},
}

// String is the stable name of the reason, as counters and explanations show it.
func (r Reason) String() string {
	if r < End {
		return reasons[r].name
	}
	return "unknown"
}

// Help describes the reason in a sentence for people.
func (r Reason) Help() string {
	if r < End {
		return reasons[r].help
	}
	return ""
}
