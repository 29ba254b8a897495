package perf

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// processorTime is what a CPU has done, to the tick of the kernel's clock (USER_HZ, 10 ms).
type processorTime struct {
	busy   time.Duration // running threads and interrupts
	stolen time.Duration // it ran something else, outside this virtual machine
}

const userTick = 10 * time.Millisecond // USER_HZ is 100 on all that weir runs on

// readProcessor reads a CPU's line of /proc/stat (proc_stat(5)).
func readProcessor(cpu int) (t processorTime, err error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return t, err
	}
	name := fmt.Sprintf("cpu%d", cpu)
	for line := range bytes.Lines(text) {
		fields := strings.Fields(string(line))
		if len(fields) < 9 || fields[0] != name {
			continue
		}
		for i, add := range map[int]*time.Duration{1: &t.busy, 2: &t.busy, 3: &t.busy, 6: &t.busy, 7: &t.busy, 8: &t.stolen} {
			ticks, err := strconv.ParseInt(fields[i], 10, 64)
			if err != nil {
				return t, fmt.Errorf("read /proc/stat: %w", err)
			}
			*add += time.Duration(ticks) * userTick
		}
		return t, nil
	}
	return t, fmt.Errorf("there is no CPU %d", cpu)
}
