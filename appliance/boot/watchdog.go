package boot

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// watchdogDevice resets the machine unless somebody writes to it.
const watchdogDevice = "/dev/watchdog"

const (
	watchdogTimeout = 60 * time.Second // asked of the device, which may know better
	watchdogFed     = 5 * time.Second

	// fruitless is for how long the data plane may fail to work before the machine is reset, pauses between its starts and the reading of
	// large tables included.
	fruitless = 5 * time.Minute
)

// watchdog is the hardware's, or none.
type watchdog struct {
	f       *os.File
	Name    string        `json:"name"`
	Timeout time.Duration `json:"timeout_ns"`
}

// openWatchdog starts the hardware's watchdog; nil: the machine has none.
func openWatchdog(path string) (*watchdog, error) {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open watchdog: %w", err)
	}
	w := &watchdog{f: f, Name: "unnamed"}
	fd := int(f.Fd())
	if info, err := unix.IoctlGetWatchdogInfo(fd); err == nil {
		w.Name = unix.ByteSliceToString(info.Identity[:])
	}
	seconds := int(watchdogTimeout / time.Second)
	_ = unix.IoctlSetPointerInt(fd, unix.WDIOC_SETTIMEOUT, seconds) // some have one timeout only
	if n, err := unix.IoctlGetInt(fd, unix.WDIOC_GETTIMEOUT); err == nil {
		w.Timeout = time.Duration(n) * time.Second
	}
	return w, nil
}

// feed keeps the machine from being reset, as long as alive says that it should be.
func (w *watchdog) feed(ctx context.Context, alive func() bool) {
	if w == nil {
		return
	}
	every := watchdogFed
	if w.Timeout > 0 {
		every = min(every, w.Timeout/4)
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		if alive() {
			_, _ = w.f.Write([]byte{0}) // what it says to that is seen in a reset
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
