package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Sysctl reads a sysctl of the host. The name is the path below /proc/sys, for example "net/ipv4/ip_forward" (with
// slashes, since interface names may have dots).
func (h *Host) Sysctl(name string) (string, error) {
	var text []byte
	err := h.Do(func() (err error) {
		text, err = os.ReadFile(filepath.Join("/proc/sys", name))
		return err
	})
	if err != nil {
		return "", fmt.Errorf("read sysctl %s of %s: %w", name, h.name, err)
	}
	return strings.TrimSpace(string(text)), nil
}

// SetSysctl writes a sysctl of the host, named as for Sysctl.
func (h *Host) SetSysctl(name, value string) error {
	if err := h.Do(func() error { return writeExisting(filepath.Join("/proc/sys", name), value) }); err != nil {
		return fmt.Errorf("set sysctl %s of %s: %w", name, h.name, err)
	}
	return nil
}

// EnableForwarding makes the host a router of the kernel's own, for IPv4 and IPv6.
func (h *Host) EnableForwarding() error {
	for _, name := range []string{"net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"} {
		if err := h.SetSysctl(name, "1"); err != nil {
			return err
		}
	}
	return nil
}
