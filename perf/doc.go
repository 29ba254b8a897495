// Package perf measures routers.
//
// [Peers] puts weir beside what it should be judged by on one machine: the I/O floor, which is the least that a
// forwarder over AF_XDP can do ([RunFloor]), an XDP program that asks the kernel's tables, and the kernel's own forwarding.
// They may be given rules and routes to carry, and marks, which the kernel has in nftables ([Load]). All stand in the same place of the same testbed and take turns:
//
//	core 0                    core 1                                  core 1, in softirq
//	┌──────────┐  veth   ┌────────────────────────────────┐  veth   ┌───────────┐
//	│ generator├────────►│ em0   weir, floor, …        em1├────────►│ counter   │
//	│ (BPF)    │         │                                │         │ (XDP)     │
//	└──────────┘         └────────────────────────────────┘         └───────────┘
//
// The generator is a BPF program that the kernel runs over live frames (BPF_PROG_TEST_RUN), several million a second,
// paced. The counter is an XDP program that drops what it counts. Everything that the router's packets cost, receive
// path included, is done by threads on core 1 which are timed: the router's worker, and the NAPI threads of its ports.
//
// [Stages] takes the router's code apart: what parsing, the decision and rewriting take of a packet's time, without devices.
//
// A [Bench] puts one device under test between a sender and a receiver of perf/traffic, as a trial.Tester: the procedures of
// perf/procedure measure it, and perf/report shows what they found. [Ports] are the same with two ports of this machine and a device that is
// somebody else's. [Tester] says what sender and receiver do on their own.
//
// What to beware of:
//   - Absolute figures of a virtual machine drift by a factor of two. Only ratios of one round mean anything, and only
//     the median of several rounds, with its range.
//   - Two testbeds at a time starve one another: their threads are urgent, and the softirqs of core 1 wait behind those for a second and
//     more. Packets then arrive when their trial is over.
//   - A busy machine takes time from core 1. Each window tells how much (Window.Foreign); a report tells the worst.
//   - What the counter costs is part of every peer's figures, on veth: the kernel runs it in the softirq of whoever
//     transmits. Thereby ratios come out closer to 1 than with a wire in between.
//   - An AF_XDP socket's ring that overflows makes every packet dearer. So the best loss-free rate is reported beside
//     the best rate of all.
package perf
