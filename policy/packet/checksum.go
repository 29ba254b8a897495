package packet

import "encoding/binary"

// Sum adds b, read as big-endian 16-bit words, to a partial ones' complement sum (RFC 1071) and returns the new
// partial sum. A byte left over at the end counts as the upper half of a word, so only the last piece of a message
// may have an odd length. A partial sum starts at 0 and has room for the carries of 2^31 words: no IP packet can
// overflow it.
func Sum(partial uint64, b []byte) uint64 {
	for len(b) >= 8 {
		w := binary.BigEndian.Uint64(b)
		partial += w>>32 + w&0xffffffff
		b = b[8:]
	}
	if len(b) >= 4 {
		partial += uint64(binary.BigEndian.Uint32(b))
		b = b[4:]
	}
	if len(b) >= 2 {
		partial += uint64(binary.BigEndian.Uint16(b))
		b = b[2:]
	}
	if len(b) == 1 {
		partial += uint64(b[0]) << 8
	}
	return partial
}

// Checksum folds a partial sum into the 16 bits that a header carries: the complement of the sum. Over bytes
// that include a correct checksum it is 0.
//
// A UDP checksum that comes out as 0 is transmitted as 0xffff (RFC 768); that is left to the caller.
func Checksum(partial uint64) uint16 {
	return ^fold(partial)
}

// fold reduces a ones' complement sum to 16 bits. Only a sum of 0 gives 0: 0xffff is the other zero.
func fold(sum uint64) uint16 {
	sum = sum>>32 + sum&0xffffffff // at most 33 bits
	sum = sum>>16 + sum&0xffff     // at most 18
	sum = sum>>16 + sum&0xffff     // at most 17, and if it is 17 the lower 16 are near 0
	return uint16(sum>>16 + sum)
}

// PseudoIPv4 is the partial sum of the pseudo header that a TCP or UDP checksum over IPv4 includes (RFC 9293 section
// 3.1, RFC 768). length is that of the L4 header and its payload, in bytes.
func PseudoIPv4(src, dst [4]byte, proto uint8, length uint16) uint64 {
	return Sum(Sum(0, src[:]), dst[:]) + uint64(proto) + uint64(length)
}

// PseudoIPv6 is the partial sum of the IPv6 pseudo header (RFC 8200 section 8.1). proto is the one of the L4 header,
// not of an extension header before it; length is that of the L4 header and its payload, in bytes.
func PseudoIPv6(src, dst *[16]byte, proto uint8, length uint32) uint64 {
	return Sum(Sum(0, src[:]), dst[:]) + uint64(proto) + uint64(length)
}

// updateChecksum returns the checksum check after one 16-bit word under it has changed from before to after
// (RFC 1624 equation 3). Unlike RFC 1141, whose form of it takes 0x0000 for 0xffff, it gives what a computation from
// scratch would: 0xffff is the result only if everything under the checksum is 0, which no IP header is.
func updateChecksum(check, before, after uint16) uint16 {
	return ^fold(uint64(^check) + uint64(^before) + uint64(after))
}
