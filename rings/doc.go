// Package rings moves frames between netdevs and the router's workers over AF_XDP.
//
// The words: a [Port] is a netdev with weir's XDP program on it. A [UMEM] is the memory that frames live in, cut into
// chunks of one size. A [Queue] is one NIC queue of one port: a socket with its four rings. A [Frame] is a
// descriptor, where a packet lies in the UMEM and how long it is.
//
//	           fill ──────────►┌────────┐
//	 free ◄──┐   (empty chunks)│ kernel │◄──── NIC queue
//	frames   │                 │        │
//	  │      │ rx ◄────────────┤        │
//	  │      │   (packets)     │        │
//	  └──►   │ tx ────────────►│        │────► NIC queue
//	worker   │   (packets)     │        │
//	         └─ completion ◄───┘        │
//	             (sent chunks)
//
// Every ring has one writer and one reader. We produce into fill and tx and consume rx and completion. All queues of one
// worker share one UMEM, so a packet that goes from one port to another moves as a descriptor, and its bytes
// stay where the kernel put them.
//
// A UMEM, its queues and their frames belong to one worker: none of their methods may be called from two
// goroutines at once. What opens and closes them (OpenPort, OpenQueue, CloseQueue) is for the control plane, never
// for the packet path. No method of the packet path allocates, locks or logs.
//
// Traps:
//   - Where a NIC or a veth peer strips VLAN tags (rx-vlan-offload), XDP does not see them; OpenPort switches it off.
//   - A veth peer whose stack leaves checksums to the hardware sends unfinished ones; switch its tx-checksumming off.
//   - On veth the peer needs NAPI (GRO on, or an XDP program) to receive what we send, and has no zero-copy.
package rings
