// Package fib holds routes and answers which of them a packet takes.
//
// A [Table] is filled with [Route] values by one writer and looked up by longest prefix match. It knows nothing of
// rules, of other tables or of what happens after a miss: that is package policy, which builds tables when it
// compiles a configuration. [Adjacencies] is the set of neighbours that next hops and on-link destinations lead to;
// packets refer to them by index.
//
// # Two forms
//
// The routing information base (what is updated, listed and explained) is a balanced routing table,
// github.com/gaissmai/bart, for both families. It answers in 10 to 60 ns up to some thousand routes, and in 150 to 600 at the
// size of the Internet's table. For that [Table.Build] makes array forms beside it, one trie for each family (trie.go): DIR-24-8
// for IPv4, the same continued by 8 bits a step for IPv6. They are looked up a batch at a time (batch.go), by vector
// instructions where there are any (gather.go), in 1 to 6 and 2 to 12 ns. They come to an [Answer], which routes that
// differ in nothing but their address share (answers.go). bart stays the base that they are built from, and the twin they are
// tested against.
//
// Narrow entries of 16 bits serve as long as a table has fewer than 16,384 answers and tails, and 32,768 blocks, which halves the
// memory that lookups touch; a table that outgrows them is built anew with wide ones.
//
// # Concurrency
//
// A Table has one writer, and until [Table.Share] no reader while it is written. Then it may change while it is read. Of its
// array forms ([Table.Array]) each entry is one atomic word, so a lookup comes to the answer of before a change or to that of
// after it. Of the tree there are two: readers have one at rest ([Table.Tree]), the writer changes the other, and with
// [Table.Turn] they change places. What a change leaves unused, and the tree that readers have left, serve again after
// [Table.Reclaim], for which the writer waits until every reader has begun another batch. So the writer's walk is: changes, Turn, wait,
// Reclaim. Readers keep nothing that they have found beyond a batch, take no lock, and pay one atomic load a lookup.
//
// A lookup that goes on after its first route (to a shorter prefix, or the next metric) takes all its steps in one tree. Where
// the arrays cannot tell the end of it, it begins anew in the tree. Adjacencies are immutable values from the start.
//
// # Beware
//
// Routes returned by a lookup point into the table and must not be written to.
package fib
