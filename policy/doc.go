// Package policy decides what becomes of a packet: rules choose tables, tables choose routes, routes choose next hops.
//
// # From configuration to decision
//
//	Policy --Compile--> Snapshot --Decide--> []Verdict      a worker's batch
//	                             --Explain-> Explanation    one packet, with every step
//	                             --Reply, Redirect          what its sender is told, and from where
//
// A [Policy] is a validated configuration with names resolved to indexes. [Compile] is pure: it checks what only the
// whole can tell (loops, depths, ranges), reports everything it finds as [CompileErrors], and builds a [Snapshot]. That
// is everything a worker reads. It is immutable and has a generation; changing anything means publishing another one.
//
// Of a policy that is right, Compile says what has no effect (lint.go): rules and statements that others shadow, that can
// match nothing or change nothing, marks that nothing reads or sets, tables that nothing leads to. It says so only where
// that holds for every packet.
//
// # The specification
//
// [Snapshot.Evaluate] is the meaning of a configuration: a linear walk over marks, rules and tables in plain Go, which
// follows Linux (net/core/fib_rules.c, net/ipv4/fib_trie.c, net/ipv4/route.c, net/ipv6/ip6_output.c) to the bit,
// and goes beyond it where tables are opaque, keyed by source, or send what they match to another table. In order:
//
//  1. addresses that are never forwarded
//  2. marks (match.go, marks.go)
//  3. rules and tables
//  4. own source address
//  5. reverse path (reversepath.go)
//  6. TTL
//  7. scope of the source address
//  8. MTU: an error, or fragments
//
// Given a [Trace] it says why. Workers call [Snapshot.Decide], which gives the same verdicts and counts the same, but of a
// snapshot that has been through [Snapshot.Promote] looks up large tables in arrays (decide.go), and finds the rules and
// statements of long lists by matchers instead of trying each of them (matcher.go).
//
// Fragments are decided as in Linux, or, where they are consistent, all like the first of their datagram:
// [Snapshot.ConsistentFragments] has the meaning and what it wants of a Key.
//
// # Linux
//
// [Snapshot.Linux] is what of the policy Linux can express, for the appliance to give to the kernel.
//
// # Beware
//
//   - Indexes of rules (Verdict.Rule) are in the order of the walk, not in that of Policy.Rules.
//   - The zero Rule suppresses default routes: its SuppressPrefixLength is 0, not -1.
//   - A rule exists in the families that its selectors can speak of, as Linux keeps a list for each: "not from 10/8"
//     does not match an IPv6 packet, and a goto lands on a rule of the packet's family.
//   - Compile adds nothing: own addresses, connected networks and default rules are routes and rules like all others.
//     ConnectedRoutes and DefaultRules make them.
package policy
