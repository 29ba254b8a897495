package perf

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// urgent is the nice value of everything that is measured: ordinary processes get next to nothing beside it.
const urgent = -20

// pinUrgent binds the calling thread, which must be locked, to a CPU and makes it urgent. restore takes both back.
func pinUrgent(cpu int) (restore func(), err error) {
	var before unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return nil, fmt.Errorf("read affinity: %w", err)
	}
	nice, err := priority(0)
	if err != nil {
		return nil, err
	}
	if err := pinThread(0, cpu); err != nil {
		return nil, err
	}
	restore = func() {
		_ = unix.SchedSetaffinity(0, &before)                           // of our own thread, to what it was
		_ = unix.SchedSetAttr(0, &unix.SchedAttr{Nice: int32(nice)}, 0) // and the ordinary slice
	}
	if err := makeUrgent(0); err != nil {
		restore()
		return nil, err
	}
	return restore, nil
}

// pinThread binds a thread (0: the calling one) to a CPU.
func pinThread(tid, cpu int) error {
	var set unix.CPUSet
	set.Set(cpu)
	if err := unix.SchedSetaffinity(tid, &set); err != nil {
		return fmt.Errorf("pin thread %d to CPU %d: %w", tid, cpu, err)
	}
	return nil
}

// makeUrgent puts a thread (0: the calling one) before ordinary ones. It has the shortest slice besides, for which Linux 6.12 lets a
// thread that wakes take the CPU at once; else it waits for the end of another's slice, which is milliseconds, whatever its nice value.
func makeUrgent(tid int) error {
	if err := unix.SchedSetAttr(tid, &unix.SchedAttr{Nice: urgent, Runtime: uint64(100 * time.Microsecond)}, 0); err != nil {
		return fmt.Errorf("set priority of thread %d: %w", tid, err)
	}
	return nil
}

// priority is the nice value of a thread. The system call answers 20 minus it, so that it is never negative.
func priority(tid int) (int, error) {
	p, err := unix.Getpriority(unix.PRIO_PROCESS, tid)
	if err != nil {
		return 0, fmt.Errorf("read priority of thread %d: %w", tid, err)
	}
	return 20 - p, nil
}

// raiseGroup makes the scheduling group of a process urgent, where the kernel groups processes by session
// (sched_autogroup): a nice value counts only within its group. restore takes it back.
func raiseGroup(pid int) (restore func() error, err error) {
	path := fmt.Sprintf("/proc/%d/autogroup", pid)
	text, err := os.ReadFile(path) // "/autogroup-20 nice 0"
	fields := strings.Fields(string(text))
	if errors.Is(err, os.ErrNotExist) || err == nil && len(fields) < 3 {
		return func() error { return nil }, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read scheduling group: %w", err)
	}
	if err := os.WriteFile(path, []byte(strconv.Itoa(urgent)), 0); err != nil {
		return nil, fmt.Errorf("raise scheduling group: %w", err)
	}
	before := fields[2]
	if before == strconv.Itoa(urgent) {
		before = "0" // another run has raised it, and may be over before this one
	}
	return func() error {
		if err := os.WriteFile(path, []byte(before), 0); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("restore scheduling group: %w", err)
		}
		return nil
	}, nil
}

// threadTime is the time that a thread has run.
func threadTime(tid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/schedstat", tid))
	if err != nil {
		return 0, fmt.Errorf("read run time of thread %d: %w", tid, err)
	}
	first, _, _ := strings.Cut(string(text), " ")
	ns, err := strconv.ParseInt(first, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read run time of thread %d: %w", tid, err)
	}
	return time.Duration(ns), nil
}

// threadsOf lists the threads of a process.
func threadsOf(pid int) ([]int, error) {
	paths, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/[0-9]*", pid))
	if err != nil {
		return nil, err
	}
	tids := make([]int, 0, len(paths))
	for _, path := range paths {
		tid, err := strconv.Atoi(filepath.Base(path))
		if err != nil {
			return nil, err
		}
		tids = append(tids, tid)
	}
	return tids, nil
}

// threadsOn finds the threads of a process that are pinned to a CPU: its worker, and perhaps a thread that was pinned for
// some other reason and sleeps for good, as the first thread of a Go program does when a goroutine ends locked to it.
func threadsOn(pid, cpu int) (found []int, err error) {
	tids, err := threadsOf(pid)
	if err != nil {
		return nil, err
	}
	for _, tid := range tids {
		var set unix.CPUSet
		if unix.SchedGetaffinity(tid, &set) == nil && set.Count() == 1 && set.IsSet(cpu) {
			found = append(found, tid)
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("process %d has no thread that is pinned to CPU %d", pid, cpu)
	}
	return found, nil
}

// kernelThread finds a thread of the kernel by its name.
func kernelThread(name string) (int, error) {
	paths, err := filepath.Glob("/proc/[0-9]*/comm")
	if err != nil {
		return 0, err
	}
	for _, path := range paths {
		if text, err := os.ReadFile(path); err == nil && strings.TrimSpace(string(text)) == name {
			return strconv.Atoi(filepath.Base(filepath.Dir(path)))
		}
	}
	return 0, fmt.Errorf("no kernel thread %s", name)
}

// From include/uapi/linux/netdev.h (Documentation/netlink/specs/netdev.yaml).
const (
	netdevVersion         = 1
	netdevCmdNAPIGet      = 11
	netdevAttrNAPIIfindex = 1
	netdevAttrNAPIPID     = 4
)

// napiThreads lists the threads that run the receive path of a device of the calling thread's network namespace. It has
// some only while /sys/class/net/DEVICE/threaded is 1.
func napiThreads(ifindex int) ([]int, error) {
	family, err := netdevFamily()
	if err != nil {
		return nil, fmt.Errorf("find netdev netlink family: %w", err)
	}
	request := nl.NewNetlinkRequest(family, unix.NLM_F_DUMP)
	request.AddData(genericHeader{netdevCmdNAPIGet, netdevVersion})
	request.AddData(nl.NewRtAttr(netdevAttrNAPIIfindex, nl.Uint32Attr(uint32(ifindex))))
	messages, err := request.Execute(unix.NETLINK_GENERIC, 0)
	if err != nil {
		return nil, fmt.Errorf("list NAPIs of interface %d: %w", ifindex, err)
	}
	var tids []int
	for _, m := range messages {
		attributes, err := nl.ParseRouteAttr(m[len(genericHeader{}):])
		if err != nil {
			return nil, fmt.Errorf("list NAPIs of interface %d: %w", ifindex, err)
		}
		for _, a := range attributes {
			if a.Attr.Type == netdevAttrNAPIPID {
				tids = append(tids, int(nl.NativeEndian().Uint32(a.Value)))
			}
		}
	}
	if len(tids) == 0 {
		return nil, fmt.Errorf("interface %d has no NAPI thread", ifindex)
	}
	return tids, nil
}

// netdevFamily asks for the number of the netdev family, with a whole header: the library's own request (GenlFamilyGet)
// has two bytes for four, and sends what lies behind them.
func netdevFamily() (int, error) {
	request := nl.NewNetlinkRequest(nl.GENL_ID_CTRL, 0)
	request.AddData(genericHeader{nl.GENL_CTRL_CMD_GETFAMILY, nl.GENL_CTRL_VERSION})
	request.AddData(nl.NewRtAttr(nl.GENL_CTRL_ATTR_FAMILY_NAME, nl.ZeroTerminated("netdev")))
	messages, err := request.Execute(unix.NETLINK_GENERIC, 0)
	if err != nil {
		return 0, err
	}
	for _, m := range messages {
		attributes, err := nl.ParseRouteAttr(m[len(genericHeader{}):])
		if err != nil {
			return 0, err
		}
		for _, a := range attributes {
			if a.Attr.Type == nl.GENL_CTRL_ATTR_FAMILY_ID {
				return int(nl.NativeEndian().Uint16(a.Value)), nil
			}
		}
	}
	return 0, unix.ENOENT
}

// genericHeader is struct genlmsghdr: command, version, two reserved bytes.
type genericHeader [4]byte

func (h genericHeader) Len() int          { return len(h) }
func (h genericHeader) Serialize() []byte { return h[:] }
