// Package ethtool reads and sets what the ethtool ioctl does and weir needs: a netdev's offloads and queues. It acts in
// the network namespace of the calling thread.
//
// A library at hand (safchain/ethtool v0.7.0) gives the kernel the addresses of variables on Go's movable stacks as
// plain numbers, and under load the kernel now and then answers into memory that is something else by then. Here
// what the kernel writes to is pinned.
package ethtool

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Commands and string sets of linux/ethtool.h.
const (
	ethtoolGSettings = 0x01
	ethtoolGStrings  = 0x1b
	ethtoolGSSetInfo = 0x37
	ethtoolGFeatures = 0x3a
	ethtoolSFeatures = 0x3b
	ethtoolGChannels = 0x3c
	ethtoolSChannels = 0x3d
	ethSSFeatures    = 4
	ethGStringLen    = 32
)

// Feature is the state of one offload of a device.
type Feature struct {
	Active     bool
	Changeable bool // by anybody, now
	bit        int
}

// request is struct ifreq with a pointer in it.
type request struct {
	name [unix.IFNAMSIZ]byte
	data unsafe.Pointer
	_    [16]byte
}

// ioctl performs one command on a device. The words are the command's structure.
func ioctl(device string, words []uint32) error {
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
	r := &request{data: unsafe.Pointer(&words[0])}
	pins.Pin(r)
	copy(r.name[:], device)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(r)))
	if errno != 0 {
		return errno
	}
	return nil
}

// Features lists a device's offloads by the names that `ethtool -k` has from the kernel ("rx-gro").
func Features(device string) (map[string]Feature, error) {
	// struct ethtool_sset_info: command, reserved, 64-bit mask, one length per bit of the mask.
	info := []uint32{ethtoolGSSetInfo, 0, 0, 0, 0}
	*(*uint64)(unsafe.Pointer(&info[2])) = 1 << ethSSFeatures
	if err := ioctl(device, info); err != nil {
		return nil, fmt.Errorf("count features: %w", err)
	}
	count := int(info[4])

	// struct ethtool_gstrings: command, set, number, strings of 32 bytes.
	names := make([]uint32, 3+count*ethGStringLen/4)
	names[0], names[1], names[2] = ethtoolGStrings, ethSSFeatures, uint32(count)
	if err := ioctl(device, names); err != nil {
		return nil, fmt.Errorf("read names of features: %w", err)
	}
	// struct ethtool_gfeatures: command, number of blocks; each: available, requested, active, never changed.
	blocks := (count + 31) / 32
	states := make([]uint32, 2+4*blocks)
	states[0], states[1] = ethtoolGFeatures, uint32(blocks)
	if err := ioctl(device, states); err != nil {
		return nil, fmt.Errorf("read features: %w", err)
	}
	features := make(map[string]Feature, count)
	if count == 0 {
		return features, nil
	}
	text := unsafe.Slice((*byte)(unsafe.Pointer(&names[3])), count*ethGStringLen)
	for i := range count {
		name, _, _ := bytes.Cut(text[i*ethGStringLen:(i+1)*ethGStringLen], []byte{0})
		block, mask := states[2+4*(i/32):], uint32(1)<<(i%32)
		features[string(name)] = Feature{
			bit: i, Active: block[2]&mask != 0, Changeable: block[0]&mask != 0 && block[3]&mask == 0,
		}
	}
	return features, nil
}

// SetFeatures switches offloads; have is what Features returned. What the driver does not let go stays as it is, without
// an error: read again to know.
func SetFeatures(device string, have map[string]Feature, want map[string]bool) error {
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
	return ioctl(device, words)
}

// Queues returns how many queues a device has now that both receive and transmit (ethtool -l). A driver that cannot tell
// has one.
func Queues(device string) (int, error) {
	// struct ethtool_channels: command; the maxima of rx, tx, other, combined; their present numbers.
	words := make([]uint32, 9)
	words[0] = ethtoolGChannels
	err := ioctl(device, words)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return 1, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read queues of %s: %w", device, err)
	}
	rx, tx, combined := words[5], words[6], words[8]
	return max(1, int(combined+min(rx, tx))), nil
}

// Driver is the name of a device's driver.
func Driver(device string) (string, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	info, err := unix.IoctlGetEthtoolDrvinfo(fd, device)
	if err != nil {
		return "", fmt.Errorf("read driver of %s: %w", device, err)
	}
	return unix.ByteSliceToString(info.Driver[:]), nil
}

// Speed is that of a device's link in bits per second; 0 where it has none, or the driver does not tell.
func Speed(device string) (uint64, error) {
	// struct ethtool_cmd: the lower and the upper half of Mbit/s are the first halves of its fourth and eighth word.
	words := make([]uint32, 11)
	words[0] = ethtoolGSettings
	err := ioctl(device, words)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read speed of %s: %w", device, err)
	}
	speed := words[3]&0xffff | words[7]<<16
	if speed == 1<<32-1 { // SPEED_UNKNOWN
		return 0, nil
	}
	return uint64(speed) * 1e6, nil
}

// SetQueues makes a device have n queues that both receive and transmit (ethtool -L).
func SetQueues(device string, n int) error {
	words := make([]uint32, 9)
	words[0] = ethtoolGChannels
	if err := ioctl(device, words); err != nil {
		return fmt.Errorf("read queues of %s: %w", device, err)
	}
	words[0] = ethtoolSChannels
	if words[4] > 0 { // the driver pairs them
		words[8] = uint32(n)
	} else {
		words[5], words[6] = uint32(n), uint32(n)
	}
	if err := ioctl(device, words); err != nil {
		return fmt.Errorf("set queues of %s to %d: %w", device, n, err)
	}
	return nil
}
