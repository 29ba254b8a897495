// Package fib holds routes and answers which of them a packet takes.
//
// A [Table] is filled with [Route] values by one writer and looked up by longest prefix match. It knows nothing of
// rules, of other tables or of what happens after a miss: that is package policy, which builds tables when it
// compiles a configuration. [Adjacencies] is the set of neighbours that next hops and on-link destinations lead to;
// packets refer to them by index.
//
// # One structure, two duties
//
// Today the routing information base (what is updated and listed) and the forwarding structure (what is looked up)
// are the same balanced routing table, github.com/gaissmai/bart, which holds both families. It answers in 10 to 60 ns
// up to some thousand routes. A full Internet table needs two to five times that, so compiled array forms will come
// beside it, for lookup alone; bart stays the base that they are built from, and the twin they are tested against.
//
// # Concurrency
//
// A Table has a single writer, which is done with it before the table is published. From then on it is read-only, and
// any number of readers use it without a lock. A change after that builds another table. Adjacencies are immutable
// values from the start.
//
// # Beware
//
// Routes returned by a lookup point into the table and must not be written to.
package fib
