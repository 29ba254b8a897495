package appliance

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"

	"weir/appliance/cpulist"
)

// usableCPUs lists the CPUs that the process may run on.
func usableCPUs() ([]int, error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return nil, fmt.Errorf("ask for usable CPUs: %w", err)
	}
	var cpus []int
	for cpu := 0; len(cpus) < set.Count(); cpu++ {
		if set.IsSet(cpu) {
			cpus = append(cpus, cpu)
		}
	}
	return cpus, nil
}

// isolatedCPUs lists those that the kernel leaves to who asks for them (isolcpus=). No process is on them without asking, so they are not
// among the usable ones.
func isolatedCPUs() []int {
	text, err := os.ReadFile("/sys/devices/system/cpu/isolated")
	if err != nil {
		return nil
	}
	return cpulist.Parse(string(text))
}

// canRunOn tries whether a thread of this process gets onto a CPU.
func canRunOn(cpu int) bool {
	can := make(chan bool)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		var set unix.CPUSet
		set.Set(cpu)
		can <- unix.SchedSetaffinity(0, &set) == nil
	}()
	return <-can
}
