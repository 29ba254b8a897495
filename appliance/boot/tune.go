package boot

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"weir/appliance/cpulist"
)

// Tune has the interrupts of ports go where their workers want them, and returns what could not be. Queue q of a port is served by
// worker q mod n, on the CPU of that place in the list. Where there are as many CPUs without a worker as there are workers, each queue's
// interrupts go to one of those, so that the kernel's share of the work and weir's are done side by side; else to the worker's own, whose
// cache has what comes.
func Tune(ports []string, workers []int) error { return tune("/", ports, workers) }

func tune(root string, ports []string, workers []int) (failed error) {
	if len(workers) == 0 {
		return nil
	}
	cpus := irqCPUs(cpulist.Parse(readText(root, "/sys/devices/system/cpu/online")), workers)
	for _, port := range ports {
		for _, irq := range readIRQs(root, port) {
			queue, ok := queueOf(irq.Name)
			if !ok {
				continue
			}
			path := filepath.Join(root, "/proc/irq", strconv.Itoa(irq.Number), "smp_affinity_list")
			if err := os.WriteFile(path, []byte(strconv.Itoa(cpus[queue%len(cpus)])), 0o644); err != nil {
				failed = errors.Join(failed, fmt.Errorf("interrupt %s of %s: %w", irq.Name, port, err))
			}
		}
	}
	return failed
}

// irqCPUs are the CPUs that the interrupts of queues go to, by worker.
func irqCPUs(online, workers []int) []int {
	busy := map[int]bool{}
	for _, cpu := range workers {
		busy[cpu] = true
	}
	var free []int
	for _, cpu := range online {
		if !busy[cpu] {
			free = append(free, cpu)
		}
	}
	if len(free) < len(workers) {
		return workers
	}
	return free[:len(workers)]
}

// queueOf is the queue in an interrupt's name, which drivers end in its number: virtio1-input.0, ens1-TxRx-3, mlx5_comp2@pci:…. What has none
// is no queue's.
func queueOf(name string) (queue int, ok bool) {
	name, _, _ = strings.Cut(name, "@")
	digits := len(name) - len(strings.TrimRight(name, "0123456789"))
	if digits == 0 || strings.HasSuffix(name[:len(name)-digits], "config") {
		return 0, false
	}
	queue, err := strconv.Atoi(name[len(name)-digits:])
	return queue, err == nil
}
