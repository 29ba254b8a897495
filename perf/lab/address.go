package lab

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// AddAddress gives a device an address with its prefix length, "192.0.2.1/24". It is usable at once.
func (h *Host) AddAddress(device, cidr string) error {
	return h.changeAddress("add", device, cidr, h.netlink.AddrAdd)
}

// RemoveAddress takes an address away from a device.
func (h *Host) RemoveAddress(device, cidr string) error {
	return h.changeAddress("remove", device, cidr, h.netlink.AddrDel)
}

func (h *Host) changeAddress(op, device, cidr string, change func(netlink.Link, *netlink.Addr) error) error {
	prefix, err := netip.ParsePrefix(cidr)
	if err != nil {
		return fmt.Errorf("%s address: %w", op, err)
	}
	addr := &netlink.Addr{IPNet: &net.IPNet{
		IP:   prefix.Addr().AsSlice(),
		Mask: net.CIDRMask(prefix.Bits(), prefix.Addr().BitLen()),
	}}
	if prefix.Addr().Is6() {
		addr.Flags = unix.IFA_F_NODAD
	}
	err = h.onDevice(op+" address of", device, func(l netlink.Link) error { return change(l, addr) })
	if err != nil {
		return fmt.Errorf("%s: %w", cidr, err)
	}
	return nil
}

// AddNeighbor adds a static neighbour entry, or replaces the one that is there.
func (h *Host) AddNeighbor(device string, address netip.Addr, mac net.HardwareAddr) error {
	return h.onDevice("add neighbour on", device, func(l netlink.Link) error {
		return h.netlink.NeighSet(&netlink.Neigh{
			LinkIndex: l.Attrs().Index, State: netlink.NUD_PERMANENT, IP: address.AsSlice(), HardwareAddr: mac,
		})
	})
}

// RemoveNeighbor removes a neighbour entry.
func (h *Host) RemoveNeighbor(device string, address netip.Addr) error {
	return h.onDevice("remove neighbour on", device, func(l netlink.Link) error {
		return h.netlink.NeighDel(&netlink.Neigh{LinkIndex: l.Attrs().Index, IP: address.AsSlice()})
	})
}
