package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// namespaceDir is where ip-netns(8) looks for named namespaces.
const namespaceDir = "/run/netns"

// namespacePattern recognises the names that Lab.Host gives: weir-PID-LAB-HOST.
var namespacePattern = regexp.MustCompile(`^weir-([0-9]+)-([0-9]+)-(.+)$`)

// makeNamespace makes a network namespace, mounts it by name, and returns a descriptor of it. No thread stays in it.
func makeNamespace(name string) (handle netns.NsHandle, err error) {
	onSideThread(func() bool {
		var home netns.NsHandle
		if home, err = netns.Get(); err != nil {
			err = fmt.Errorf("open own namespace: %w", err)
			return true
		}
		defer home.Close()
		if handle, err = netns.NewNamed(name); err != nil {
			err = fmt.Errorf("make namespace %s: %w", name, err)
			if !errors.Is(err, fs.ErrExist) { // else it is somebody else's file
				_ = os.Remove(filepath.Join(namespaceDir, name))
			}
		}
		return netns.Set(home) == nil
	})
	return handle, err
}

func removeNamespace(name string) error {
	if err := netns.DeleteNamed(name); err != nil {
		return fmt.Errorf("remove namespace %s: %w", name, err)
	}
	return nil
}

// namespaceInode identifies a namespace as long as it exists: its descriptors all have this inode number.
func namespaceInode(ns netns.NsHandle) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(ns), &st); err != nil {
		return 0, fmt.Errorf("stat namespace: %w", err)
	}
	return st.Ino, nil
}

// namespaceCookie is a number that no other namespace has or will have until the machine starts again.
func namespaceCookie(ns netns.NsHandle) (cookie uint64, err error) {
	onSideThread(func() bool {
		var home netns.NsHandle
		if home, err = netns.Get(); err != nil {
			return true
		}
		defer home.Close()
		if err = netns.Set(ns); err != nil {
			return true
		}
		var fd int
		if fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err == nil {
			cookie, err = unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
			_ = unix.Close(fd)
		}
		return netns.Set(home) == nil
	})
	if err != nil {
		return 0, fmt.Errorf("read namespace cookie: %w", err)
	}
	return cookie, nil
}

// labNamespaces lists the named namespaces of laboratories, with the process that made each.
func labNamespaces() (map[string]int, error) {
	entries, err := os.ReadDir(namespaceDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list namespaces: %w", err)
	}
	found := make(map[string]int)
	for _, e := range entries {
		if m := namespacePattern.FindStringSubmatch(e.Name()); m != nil {
			pid, err := strconv.Atoi(m[1])
			if err == nil {
				found[e.Name()] = pid
			}
		}
	}
	return found, nil
}

// removeStaleNamespaces removes the namespaces of laboratories whose process is gone. Two processes may do so at the
// same time: what the other one has removed meanwhile is no error.
func removeStaleNamespaces() error {
	found, err := labNamespaces()
	if err != nil {
		return err
	}
	for name, pid := range found {
		if err := unix.Kill(pid, 0); !errors.Is(err, unix.ESRCH) {
			continue
		}
		path := filepath.Join(namespaceDir, name)
		// EINVAL: the file is there, but nothing is mounted on it.
		if err := unix.Unmount(path, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("unmount stale namespace %s: %w", name, err)
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove stale namespace %s: %w", name, err)
		}
	}
	return nil
}
