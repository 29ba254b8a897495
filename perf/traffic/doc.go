// Package traffic sends packets to a device under test, takes back what comes out of it, and says what became of them.
//
// # A run
//
//	[]Stream ── NewPlan ──▶ Plan: flows (headers), slots (which flow comes next, in which size)
//	                          │
//	          Sender (live or xsk) ──▶ device under test ──▶ Receiver ──▶ Result
//
// A Stream says what packets are like: addresses, ports, sizes, and how often each flow occurs. A Plan has that worked out, so that
// sending a packet is copying a header. Two senders put a plan on the wire: Live has the kernel run a BPF program over frames that it
// recycles (BPF_PROG_TEST_RUN, several million packets a second on one core); XSK transmits over AF_XDP with weir's own rings, over
// several queues. The Receiver is an XDP program: it counts where packets arrive, before anything else sees them.
//
// # What is measured
//
// Every packet carries its flow, its number within the flow, and the time at which it was sent, by the clock that the receiver
// reads too. So what is lost is the difference between what was sent and what came, each packet counted once; what comes again, or
// behind one with a higher number of the same flow (RFC 4737), is counted, and so are latencies, in steps of 0.8 %. A packet that
// is more than 64 behind its flow counts as reordered, even if it has come before.
//
// What to beware of:
//   - The time that is stamped is the one at which the packet is handed to the kernel. What the sender's own way to the wire
//     takes is in every latency: Bias measures it, with a wire in the place of the device under test.
//   - A live frame is on its way when the last one of its batch is due. Batches are as long as 10 µs of the rate, and one packet
//     below 200,000 a second.
//   - Frames of anybody else go on to the receiver's kernel, and are counted as strangers.
package traffic
