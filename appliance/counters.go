package appliance

import (
	"sync/atomic"

	"weir/policy/packet"
)

// counters are one worker's, written by it alone and read by anyone. What is counted per packet is only what does not
// go the straight way; received and transmitted are counted by the queues, once a batch.
//
// For a router at rest:
//
//	received + generated + fragments = transmitted + punted + Σ drops + waiting + fragmented
type counters struct {
	punted    atomic.Uint64 // handed to the kernel because they are for the router itself
	generated atomic.Uint64 // ICMP errors, redirects and TCP resets that the router made
	fragments atomic.Uint64 // made of the packets that were cut
	cut       atomic.Uint64 // packets that were cut into fragments
	limited   atomic.Uint64 // ICMP errors not made because of the limit of their port
	spared    atomic.Uint64 // ICMP errors not made because of the limit of their sender
	unsent    atomic.Uint64 // ICMP errors not made because none may be sent about such a packet
	waiting   atomic.Int64  // packets in waiting rooms and holds now
	drops     dropCounters
	packets   atomic.Uint64 // taken from queues
	batches   atomic.Uint64 // that they came in
	sleeps    atomic.Uint64 // times that it slept in ppoll
	asleep    atomic.Uint64 // ns in ppoll
}

// dropCounters are by reason.
type dropCounters [packet.End]atomic.Uint64
