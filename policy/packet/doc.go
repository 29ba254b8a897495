// Package packet knows what a frame looks like, and nothing of what becomes of it.
//
// Bytes come in once and leave once:
//
//	frame ── Parse ──► Key ──► (decision, package policy) ──► DecrementTTL, SetDSCP, BuildFragment ──► Encap ──► frame
//	              └──► Reason                             └─► BuildError, BuildRedirect, BuildReset ──► another frame ──► Parse …
//
// Parse reads a frame in one pass and writes its Key: the fields a decision may depend on, and where the headers
// are. The edits change the frame in place, keep its checksums right incrementally (RFC 1624), and keep the Key in
// step with the frame. BuildFragment writes a part of an IPv4 packet into a second frame, BuildError an ICMP error,
// BuildRedirect an ICMPv6 redirect, BuildReset a TCP reset; an answer is an ordinary packet, which its caller parses,
// decides and encapsulates like any other.
//
// # What is dropped
//
// Parse drops what a router must not forward because the IP header cannot be believed. It follows Linux
// (ip_rcv_core and ip_rcv_options in net/ipv4/ip_input.c, ip6_rcv_core in net/ipv6/ip6_input.c, ipv6_parse_hopopts
// in net/ipv6/exthdrs.c). Whatever lies behind the IP header is the receiver's affair: a TCP header cut short, an
// overlapping or oversized fragment, a broken extension header that only its destination processes are all
// forwarded. What cannot be read of them is zero in the Key.
//
// It differs from Linux on purpose in two places. A chain of more than MaxExtensionHeaders is dropped, lest it hide
// an L4 header from the rules. Record routes and timestamps of IPv4 are forwarded as they are.
//
// About bad options an error is due, which Problem names; Parse reads such a packet to its end all the same.
//
// Addresses are not judged here. That a source is martian is a decision.
//
// # Traps
//
// A Key can say more of an IPv6 packet than Linux's rules know of it: they stop at an AH header (protocol 51, no
// ports) and at any fragment header, an atomic one too (__skb_flow_dissect in net/core/flow_dissector.c).
//
// A Key belongs to one frame. The edits index the frame by Key.L3() without asking again whether it fits: hand them
// the frame that was parsed, and do not cut it in between.
//
// Key.L4 is 0 where the L4 header is missing or incomplete, so it must be tested before it is used.
//
// A frame is as long as the wire made it, a packet as long as its IP header says. Ethernet pads short frames
// to 60 bytes, so only the latter, Key.Length, means anything; Encap cuts the padding off.
//
// A frame whose VLAN identifier is 0 is priority-tagged (IEEE 802.1Q): it has a tag, Key.Tags counts it, yet it
// belongs to no VLAN.
//
// An answer is about the packet as it arrived. Call BuildError and BuildReset before the edits.
//
// None of the functions on the packet path allocates, and all may be called by any number of goroutines, as long as
// each has its own frame and Key.
package packet
