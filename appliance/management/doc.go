// Package management keeps one netdev as the way to the machine itself: up, with its addresses and gateways, by a file or by DHCP. Packets
// there are the kernel's; weir forwards none to it and none from it.
//
// What it gave the netdev stays when the process ends, so that the machine can be reached while weir starts again. Addresses of DHCP
// end with their lease in any case.
package management
