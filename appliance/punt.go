package appliance

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/vishvananda/netlink"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"weir/policy/packet"
	"weir/rings"
)

// punt is one IP packet for the kernel.
//
// Nearly everything for the router itself is passed to the kernel by the XDP program and never gets here. What does is
// what it could not know: a packet to an address that the kernel has had for less than a moment, or that only
// the policy calls local.
type punt struct {
	length int
	data   [4096]byte // as much as the largest frame holds
}

// puntName is the TUN device through which the kernel receives punted packets.
const puntName = "weir-punt"

// punt copies a packet into the queue to the kernel.
func (w *Worker) punt(umem *rings.UMEM, f rings.Frame, k *packet.Key) {
	s := w.punts.slot()
	if s == nil {
		w.drop(umem, f, packet.PuntFull)
		return
	}
	s.length = copy(s.data[:], umem.Bytes(f)[k.L3():][:k.Length])
	w.punts.commit()
	w.count.punted.Add(1)
	umem.Free(f.Addr)
}

// openPunt makes the TUN device.
func openPunt() (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open /dev/net/tun: %w", permission(err))
	}
	request, err := unix.NewIfreq(puntName)
	if err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_TUN_EXCL)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		if errors.Is(err, unix.EBUSY) {
			err = fmt.Errorf("%w: is another weir running here?", err)
		} else if errors.Is(err, unix.EPERM) {
			err = rings.ErrPermission
		}
		return nil, errors.Join(fmt.Errorf("make %s: %w", puntName, permission(err)), unix.Close(fd))
	}
	file := os.NewFile(uintptr(fd), puntName) // takes the descriptor
	// Loose reverse-path filter: whatever the packet's source, it did not really come in here.
	if err := os.WriteFile("/proc/sys/net/ipv4/conf/"+puntName+"/rp_filter", []byte("2"), 0); err != nil {
		return nil, errors.Join(fmt.Errorf("set rp_filter of %s: %w", puntName, err), file.Close())
	}
	link, err := netlink.LinkByName(puntName)
	if err == nil {
		err = netlink.LinkSetUp(link)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("set %s up: %w", puntName, err), file.Close())
	}
	return file, nil
}

// permission says what to do where the kernel does not permit.
func permission(err error) error {
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		return fmt.Errorf("%w (%w)", rings.ErrPermission, err)
	}
	return err
}

// deliver writes a worker's punted packets to the kernel until the context ends.
func (r *Router) deliver(ctx context.Context, w *Worker, tun *os.File) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.punts.bell:
		}
		w.punts.drain(func(p *punt) {
			if _, err := tun.Write(p.data[:p.length]); err != nil {
				r.log.Debug("punt refused by the kernel", zap.Int("length", p.length), zap.Error(err))
			}
		})
	}
}
