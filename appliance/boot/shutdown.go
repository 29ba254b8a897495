package boot

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Ends of the machine.
const (
	endReboot   = unix.LINUX_REBOOT_CMD_RESTART
	endPowerOff = unix.LINUX_REBOOT_CMD_POWER_OFF
)

// endOfSignal is what a signal to PID 1 asks for: Ctrl-Alt-Del and SIGTERM a reboot, a power supply that fails a power-off.
func endOfSignal(s os.Signal) int {
	if s == unix.SIGPWR || s == unix.SIGUSR2 {
		return endPowerOff
	}
	return endReboot
}

// halt takes the file systems to rest and ends the machine. It does not return.
func halt(how int, configured bool, log func(format string, args ...any)) {
	if os.Getpid() != 1 {
		panic("only PID 1 ends the machine")
	}
	// Whoever is left has no files to lose, and would keep the partition busy.
	_ = unix.Kill(-1, unix.SIGKILL)
	for range 50 {
		if _, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); err != nil {
			break // nobody is left
		}
		time.Sleep(20 * time.Millisecond)
	}
	unix.Sync()
	if configured {
		if err := unix.Unmount(ConfigDir, 0); err != nil {
			log("unmount %s: %v", ConfigDir, err)
			_ = unix.Mount("", ConfigDir, "", unix.MS_REMOUNT|unix.MS_RDONLY, "")
		}
	}
	unix.Sync()
	if err := unix.Reboot(how); err != nil {
		log("reboot: %v", err)
	}
	select {} // PID 1 must not end; the watchdog, which nobody feeds any more, resets the machine
}
