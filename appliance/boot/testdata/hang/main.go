// Command hang is a PID 1 that starts the watchdog and then does nothing more, as one would that is stuck.
package main

import (
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"weir/appliance/image/layout"
)

// timeout of the watchdog, in seconds.
const timeout = 10

func main() {
	_ = unix.Mount("devtmpfs", "/dev", "devtmpfs", 0, "")
	list, _ := os.ReadFile(layout.ModulesFile)
	for path := range strings.FieldsSeq(string(list)) {
		if f, err := os.Open(path); err == nil {
			_ = unix.FinitModule(int(f.Fd()), "", 0)
		}
	}
	w, err := os.OpenFile("/dev/watchdog", os.O_WRONLY, 0)
	if err != nil {
		println("no watchdog:", err.Error())
	} else if err := unix.IoctlSetPointerInt(int(w.Fd()), unix.WDIOC_SETTIMEOUT, timeout); err != nil {
		println("set the watchdog's timeout:", err.Error())
	}
	println("hangs")
	for {
		_ = unix.Pause()
	}
}
