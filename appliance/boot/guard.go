package boot

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"weir/appliance/image/layout"
)

// ErrNotAppliance says that this process is not PID 1 of an appliance, and that nothing was done.
var ErrNotAppliance = errors.New("this is not PID 1 of an appliance")

// Options are what the kernel's command line says.
type Options struct {
	Slot      layout.Slot   // that runs; "": the command line does not say
	Emergency bool          // weir.emergency=1: the console takes commands that look
	Trial     time.Duration // weir.trial=SECONDS: how long a slot that was not blessed yet has to show that it works
}

// trialPatience is for a start that reads the Internet's table on a slow machine; what fails for good is noticed at once.
const trialPatience = 3 * time.Minute

// parseCommandLine reads the kernel's command line. It is an error where the token is not on it.
func parseCommandLine(text string) (Options, error) {
	o := Options{Trial: trialPatience}
	token := false
	for word := range strings.FieldsSeq(text) {
		if word == "--" {
			break // what follows is for init, and could be anybody's
		}
		token = token || word == layout.TokenBoot
		if slot, ok := strings.CutPrefix(word, layout.TokenSlot); ok && (slot == string(layout.SlotA) || slot == string(layout.SlotB)) {
			o.Slot = layout.Slot(slot)
		}
		name, value, _ := strings.Cut(word, "=")
		switch name {
		case "weir.emergency":
			o.Emergency = value == "1"
		case "weir.trial":
			if n, err := strconv.ParseUint(value, 10, 16); err == nil && n > 0 {
				o.Trial = time.Duration(n) * time.Second
			}
		}
	}
	if !token {
		return Options{}, fmt.Errorf("%w: the kernel was not started with %s", ErrNotAppliance, layout.TokenBoot)
	}
	return o, nil
}

// guard returns the options if this process may act as PID 1, and ErrNotAppliance if not. It changes nothing.
func guard(pid int, commandLine func() (string, error)) (Options, error) {
	if pid != 1 {
		return Options{}, fmt.Errorf("%w: it is process %d", ErrNotAppliance, pid)
	}
	text, err := commandLine()
	if err != nil {
		return Options{}, fmt.Errorf("%w: read the kernel's command line: %w", ErrNotAppliance, err)
	}
	return parseCommandLine(text)
}

// Wanted reports whether this process is PID 1 of an appliance.
func Wanted() bool {
	_, err := guard(os.Getpid(), commandLine)
	return err == nil
}

// commandLine reads the kernel's command line, from a procfs that nobody else sees where none is mounted yet.
func commandLine() (string, error) {
	text, err := os.ReadFile("/proc/cmdline")
	if err == nil || !errors.Is(err, os.ErrNotExist) {
		return string(text), err
	}
	fs, err := unix.Fsopen("proc", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return "", fmt.Errorf("open procfs: %w", err)
	}
	defer unix.Close(fs)
	if err := unix.FsconfigCreate(fs); err != nil {
		return "", fmt.Errorf("open procfs: %w", err)
	}
	mount, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return "", fmt.Errorf("open procfs: %w", err)
	}
	defer unix.Close(mount)
	fd, err := unix.Openat(mount, "cmdline", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", fmt.Errorf("open procfs: %w", err)
	}
	f := os.NewFile(uintptr(fd), "cmdline")
	defer f.Close()
	text, err = io.ReadAll(f)
	return string(text), err
}
