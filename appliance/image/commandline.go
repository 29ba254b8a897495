package image

import (
	"fmt"
	"strconv"
	"strings"

	"weir/appliance/image/layout"
)

// cpuMax is more than any kernel of Debian's is built for.
const cpuMax = 8191

// commandLine is the kernel's: the tokens that boot goes by, then where messages go and what a panic does, then tuning.
func (o Options) commandLine() (string, error) {
	words := []string{layout.TokenBoot, layout.TokenSlot + string(layout.SlotA), "console=tty0", "console=ttyS0,115200n8", "panic=10", "loglevel=4"}
	if o.WorkerCPUs != "" {
		others, err := otherCPUs(o.WorkerCPUs)
		if err != nil {
			return "", err
		}
		words = append(words, "isolcpus=managed_irq,domain,"+o.WorkerCPUs, "nohz_full="+o.WorkerCPUs, "rcu_nocbs="+o.WorkerCPUs, "irqaffinity="+others)
	}
	if o.HugePages < 0 {
		return "", fmt.Errorf("%d huge pages are too few", o.HugePages)
	}
	if o.HugePages > 0 {
		words = append(words, "default_hugepagesz=2M", fmt.Sprintf("hugepages=%d", o.HugePages))
	}
	return strings.Join(append(words, strings.Fields(o.KernelOptions)...), " "), nil
}

// otherCPUs lists, as the kernel does, the CPUs up to the highest of a list that are not in it: those left for interrupts and everything
// else. CPU 0 must be one of them, since the kernel does not isolate the one that it started on.
func otherCPUs(list string) (string, error) {
	in := make(map[int]bool)
	highest := 0
	for part := range strings.SplitSeq(list, ",") {
		first, last, ranged := strings.Cut(part, "-")
		if !ranged {
			last = first
		}
		from, err := strconv.ParseUint(first, 10, 16)
		if err != nil {
			return "", fmt.Errorf("CPUs %q: %q is no CPU: 2-7 or 2,3 is a list", list, part)
		}
		to, err := strconv.ParseUint(last, 10, 16)
		if err != nil || to < from || to > cpuMax {
			return "", fmt.Errorf("CPUs %q: %q is no range of CPUs: 2-7 or 2,3 is a list", list, part)
		}
		for cpu := int(from); cpu <= int(to); cpu++ {
			in[cpu] = true
		}
		highest = max(highest, int(to))
	}
	if in[0] {
		return "", fmt.Errorf("CPUs %q: CPU 0 is for interrupts and everything else", list)
	}
	var out []string
	for cpu := 0; cpu <= highest; cpu++ {
		if in[cpu] {
			continue
		}
		first := cpu
		for !in[cpu+1] && cpu < highest {
			cpu++
		}
		if first == cpu {
			out = append(out, strconv.Itoa(first))
		} else {
			out = append(out, fmt.Sprintf("%d-%d", first, cpu))
		}
	}
	return strings.Join(out, ","), nil
}
