// Package steer decides which frames are weir's and which are the kernel's.
//
// It is an XDP program (bpf/steer.c), one for each netdev, and the Go side that loads it, attaches it and keeps it
// informed. The program reads the headers of a frame once, and knows two answers: to the AF_XDP socket of the queue
// that the frame came on, or to the kernel, as if weir were not there. It changes nothing and drops nothing.
//
// # How it goes together
//
//	own, _ := steer.NewOwn(0)                                  // the router's own addresses: one for all ports
//	go steer.WatchAddresses(ctx, func(a []netip.Addr) { own.Set(a) })
//	p, _ := steer.Load(steer.Options{Own: own, MaxQueues: 8})  // one for each port
//	mode, reason, err := p.Attach(ifindex, steer.Auto)         // from now on it sees frames; the kernel gets all
//	p.Register(queue, fd)                                      // from now on weir gets those of this queue
//	p.Close()                                                  // the kernel gets all
//
// An Own should be filled before the first Register: while it is empty, weir gets what is meant for the router.
//
// # What goes where
//
// The first line that fits decides. Every frame is counted in the class that is named at the end.
//
//  1. To another MAC than the port's: the kernel, which answers multicast and broadcast (group), and drops what was
//     flooded or heard in promiscuous mode (not-our-mac). Were it routed, every unknown unicast frame on a switch would
//     be doubled by each router on it.
//  2. Not IP, looked for behind up to two VLAN tags (0x8100, 0x88a8, 0x9100): the kernel, for ARP, LLDP, LACP, MPLS and
//     all that weir does not speak (not-ip).
//  3. Frame ends before its addresses, or the IP version or the IPv4 header length is impossible: the kernel, which
//     counts it as an input error (unparsable).
//  4. To 224.0.0.0/4, 255.255.255.255 or ff00::/8: the kernel, where routing protocols and MLD live (group).
//  5. To fe80::/10: the kernel. The address means nothing off the link; ND, DHCPv6 and BGP use it on the link
//     (link-local).
//  6. ICMPv6 types 133 to 137 with hop limit 255, for any other destination: the kernel, which may be a proxy for
//     neighbour discovery (neighbor). ND behind an extension header is not recognised.
//  7. To an address in Own: the kernel. It does not matter which port has the address, as in Linux (own-address).
//  8. All others: the socket of the queue (redirected); without one, the kernel, which routes by its own tables, or
//     not, as net.ipv4.ip_forward says (no-socket).
//
// So weir fails open, towards the kernel: a queue without a socket, a program that is not attached, a process that
// died. Where the kernel must not route in its place, forwarding has to be off in the kernel.
//
// # Traps
//
//   - A NIC that strips VLAN tags (rx-vlan-offload) hides them: the program and the socket see an untagged frame, and
//     VLAN 100 is routed as if it had none. Turn it off: ethtool -K DEV rx-vlan-offload off. On a veth the tag is hidden
//     where the *peer* has tx-vlan-offload on.
//   - A veth's peer leaves checksums to be filled in by hardware that is not there: what it sends reaches the socket
//     with wrong TCP and UDP checksums. Turn them off on the peer: ethtool -K PEER tx off.
//   - A veth delivers what is transmitted into it by AF_XDP or a redirect only if the receiving end runs NAPI: with
//     GRO on, or with an XDP program of its own.
//   - The program has no multi-buffer support (xdp.frags): a frame that does not fit in a page never gets to it, and a
//     driver refuses the program while the MTU allows such frames. About 3,500 bytes are the limit.
//   - LRO and GRO-HW exclude XDP in the driver; generic mode linearises and copies each packet.
//   - Some drivers change their number of queues when a program attaches: count queues after Attach.
//   - Further MACs of the port (macvlan, VRRP) are not the port's: their frames go to the kernel.
//   - The program and its counters go with Close. A crash of the process detaches it, by way of the bpf_link.
package steer
