package packet

import "encoding/binary"

const (
	fragmentUnit = 8 // bytes that an offset of 1 stands for (RFC 791 section 3.1)

	optionCopied uint8 = 0x80 // the flag of an option that every fragment has (RFC 791 section 3.1)
)

// Fragments is the number of fragments that the IPv4 packet in frame, which was parsed into k, must be cut into if none
// may be longer than mtu bytes. It is 1 where the packet fits, and 0 where it cannot be cut: it forbids that, is of
// another family, mtu leaves no room for eight bytes behind the header, or an offset would not fit its 13 bits (a
// fragment that reaches beyond 65,535 bytes, which nobody can put together).
func Fragments(frame []byte, k *Key, mtu uint16) int {
	if k.Length <= mtu {
		return 1
	}
	if k.Family != IPv4 || k.DontFragment {
		return 0
	}
	h := frame[k.L3():]
	headerLen := int(h[0]&0x0f) * 4
	offset := int(binary.BigEndian.Uint16(h[6:])&ipv4OffsetMask) * fragmentUnit
	if offset+int(k.Length)-headerLen > maxPacketLen {
		return 0
	}
	return FragmentCount(headerLen, k.Length, mtu)
}

// FragmentCount is the number of fragments of at most mtu bytes that a longer packet of length bytes is cut into, of which
// headerLen are its header; 0 if there is no room for any.
func FragmentCount(headerLen int, length, mtu uint16) int {
	step := fragmentStep(headerLen, mtu)
	if step <= 0 {
		return 0
	}
	return (int(length) - headerLen + step - 1) / step
}

// fragmentStep is what every fragment but the last carries, in bytes.
func fragmentStep(headerLen int, mtu uint16) int { return (int(mtu) - headerLen) &^ (fragmentUnit - 1) }

// BuildFragment writes fragment i of those that Fragments counts to dst, as a whole frame of n bytes: an Ethernet header
// without tags whose addresses are zero, and the IP packet. It is ready for Encap, with a Key that has no tags and n less
// EthernetHeaderLen as its Length. dst must not overlap frame. ok is false, and dst untouched, if dst is too small.
//
// All have the header of the packet, but for its length, offset, flag and checksum: what forwarding changes, such as
// the TTL, must have been changed before. Options that later fragments must not have (RFC 791 section 3.1) become
// no-operations there, so that the headers stay equally long; as in Linux (ip_options_fragment), a packet that is itself
// a later fragment has had that done already. A fragment of one that is not the last keeps its flag.
func BuildFragment(dst, frame []byte, k *Key, mtu uint16, i int) (n int, ok bool) {
	packet := frame[k.L3():][:k.Length]
	headerLen := int(packet[0]&0x0f) * 4
	step := fragmentStep(headerLen, mtu)
	from := headerLen + i*step
	to := min(from+step, len(packet))
	total := headerLen + to - from
	if n = EthernetHeaderLen + total; len(dst) < n {
		return 0, false
	}
	putEthernet(dst, EtherTypeIPv4)
	h := dst[EthernetHeaderLen:n]
	copy(h, packet[:headerLen])
	copy(h[headerLen:], packet[from:to])

	word := binary.BigEndian.Uint16(h[6:])
	if i > 0 && word&ipv4OffsetMask == 0 {
		blankUncopied(h[IPv4HeaderLen:headerLen])
	}
	word += uint16(i * step / fragmentUnit)
	if to < len(packet) {
		word |= ipv4MoreFragments
	}
	binary.BigEndian.PutUint16(h[2:], uint16(total))
	binary.BigEndian.PutUint16(h[6:], word)
	binary.BigEndian.PutUint16(h[10:], 0)
	binary.BigEndian.PutUint16(h[10:], Checksum(Sum(0, h[:headerLen])))
	return n, true
}

// blankUncopied makes no-operations of the options without the copied flag. Parse has made sure that they can be walked.
func blankUncopied(options []byte) {
	for len(options) > 0 {
		n := 1
		switch {
		case options[0] == optionEnd:
			return
		case options[0] != optionNop:
			n = int(options[1])
		}
		if options[0]&optionCopied == 0 {
			for j := range options[:n] {
				options[j] = optionNop
			}
		}
		options = options[n:]
	}
}
