//go:build !race

package vm

const underRace = false
