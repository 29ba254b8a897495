package boot

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"weir/appliance/image/layout"
)

// Platform is what the router runs on.
type Platform struct {
	Version       string      `json:"version"`
	Kernel        string      `json:"kernel"`
	Slot          layout.Slot `json:"slot"`
	Images        []Image     `json:"images"` // in the order in which the boot loader prefers them
	Upgrade       *Upgrade    `json:"upgrade,omitempty"`
	Trial         string      `json:"trial,omitempty"` // what the running image has to show still
	Configuration string      `json:"configuration"`   // how its partition is
	DataPlane     Child       `json:"data_plane"`
	Watchdog      *watchdog   `json:"watchdog,omitempty"`
	CPUs          CPUs        `json:"cpus"`
	HugePages     HugePages   `json:"huge_pages"`
	IRQs          []IRQ       `json:"irqs"`
	NAPI          []NAPI      `json:"napi"`
	Trouble       []string    `json:"trouble,omitempty"`
}

// CPUs are lists as the kernel writes them: 0-1,4.
type CPUs struct {
	Online   string `json:"online"`
	Isolated string `json:"isolated"`
	NoTick   string `json:"nohz_full"`
}

// HugePages of 2 MiB.
type HugePages struct {
	Total int `json:"total"`
	Free  int `json:"free"`
}

// IRQ is an interrupt of a port, and the CPUs that it goes to.
type IRQ struct {
	Port     string `json:"port"`
	Number   int    `json:"number"`
	Name     string `json:"name"`
	Affinity string `json:"affinity"`
}

// NAPI is how the kernel polls a port.
type NAPI struct {
	Port          string `json:"port"`
	Threaded      int    `json:"threaded"`
	DeferHardIRQs int    `json:"napi_defer_hard_irqs"`
	FlushTimeout  int    `json:"gro_flush_timeout"`
}

// readText is a file of the kernel's without its last line end, or "" where there is none.
func readText(elements ...string) string {
	text, err := os.ReadFile(filepath.Join(elements...))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

func readNumber(elements ...string) int {
	n, err := strconv.Atoi(readText(elements...))
	if err != nil {
		return 0
	}
	return n
}

func readCPUs(root string) CPUs {
	const dir = "/sys/devices/system/cpu"
	noTick := readText(root, dir, "nohz_full")
	if noTick == "(null)" {
		noTick = ""
	}
	return CPUs{Online: readText(root, dir, "online"), Isolated: readText(root, dir, "isolated"), NoTick: noTick}
}

func readHugePages(root string) HugePages {
	const dir = "/sys/kernel/mm/hugepages/hugepages-2048kB"
	return HugePages{Total: readNumber(root, dir, "nr_hugepages"), Free: readNumber(root, dir, "free_hugepages")}
}

// netdevs are the network devices that have hardware below them, if only a virtual machine's.
func netdevs(root string) (names []string) {
	const dir = "/sys/class/net"
	entries, err := os.ReadDir(filepath.Join(root, dir))
	if err != nil {
		return nil
	}
	for _, e := range entries {
		if _, err := os.Stat(filepath.Join(root, dir, e.Name(), "device")); err == nil {
			names = append(names, e.Name())
		}
	}
	return names
}

// readIRQs lists the interrupts of a netdev in their order: those of its device, or of the one above, which has them for virtio.
func readIRQs(root, port string) (list []IRQ) {
	device, err := filepath.EvalSymlinks(filepath.Join(root, "/sys/class/net", port, "device"))
	if err != nil {
		return nil
	}
	names := irqNames(readText(root, "/proc/interrupts"))
	for _, above := range []string{device, filepath.Dir(device)} {
		dir := filepath.Join(above, "msi_irqs")
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, e := range entries {
			n, err := strconv.Atoi(e.Name())
			if err != nil {
				continue
			}
			list = append(list, IRQ{Port: port, Number: n, Name: names[n], Affinity: readText(root, "/proc/irq", e.Name(), "smp_affinity_list")})
		}
		slices.SortFunc(list, func(a, b IRQ) int { return a.Number - b.Number })
		return list
	}
	return nil
}

// irqNames are the names in /proc/interrupts: the last word of each line.
func irqNames(text string) map[int]string {
	names := map[int]string{}
	for line := range strings.Lines(text) {
		number, rest, ok := strings.Cut(strings.TrimSpace(line), ":")
		n, err := strconv.Atoi(number)
		if fields := strings.Fields(rest); ok && err == nil && len(fields) > 0 {
			names[n] = fields[len(fields)-1]
		}
	}
	return names
}

func readNAPI(root, port string) NAPI {
	dir := filepath.Join(root, "/sys/class/net", port)
	return NAPI{
		Port: port, Threaded: readNumber(dir, "threaded"),
		DeferHardIRQs: readNumber(dir, "napi_defer_hard_irqs"), FlushTimeout: readNumber(dir, "gro_flush_timeout"),
	}
}

// HugePagesReserved reports whether the kernel was given huge pages for frames to be in.
func HugePagesReserved() bool { return readHugePages("/").Total > 0 }
