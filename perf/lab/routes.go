package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// AddRoutes adds routes of the gateway's family to the main table, all by that gateway: many requests to a system call, of which the kernel
// answers only those that it refuses. A million takes some seconds.
func (h *Host) AddRoutes(prefixes []netip.Prefix, gateway netip.Addr) error {
	err := h.Do(func() (err error) {
		fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, unix.Close(fd)) }()
		const atOnce = 512
		for len(prefixes) > 0 {
			n := min(atOnce, len(prefixes))
			if err := addRoutes(fd, prefixes[:n], gateway); err != nil {
				return err
			}
			prefixes = prefixes[n:]
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("add routes to %s: %w", h.name, err)
	}
	return nil
}

func addRoutes(fd int, prefixes []netip.Prefix, gateway netip.Addr) error {
	native := binary.NativeEndian
	length, family := gateway.BitLen()/8, byte(unix.AF_INET)
	if gateway.Is6() {
		family = unix.AF_INET6
	}
	size := unix.SizeofNlMsghdr + unix.SizeofRtMsg + 2*(unix.SizeofRtAttr+length)
	batch := make([]byte, 0, size*len(prefixes))
	attribute := func(kind uint16, a netip.Addr) {
		batch = native.AppendUint16(native.AppendUint16(batch, unix.SizeofRtAttr+uint16(length)), kind)
		batch = append(batch, a.AsSlice()...)
	}
	for i, p := range prefixes {
		batch = native.AppendUint32(batch, uint32(size))
		batch = native.AppendUint16(batch, unix.RTM_NEWROUTE)
		batch = native.AppendUint16(batch, unix.NLM_F_REQUEST|unix.NLM_F_CREATE|unix.NLM_F_REPLACE)
		batch = native.AppendUint32(native.AppendUint32(batch, uint32(i)), 0)
		batch = append(batch, family, byte(p.Bits()), 0, 0,
			unix.RT_TABLE_MAIN, unix.RTPROT_STATIC, unix.RT_SCOPE_UNIVERSE, unix.RTN_UNICAST, 0, 0, 0, 0)
		attribute(unix.RTA_DST, p.Addr())
		attribute(unix.RTA_GATEWAY, gateway)
	}
	if err := unix.Sendto(fd, batch, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	answer := make([]byte, 4096) // the kernel has done with the requests when the call returns
	n, _, err := unix.Recvfrom(fd, answer, unix.MSG_DONTWAIT)
	if errors.Is(err, unix.EAGAIN) {
		return nil
	}
	if err == nil && n >= unix.SizeofNlMsghdr+4 && native.Uint16(answer[4:]) == unix.NLMSG_ERROR {
		i := native.Uint32(answer[8:])
		err = unix.Errno(-int32(native.Uint32(answer[unix.SizeofNlMsghdr:])))
		if int(i) < len(prefixes) {
			return fmt.Errorf("%v: %w", prefixes[i], err)
		}
	}
	return err
}
