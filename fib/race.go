//go:build race

package fib

// onHeap has regions lie in the Go heap, and be small: the race detector sees no other memory, and would take what is ordered by an
// atomic store there for unordered.
const onHeap = true
