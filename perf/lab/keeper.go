package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// keeper is an OS thread that lives inside one host's network namespace, and in a mount namespace of its own, where
// /sys shows that host's devices. Processes are started from it: they inherit both, and die with the thread
// (PR_SET_PDEATHSIG is about the thread that forked, not about its process).
type keeper struct {
	work chan func()
	gone chan struct{}
}

// keep returns the host's keeper, and makes it at first use.
func (h *Host) keep() (*keeper, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil, ErrClosed
	}
	if h.keeper != nil {
		return h.keeper, nil
	}
	k := &keeper{work: make(chan func()), gone: make(chan struct{})}
	ready := make(chan error)
	startSideThread(func() bool {
		defer close(k.gone)
		if err := settle(h.ns); err != nil {
			ready <- err
			return false
		}
		ready <- nil
		for f := range k.work {
			f()
		}
		return false // the thread dies, and its namespaces with it
	})
	if err := <-ready; err != nil {
		<-k.gone
		return nil, fmt.Errorf("settle in %s: %w", h.name, err)
	}
	h.keeper = k
	return k, nil
}

// settle moves the calling thread into the namespace, for good.
func settle(ns netns.NsHandle) error {
	if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("unshare mounts: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_SLAVE|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("keep mounts to ourselves: %w", err)
	}
	if err := netns.Set(ns); err != nil {
		return fmt.Errorf("enter namespace: %w", err)
	}
	if err := unix.Mount("sysfs", "/sys", "sysfs", 0, ""); err != nil {
		return fmt.Errorf("mount /sys: %w", err)
	}
	// The new /sys hides the file systems mounted below the old one. Programs that pin BPF objects look for this
	// one; where the kernel does not have it, nobody can miss it.
	_ = unix.Mount("bpf", "/sys/fs/bpf", "bpf", 0, "")
	return nil
}

// do runs f on the keeper's thread.
func (k *keeper) do(f func() error) error {
	result := make(chan error, 1)
	select {
	case k.work <- func() { result <- f() }:
		return <-result
	case <-k.gone:
		return ErrClosed
	}
}

// stop ends the thread. It must be called once only.
func (k *keeper) stop() {
	select {
	case k.work <- func() {}: // whatever runs is over then
	case <-k.gone:
		return
	}
	close(k.work)
	<-k.gone
}

// Sysfs reads a file below /sys as the host sees it, for example "class/net/em0/threaded".
func (h *Host) Sysfs(path string) (string, error) {
	k, err := h.keep()
	if err != nil {
		return "", fmt.Errorf("read /sys/%s of %s: %w", path, h.name, err)
	}
	var text []byte
	err = k.do(func() (err error) {
		text, err = os.ReadFile(filepath.Join("/sys", path))
		return err
	})
	if err != nil {
		return "", fmt.Errorf("read /sys/%s of %s: %w", path, h.name, err)
	}
	return strings.TrimSpace(string(text)), nil
}

// SetSysfs writes a file below /sys as the host sees it.
func (h *Host) SetSysfs(path, value string) error {
	k, err := h.keep()
	if err == nil {
		err = k.do(func() error { return writeExisting(filepath.Join("/sys", path), value) })
	}
	if err != nil {
		return fmt.Errorf("write /sys/%s of %s: %w", path, h.name, err)
	}
	return nil
}

// writeExisting writes a control file. It never creates one.
func writeExisting(path, value string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return err
}
