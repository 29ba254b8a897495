package policy

import (
	"fmt"

	"weir/policy/packet"
)

// fragmented reports whether the packet goes on in fragments of at most MTU bytes.
func (v *Verdict) fragmented() bool { return v.Action == Forward && v.MTU != 0 }

// fragments is how many of them a packet makes. A packet that somebody describes has no options, and a later fragment
// does not tell.
func fragments(k *packet.Key, mtu uint16) int {
	headerLen := packet.IPv4HeaderLen
	if k.L4 != 0 {
		headerLen = int(k.L4) - k.L3()
	}
	return packet.FragmentCount(headerLen, k.Length, mtu)
}

// fragmentsText says it for people.
func fragmentsText(n int, mtu uint16) string {
	return fmt.Sprintf("%d fragments of at most %d", n, mtu)
}
