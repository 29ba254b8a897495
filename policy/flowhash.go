package policy

import (
	"encoding/binary"
	"math/bits"

	"weir/fib"
	"weir/policy/packet"
)

// HashPolicy says which fields of a packet make its flow, all of whose packets take the same hop of a multipath route.
type HashPolicy uint8

// Hash policies. Linux has both (fib_multipath_hash_policy 1 and 0), and the other one unless told otherwise.
const (
	HashL4 HashPolicy = iota // addresses, flow label, and of whole packets protocol and ports
	HashL3                   // addresses and flow label
)

// String is the word of the configuration.
func (p HashPolicy) String() string {
	if p == HashL3 {
		return "l3"
	}
	return "l4"
}

// flowHash is what multipath routes choose a hop by. It covers the addresses, the IPv6 flow label, and, at HashL4 and unless
// the packet is a fragment, the protocol and the L4 ports. Where fragments are consistent, one has those of the first.
//
// All fragments of a datagram thus take one way: only the first has ports, and the last header that a router can see
// differs between fragments of one IPv6 datagram. The flow label is the same in all of a flow's packets, fragments
// included (RFC 6437 section 3), and tells flows apart whose ports are out of sight; Linux takes it at hash policy 0
// only. The seed is the router's (see hashSeed), so that routers in a row do not all make the same choice.
func (s *Snapshot) flowHash(k *packet.Key) uint32 {
	h := mix(s.seed^binary.LittleEndian.Uint64(k.Src[0:8]), binary.LittleEndian.Uint64(k.Src[8:16])^0x9e3779b97f4a7c15)
	h = mix(h^binary.LittleEndian.Uint64(k.Dst[0:8]), binary.LittleEndian.Uint64(k.Dst[8:16])^0xd1b54a32d192ed03)
	last := uint64(k.FlowLabel) << 40
	if s.hashPolicy == HashL4 && s.isWhole(k) {
		last |= uint64(k.Proto) << 32
		if hasPorts(k) {
			last |= uint64(k.SrcPort)<<16 | uint64(k.DstPort)
		}
	}
	return uint32(mix(h^last, 0xaf251af3b0f025b5) >> 32)
}

// mix folds the 128-bit product of two words: every bit of the result depends on every bit of both.
func mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

// hopID is what flows know a hop by: the name of its port and its gateway, so that they stay with it whatever else changes.
func hopID(port string, h *fib.NextHop) uint32 {
	gateway := h.Gateway.As16() // of none: zeros
	x := hashSeed(port + string(gateway[:]))
	return uint32(x>>32 ^ x)
}

// hashSeed derives the seed from the router's name (FNV-1a, 64 bits), so that explain, which has only the
// configuration, foretells what the running router does.
func hashSeed(hostname string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(hostname) {
		h = (h ^ uint64(hostname[i])) * 1099511628211
	}
	return h
}
