package lab

import (
	"bytes"
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Offloads are read and set by the ethtool ioctl, here rather than with a library: the one at hand hands the kernel
// addresses of Go's movable stacks, and now and then the kernel answers into memory that is something else by then.

// Commands and string sets of linux/ethtool.h.
const (
	ethtoolGStrings  = 0x1b
	ethtoolGSSetInfo = 0x37
	ethtoolGFeatures = 0x3a
	ethtoolSFeatures = 0x3b
	ethSSFeatures    = 4
	ethGStringLen    = 32
)

// feature is the state of one offload of a device.
type feature struct {
	bit                      int
	changeable, active, held bool // held: the driver never lets it change
}

// ethtoolRequest is struct ifreq with a pointer in it.
type ethtoolRequest struct {
	name [unix.IFNAMSIZ]byte
	data unsafe.Pointer
	_    [16]byte
}

// ethtool performs one ioctl on a device of the calling thread's namespace. The words are the command's structure.
func ethtool(device string, words []uint32) error {
	if len(device) >= unix.IFNAMSIZ {
		return unix.ENODEV
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var pins runtime.Pinner
	defer pins.Unpin()
	pins.Pin(&words[0])
	request := &ethtoolRequest{data: unsafe.Pointer(&words[0])}
	pins.Pin(request)
	copy(request.name[:], device)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(request)))
	if errno != 0 {
		return errno
	}
	return nil
}

// readFeatures lists a device's offloads by name.
func readFeatures(device string) (map[string]feature, error) {
	// struct ethtool_sset_info: command, reserved, 64-bit mask, one length per bit of the mask.
	info := []uint32{ethtoolGSSetInfo, 0, 0, 0, 0}
	*(*uint64)(unsafe.Pointer(&info[2])) = 1 << ethSSFeatures
	if err := ethtool(device, info); err != nil {
		return nil, fmt.Errorf("count features: %w", err)
	}
	count := int(info[4])

	// struct ethtool_gstrings: command, set, number, strings of 32 bytes.
	names := make([]uint32, 3+count*ethGStringLen/4)
	names[0], names[1], names[2] = ethtoolGStrings, ethSSFeatures, uint32(count)
	if err := ethtool(device, names); err != nil {
		return nil, fmt.Errorf("read names of features: %w", err)
	}
	// struct ethtool_gfeatures: command, number of blocks; each: available, requested, active, never changed.
	blocks := (count + 31) / 32
	states := make([]uint32, 2+4*blocks)
	states[0], states[1] = ethtoolGFeatures, uint32(blocks)
	if err := ethtool(device, states); err != nil {
		return nil, fmt.Errorf("read features: %w", err)
	}
	features := make(map[string]feature, count)
	if count == 0 {
		return features, nil
	}
	text := unsafe.Slice((*byte)(unsafe.Pointer(&names[3])), count*ethGStringLen)
	for i := range count {
		name, _, _ := bytes.Cut(text[i*ethGStringLen:(i+1)*ethGStringLen], []byte{0})
		block, mask := states[2+4*(i/32):], uint32(1)<<(i%32)
		features[string(name)] = feature{
			bit: i, changeable: block[0]&mask != 0, active: block[2]&mask != 0, held: block[3]&mask != 0,
		}
	}
	return features, nil
}

// writeFeatures switches offloads; have is what readFeatures returned. The kernel refuses silently.
func writeFeatures(device string, have map[string]feature, want map[string]bool) error {
	blocks := (len(have) + 31) / 32
	for _, f := range have {
		blocks = max(blocks, f.bit/32+1)
	}
	// struct ethtool_sfeatures: command, number of blocks; each: valid, requested.
	words := make([]uint32, 2+2*blocks)
	words[0], words[1] = ethtoolSFeatures, uint32(blocks)
	for name, on := range want {
		f := have[name]
		block, mask := words[2+2*(f.bit/32):], uint32(1)<<(f.bit%32)
		block[0] |= mask
		if on {
			block[1] |= mask
		}
	}
	return ethtool(device, words)
}
