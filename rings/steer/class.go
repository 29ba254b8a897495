package steer

// Class is what the program took a frame for. Every frame is counted in exactly one class.
// The list below is the one place in Go that defines a counter and its description; counters are arrays indexed by
// Class. Its order is that of enum class in bpf/steer.c.
type Class uint8

// Classes. The first goes to the AF_XDP socket, all others to the kernel.
const (
	Redirected Class = iota // unicast IP for somebody else: weir routes it
	NoSocket                // the same, but its queue has no socket: the kernel routes it
	NotOurMAC               // for another host on the link: the kernel drops it
	Group                   // multicast or broadcast, by its MAC or its IP address
	NotIP                   // neither IPv4 nor IPv6 within two VLAN tags: ARP, LLDP, LACP, …
	Unparsable              // ends before its addresses, or has an impossible IP version or header length
	LinkLocal               // to an IPv6 link-local address
	Neighbor                // IPv6 neighbour discovery
	OwnAddress              // to an address of the router

	// End marks the number of classes.
	End
)

var classes = [End]struct{ name, help string }{
	Redirected: {"redirected", "unicast IP packet to route, handed to the AF_XDP socket of its queue"},
	NoSocket:   {"no-socket", "unicast IP packet to route, left to the kernel because its queue has no socket"},
	NotOurMAC:  {"not-our-mac", "unicast frame to a MAC address that is not the port's"},
	Group:      {"group", "multicast or broadcast, by its MAC or its IP address"},
	NotIP:      {"not-ip", "neither IPv4 nor IPv6 within two VLAN tags"},
	Unparsable: {"unparsable", "ends before its addresses, or has an impossible IP version or header length"},
	LinkLocal:  {"link-local", "to an IPv6 link-local address"},
	Neighbor:   {"neighbor", "IPv6 neighbour discovery"},
	OwnAddress: {"own-address", "to an address of the router"},
}

// String is the stable name of the class, as counters show it.
func (c Class) String() string {
	if c < End {
		return classes[c].name
	}
	return "unknown"
}

// Help describes the class in a phrase for people.
func (c Class) Help() string {
	if c < End {
		return classes[c].help
	}
	return ""
}

// Counters holds the number of frames of each class, indexed by Class. It is laid out as struct counters in
// bpf/steer.c.
type Counters [End]uint64

// Kernel is the number of frames that went to the kernel.
func (c *Counters) Kernel() uint64 {
	var sum uint64
	for _, n := range c[Redirected+1:] {
		sum += n
	}
	return sum
}
