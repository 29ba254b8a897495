package boot

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// mount is one file system of the kernel's that weir needs.
type mount struct {
	kind, at string
	flags    uintptr
	data     string
	optional bool // it does without
}

var mounts = []mount{
	{kind: "proc", at: "/proc", flags: unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC},
	{kind: "sysfs", at: "/sys", flags: unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC},
	{kind: "devtmpfs", at: "/dev", flags: unix.MS_NOSUID | unix.MS_NOEXEC},
	{kind: "tmpfs", at: "/run", flags: unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, data: "mode=755"},
	{kind: "tmpfs", at: "/tmp", flags: unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, data: "mode=1777"},
	{kind: "cgroup2", at: "/sys/fs/cgroup", flags: unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, optional: true},
	{kind: "bpf", at: "/sys/fs/bpf", flags: unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, data: "mode=700", optional: true},
}

// mountAll mounts what is not mounted yet. What is optional and not there is left out.
func mountAll(list []mount) error {
	var failed error
	for _, m := range list {
		if err := m.mount(); err != nil && !m.optional {
			failed = errors.Join(failed, err)
		}
	}
	return failed
}

func (m mount) mount() error {
	if err := os.MkdirAll(m.at, 0o755); err != nil && !m.optional {
		return fmt.Errorf("mount %s: %w", m.at, err)
	}
	if err := unix.Mount(m.kind, m.at, m.kind, m.flags, m.data); err != nil && !errors.Is(err, unix.EBUSY) { // it is there already
		return fmt.Errorf("mount %s: %w", m.at, err)
	}
	return nil
}
