// Package appliance is the running router: workers that carry packets from ring to ring, and the control plane that
// tells them what to run.
//
//	Prepare ──► Publish ──────────────┐                         netlink: neighbours, links, addresses
//	(a commit)                        ▼                                     │
//	                        published *generation ◄── adjacencies ──────────┘
//	                                  │  one atomic load a batch
//	          ┌───────────────────────┼───────────────────────┐
//	          ▼                       ▼                       ▼
//	      Worker 0                Worker 1                Worker 2        pinned; each has its queues of
//	   rx ► decide ► tx        rx ► decide ► tx        rx ► decide ► tx   every port, and their frames
//	          │                       │                       │
//	          └──── requests to resolve neighbours, packets for the kernel (spsc queues) ──► control plane
//
// Begin with worker.go, whose forward is the packet path. generation.go has what is published and how the old is waited
// for; router.go the life of a router; devices.go its ports; kernel.go and settings.go what it changes in the kernel and
// how that is undone; refit.go what happens when netdevs go, come or change; kernelroutes.go the rules and routes that the
// kernel is given; neighbors.go, gateways.go and waiting.go next hops; datagrams.go the fragments of one; fragment.go what is cut;
// reject.go, redirect.go and limits.go what is answered, and how often. tallies.go, state.go, policystate.go, metrics.go, and
// capture.go with pcapng.go are for those who watch.
//
// What to beware of:
//   - What a worker owns (its queues, UMEM, waiting rooms, fragments) nobody else touches while it runs. The control plane changes
//     a worker's ways only by publishing, and frees what the old generation had only after await.
//   - Nothing that forward calls may allocate, lock, log or make a system call per packet; worker_test.go checks the
//     allocations on every way through it.
//   - Router.mu is held while a commit waits for the workers, up to two seconds if one is stuck: State waits with it.
//   - Netlink acts in the network namespace of the process. A Router serves that one.
package appliance
