// Package oracle holds weir's decisions against the Linux kernel's. It has tests and nothing else.
//
// # One description, three oracles
//
// A generator makes a random configuration that Linux can express, and random packets that are likely to meet its rules
// and routes: prefixes and packets draw on the same few addresses, ports and marks. From that one description
//
//   - package policy compiles a snapshot, whose Evaluate is what is on trial,
//   - a network namespace of the kernel is configured by netlink,
//   - a configuration file is written for the weir binary.
//
// The kernel is then asked in two ways, and weir is run as a third:
//
//	TestGetRoute   RTM_GETROUTE for each packet: errno, or table, prefix, next hops     against Snapshot.Evaluate
//	TestLinux      frames through the kernel as a router, captured at every port        against Snapshot.Evaluate
//	TestWeir       the same frames through the running weir                             against what Linux sent
//
// # What is not compared
//
// Where weir differs from Linux on purpose, differences_test.go says so, with the reason, and is the only place that
// lets a packet pass. Its tests show that each difference is really there. What only weir has (opaque tables, tables
// keyed by source, lookup routes, interface groups as a selector) no kernel can judge; package policy has a twin for
// that.
//
// # A failure
//
// A mismatch prints the configuration as ip-rule(8) and ip-route(8) commands, the packet as arguments of weir explain,
// the explanation, and a command that runs the same configuration again:
//
//	go test ./policy/oracle -run TestGetRoute -oracle.seed=N -oracle.first=I -oracle.configs=1
//
// A configuration depends on the seed and its number alone. Without a seed, each run has another one. Longer runs:
//
//	go test ./policy/oracle -run TestGetRoute -timeout 1h -oracle.configs=20000
//
// # Beware
//
// RTM_GETROUTE is not quite what a packet meets: IPv4 takes a request without a protocol for UDP, only ICMP, TCP and UDP
// can be asked for, EINVAL stands for blackholes and for impossible addresses, and IPv6 does not look at the source at
// all. The other two oracles have real packets.
package oracle
