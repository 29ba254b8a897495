package lab

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// openTAP makes a TAP device of that name inside the host. It exists as long as the descriptor is open.
func (h *Host) openTAP(name string) (*socket, error) {
	fd := -1
	err := h.Do(func() (err error) {
		fd, err = unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open /dev/net/tun: %w", err)
		}
		request, err := unix.NewIfreq(name)
		if err == nil {
			request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_TUN_EXCL)
			err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
		}
		if err != nil {
			_ = unix.Close(fd)
			return fmt.Errorf("make TAP device: %w", err)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("make %s in %s: %w", name, h.name, err)
	}
	return h.lab.adopt(fd, name)
}
