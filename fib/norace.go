//go:build !race

package fib

const onHeap = false
