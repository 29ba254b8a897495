// Package lab builds network laboratories out of Linux network namespaces: for the demonstration, for tests on real
// ports, and for benchmarks. It needs root and nothing but the kernel: no iproute2, no ping, no iperf.
//
// A [Lab] is a set of hosts. A [Host] is a network namespace with its own interfaces, routes and sysctls. A [Link] is
// a veth pair between two of them, a [VLAN] a tagged interface on one end of such a pair. On top of that stand the
// traffic tools, which use each host's own kernel stack ([Host.Ping], [Host.ListenTCP], [Host.SendTCP],
// [Host.ListenUDP], [Host.SendUDP], [Host.ListenICMP]) or go beneath it ([Host.OpenFrames]).
//
//	l, err := lab.New()
//	defer l.Close()
//	client, _ := l.Host("client")
//	router, _ := l.Host("router")
//	_, err = l.Link(client, "eth0", router, "em0", lab.LinkOptions{
//		Queues: 2, AddressesA: []string{"192.0.2.10/24"}, AddressesB: []string{"192.0.2.1/24"},
//	})
//	echo, err := client.Ping(ctx, lab.PingOptions{To: netip.MustParseAddr("192.0.2.1")})
//
// Things to know:
//
//   - Namespaces are bind-mounted in /run/netns as weir-PID-N-HOST, so that `ip netns exec` finds them. [New] first
//     removes those of processes that no longer exist. Everything else (links, TAPs, sockets, routes) lives inside a
//     namespace and goes with it; nothing is ever made in the namespace of the caller.
//   - [Lab.Close] removes everything and may be called twice. It is not called by itself: defer it, use [ForTest], or,
//     against Ctrl-C, [CloseOnSignal]. [Leftovers] tells what is still there.
//   - A socket belongs to the namespace of the thread that made it, for good. So the tools enter a namespace only to
//     open a socket; reading and writing happens on any thread.
//   - An XDP program sees frames as the sender's driver left them. Links therefore switch transmit checksum offload,
//     segmentation offload and VLAN tag offload off at both ends, unless LinkOptions.Offloads is set.
//   - GRO is on, since veth runs its receive path in NAPI only then, and XDP redirects need that. GRO also merges TCP
//     segments, which captures then show as one large frame with an unfinished checksum. LinkOptions.NoMerge keeps
//     NAPI and forbids the merging.
package lab
