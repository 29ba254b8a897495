//go:build race

package vm

// underRace: the race detector has nothing to find in QEMU, and makes what is around it slow.
const underRace = true
