package lab

import (
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
)

func (h *Host) device(name string) (netlink.Link, error) {
	link, err := h.netlink.LinkByName(name)
	if err != nil {
		return nil, fmt.Errorf("find %s in %s: %w", name, h.name, err)
	}
	return link, nil
}

// onDevice finds a device and applies f to it; op is the beginning of the error.
func (h *Host) onDevice(op, name string, f func(netlink.Link) error) error {
	link, err := h.device(name)
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	if err := f(link); err != nil {
		return fmt.Errorf("%s %s of %s: %w", op, name, h.name, err)
	}
	return nil
}

// SetUp sets a device up, administratively. WaitUp waits for the carrier.
func (h *Host) SetUp(device string) error {
	return h.onDevice("set up", device, h.netlink.LinkSetUp)
}

// SetDown sets a device down.
func (h *Host) SetDown(device string) error {
	return h.onDevice("set down", device, h.netlink.LinkSetDown)
}

// SetMAC changes a device's MAC address.
func (h *Host) SetMAC(device string, mac net.HardwareAddr) error {
	return h.onDevice("set MAC of", device, func(l netlink.Link) error { return h.netlink.LinkSetHardwareAddr(l, mac) })
}

// SetMTU changes a device's MTU.
func (h *Host) SetMTU(device string, mtu int) error {
	return h.onDevice("set MTU of", device, func(l netlink.Link) error { return h.netlink.LinkSetMTU(l, mtu) })
}

// MAC is a device's MAC address.
func (h *Host) MAC(device string) (net.HardwareAddr, error) {
	link, err := h.device(device)
	if err != nil {
		return nil, err
	}
	return link.Attrs().HardwareAddr, nil
}

// MTU is a device's MTU.
func (h *Host) MTU(device string) (int, error) {
	link, err := h.device(device)
	if err != nil {
		return 0, err
	}
	return link.Attrs().MTU, nil
}

// Index is a device's interface index.
func (h *Host) Index(device string) (int, error) {
	link, err := h.device(device)
	if err != nil {
		return 0, err
	}
	return link.Attrs().Index, nil
}

// Statistics are a device's counters, as the kernel keeps them.
func (h *Host) Statistics(device string) (netlink.LinkStatistics, error) {
	link, err := h.device(device)
	if err != nil {
		return netlink.LinkStatistics{}, err
	}
	return *link.Attrs().Statistics, nil
}
