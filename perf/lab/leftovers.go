package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// madeNamespace is what is remembered of a namespace: the kernel gives inode numbers again, cookies never.
type madeNamespace struct {
	name   string
	cookie uint64
}

// What this process has made, for Leftovers.
var (
	tracked           sync.Mutex
	trackedNamespaces = make(map[uint64]madeNamespace) // by inode; of several, the last
	trackedProcesses  = make(map[int]string)           // by PID, until they have been waited for
)

func trackNamespace(inode, cookie uint64, name string) {
	tracked.Lock()
	defer tracked.Unlock()
	trackedNamespaces[inode] = madeNamespace{name, cookie}
}

func trackProcess(pid int, what string) {
	tracked.Lock()
	defer tracked.Unlock()
	trackedProcesses[pid] = what
}

func untrackProcess(pid int) {
	tracked.Lock()
	defer tracked.Unlock()
	delete(trackedProcesses, pid)
}

// Leftovers lists what laboratories of this process have made and what is still there: named namespaces, processes
// (also foreign ones inside a namespace), threads and descriptors that keep a namespace alive, and links in the
// caller's own namespace. After Close of all laboratories it is empty.
func Leftovers() ([]string, error) {
	var found []string
	named, err := labNamespaces()
	if err != nil {
		return nil, err
	}
	for name, pid := range named {
		if pid == os.Getpid() {
			found = append(found, "namespace "+name)
		}
	}
	tracked.Lock()
	for pid, what := range trackedProcesses {
		found = append(found, fmt.Sprintf("process %d: %s", pid, what))
	}
	inodes := make(map[string]madeNamespace, len(trackedNamespaces))
	for inode, made := range trackedNamespaces {
		inodes[fmt.Sprintf("net:[%d]", inode)] = made
	}
	tracked.Unlock()

	threads, err := filepath.Glob("/proc/[0-9]*/task/[0-9]*/ns/net")
	if err != nil {
		return nil, err
	}
	descriptors, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		return nil, err
	}
	for _, path := range slices.Concat(threads, descriptors) {
		target, err := os.Readlink(path)
		if err != nil {
			continue // ended meanwhile
		}
		if made, ours := inodes[target]; ours && cookieAt(path) == made.cookie {
			found = append(found, fmt.Sprintf("%s holds namespace %s", path, made.name))
		}
	}

	links, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	for _, l := range links {
		if l.Attrs().Alias == ownAlias() {
			found = append(found, "link "+l.Attrs().Name)
		}
	}
	slices.Sort(found)
	return found, nil
}

// cookieAt is the cookie of the namespace that a path leads to, 0 if it leads nowhere any more.
func cookieAt(path string) (cookie uint64) {
	ns, err := netns.GetFromPath(path)
	if err != nil {
		return 0
	}
	defer ns.Close()
	cookie, _ = namespaceCookie(ns)
	return cookie
}

// killStrangers kills the processes that are inside the host's namespace without the laboratory having started them
// directly: what a shell left in the background, or what a process started in a session of its own.
func (h *Host) killStrangers() error {
	want := fmt.Sprintf("net:[%d]", h.inode)
	paths, err := filepath.Glob("/proc/[0-9]*/ns/net")
	if err != nil {
		return err
	}
	var errs []error
	for _, path := range paths {
		target, err := os.Readlink(path)
		if err != nil || target != want {
			continue
		}
		pid, err := strconv.Atoi(strings.Split(path, "/")[2])
		if err != nil || pid == os.Getpid() {
			continue
		}
		// The descriptor makes sure that the one killed is the one looked at: it is of this process, and if the
		// number now belongs to another one, its namespace tells.
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			continue
		}
		if again, err := os.Readlink(path); err == nil && again == want {
			if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
				errs = append(errs, fmt.Errorf("kill process %d in %s: %w", pid, h.name, err))
			}
			awaitExit(fd)
		}
		_ = unix.Close(fd)
	}
	return errors.Join(errs...)
}

// awaitExit waits until the process of a pidfd has ended, for the grace period at most.
func awaitExit(fd int) {
	for {
		_, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(stopGrace.Milliseconds()))
		if !errors.Is(err, unix.EINTR) {
			return
		}
	}
}
