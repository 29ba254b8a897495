// Command standin is PID 1 of an image whose disk, kernel and modules are to be tried, and nothing else: it says what it sees on the
// console, a line each, and switches off.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "standin: only as PID 1")
		os.Exit(1)
	}
	for _, kind := range []string{"proc", "sysfs"} {
		say("mount "+kind, unix.Mount(kind, "/"+strings.TrimSuffix(kind, "fs"), kind, 0, ""))
	}
	say("mount dev", unix.Mount("devtmpfs", "/dev", "devtmpfs", 0, ""))
	text, err := os.ReadFile("/proc/cmdline")
	say("command line "+strings.TrimSpace(string(text)), err)
	loadModules()
	for _, p := range []struct{ name, at, kind string }{{"WEIR-CONFIG", "/config", "ext4"}, {"WEIR-ESP", "/esp", "vfat"}} {
		device := find(p.name)
		say("mount "+p.name, unix.Mount(device, p.at, p.kind, 0, ""))
	}
	for _, pattern := range []string{"/config/*", "/esp/*/*", "/sys/class/net/*", "/dev/net/tun", "/dev/watchdog"} {
		names, err := filepath.Glob(pattern)
		say("see "+strings.Join(names, " "), err)
	}
	say("write", errors.Join(os.WriteFile("/config/written", []byte("here\n"), 0o644), os.Rename("/esp/EFI/Linux/weir-A+2-1.efi", "/esp/EFI/Linux/weir-A.efi")))
	say("unmount", errors.Join(unix.Unmount("/config", 0), unix.Unmount("/esp", 0)))
	say("done", nil)
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}

func say(what string, err error) { fmt.Printf("standin: %s: %v\n", what, err) }

// loadModules tolerates what has no device here: the driver's own, or the bus that its symbols are of.
func loadModules() {
	text, err := os.ReadFile("/etc/weir/modules")
	list := strings.Fields(string(text))
	for _, name := range list {
		f, failed := os.Open(name)
		if failed == nil {
			failed = unix.FinitModule(int(f.Fd()), "", 0)
			f.Close()
		}
		bus := strings.Contains(name, "/hv_") && errors.Is(failed, syscall.ENOENT)
		if failed != nil && !bus && !errors.Is(failed, syscall.ENODEV) {
			err = errors.Join(err, fmt.Errorf("%s: %w", name, failed))
		}
	}
	say(fmt.Sprintf("load %t", len(list) > 0), err)
}

// find waits for a partition.
func find(name string) string {
	for range 600 {
		files, _ := filepath.Glob("/sys/class/block/*/uevent")
		for _, file := range files {
			text, _ := os.ReadFile(file)
			if strings.Contains(string(text), "PARTNAME="+name+"\n") {
				return "/dev/" + filepath.Base(filepath.Dir(file))
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	return ""
}
