package vm

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"weir/perf/lab"
)

// NIC is a virtio-net of the machine, whose other end is a TAP device in a laboratory's host.
type NIC struct {
	Host       *lab.Host
	Device     string   // of the host, made with the machine and gone with it
	Addresses  []string // of the device
	MAC        string   // of the machine's side; QEMU's own choice, the same for each place in the list, where it is empty
	Queues     int      // 1
	Properties string   // more of the device, as "iommu_platform=on"
}

// open makes the TAP device and returns a descriptor for each queue.
func (n NIC) open() (queues []*os.File, err error) {
	defer func() {
		if err != nil {
			for _, q := range queues {
				_ = q.Close()
			}
		}
	}()
	err = n.Host.Do(func() error {
		for range max(1, n.Queues) {
			fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
			if err != nil {
				return fmt.Errorf("open /dev/net/tun: %w", err)
			}
			queues = append(queues, os.NewFile(uintptr(fd), n.Device))
			request, err := unix.NewIfreq(n.Device)
			if err != nil {
				return err
			}
			flags := uint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
			if n.Queues > 1 {
				flags |= unix.IFF_MULTI_QUEUE
			}
			request.SetUint16(flags)
			if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
				return fmt.Errorf("make %s: %w", n.Device, err)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	// The machine's XDP program sees frames as the host left them: with checksums, and one packet each.
	errs := []error{n.Host.DisableTransmitOffloads(n.Device)}
	for _, a := range n.Addresses {
		errs = append(errs, n.Host.AddAddress(n.Device, a))
	}
	return queues, errors.Join(append(errs, n.Host.SetUp(n.Device))...)
}

// arguments are QEMU's for NIC i, whose queues are descriptors from first.
func (n NIC) arguments(i, first, queues int) []string {
	var fds []string
	for fd := first; fd < first+queues; fd++ {
		fds = append(fds, fmt.Sprint(fd))
	}
	// A ROM would ask the network for something to boot.
	device := fmt.Sprintf("virtio-net-pci,netdev=n%d,romfile=", i)
	if n.MAC != "" {
		device += ",mac=" + n.MAC
	}
	netdev := fmt.Sprintf("tap,id=n%d,fd=%s", i, fds[0])
	if queues > 1 {
		netdev = fmt.Sprintf("tap,id=n%d,fds=%s", i, strings.Join(fds, ":"))
		device += fmt.Sprintf(",mq=on,vectors=%d", 2*queues+2)
	}
	if n.Properties != "" {
		device += "," + n.Properties
	}
	return []string{"-netdev", netdev, "-device", device}
}
