package boot

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// loopback brings lo up.
func loopback() error {
	link, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(link)
	}
	if err != nil {
		return fmt.Errorf("bring up lo: %w", err)
	}
	return nil
}

// setClock sets the clock forward where it says a time before the image was made: there is no battery, or an empty one. Certificates
// and the times of commits are then wrong by less.
func setClock(built time.Time) (set bool, err error) {
	if !time.Now().Before(built) {
		return false, nil
	}
	t := unix.NsecToTimeval(built.UnixNano())
	if err := unix.Settimeofday(&t); err != nil {
		return false, fmt.Errorf("set clock: %w", err)
	}
	return true, nil
}

// seedFile is where randomness is kept from one boot to the next.
const seedFile = "boot/random-seed"

const seedSize = 512

// stir gives the kernel the randomness of the last boot, and keeps some of its own for the next one. The kernel mixes it in, but
// does not count on it: a disk image may have been copied.
func stir(dir string) error {
	path := filepath.Join(dir, seedFile)
	old, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile("/dev/urandom", old, 0)
	} else if errors.Is(err, os.ErrNotExist) {
		err = os.MkdirAll(filepath.Dir(path), 0o755)
	}
	if err != nil {
		return fmt.Errorf("stir entropy: %w", err)
	}
	seed := make([]byte, seedSize)
	_, _ = rand.Read(seed) // never fails; waits until the kernel has enough
	if err := writeDurably(path, seed); err != nil {
		return fmt.Errorf("keep entropy: %w", err)
	}
	return nil
}

// awaitEntropy waits until the kernel's random numbers are good, which some virtual machines take their time for.
func awaitEntropy(ctx context.Context) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var b [1]byte
	for {
		if _, err := unix.Getrandom(b[:], unix.GRND_NONBLOCK); !errors.Is(err, unix.EAGAIN) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}
