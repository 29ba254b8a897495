// Package cpulist reads lists of CPUs as the kernel writes them: /sys/devices/system/cpu/isolated, smp_affinity_list, isolcpus=.
package cpulist

import (
	"strconv"
	"strings"
)

// Parse reads a list such as 0-3,6, in its order. What is no CPU, or an empty list, is left out.
func Parse(text string) (list []int) {
	for part := range strings.SplitSeq(strings.TrimSpace(text), ",") {
		low, high, isRange := strings.Cut(part, "-")
		if !isRange {
			high = low
		}
		from, err := strconv.Atoi(low)
		to, err2 := strconv.Atoi(high)
		if err != nil || err2 != nil {
			continue
		}
		for cpu := from; cpu <= to; cpu++ {
			list = append(list, cpu)
		}
	}
	return list
}
