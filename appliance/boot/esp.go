package boot

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"weir/appliance/image/layout"
)

// Image is an image in its slot, as package layout describes slots.
type Image struct {
	layout.SlotFile
	Generation int  `json:"generation"`
	Running    bool `json:"running,omitempty"`
	Blessed    bool `json:"blessed,omitempty"` // it has shown that it works
	GivenUp    bool `json:"given_up,omitempty"`
}

// slots are the images in a directory of the EFI partition.
type slots struct {
	dir     string
	running layout.Slot // "": not known
}

// list returns the images in the order in which the boot loader prefers them.
func (s slots) list() ([]Image, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, fmt.Errorf("list slots: %w", err)
	}
	var images []Image
	for _, e := range entries {
		name, ok := layout.ParseSlotFile(e.Name())
		if !ok {
			continue
		}
		i := Image{SlotFile: name, Running: name.Slot == s.running, Blessed: !name.Counting, GivenUp: name.Counting && name.Left == 0}
		if place, err := readPlace(filepath.Join(s.dir, e.Name())); err == nil {
			i.Generation = place.Generation
		}
		images = append(images, i)
	}
	slices.SortStableFunc(images, func(a, b Image) int {
		switch {
		case a.GivenUp && !b.GivenUp:
			return 1
		case b.GivenUp && !a.GivenUp:
			return -1
		}
		return cmp.Compare(b.Generation, a.Generation)
	})
	return images, nil
}

func readPlace(path string) (layout.Placed, error) {
	f, err := os.Open(path)
	if err != nil {
		return layout.Placed{}, err
	}
	defer f.Close()
	return layout.ReadPlace(f)
}

// own is the image that runs.
func (s slots) own() (Image, error) {
	images, err := s.list()
	if err != nil {
		return Image{}, err
	}
	i := slices.IndexFunc(images, func(i Image) bool { return i.Running })
	if i < 0 {
		return Image{}, fmt.Errorf("slot %q, which runs, has no image", s.running)
	}
	return images[i], nil
}

// other is an image that could run instead, and was not given up.
func (s slots) other() (Image, bool) {
	images, err := s.list()
	if err != nil {
		return Image{}, false
	}
	i := slices.IndexFunc(images, func(i Image) bool { return !i.Running && !i.GivenUp })
	if i < 0 {
		return Image{}, false
	}
	return images[i], true
}

// rename changes what the name of an image says.
func (s slots) rename(from Image, to layout.SlotFile) error {
	if from.SlotFile == to {
		return nil
	}
	if err := os.Rename(filepath.Join(s.dir, from.Name()), filepath.Join(s.dir, to.Name())); err != nil {
		return fmt.Errorf("rename slot: %w", err)
	}
	return syncDir(s.dir)
}

// bless says of an image that it works: from now on it is not counted.
func (s slots) bless(i Image) error { return s.rename(i, layout.SlotFile{Slot: i.Slot}) }

// giveUp has the boot loader prefer any other image.
func (s slots) giveUp(i Image) error {
	return s.rename(i, layout.SlotFile{Slot: i.Slot, Counting: true, Left: 0, Done: max(i.Done, 1)})
}

// rollback has the other slot boot next: the image that runs is given up, and can be brought back by an upgrade.
func (s slots) rollback() (Image, error) {
	other, ok := s.other()
	if !ok {
		return Image{}, errors.New("there is no other image to go back to")
	}
	own, err := s.own()
	if err != nil {
		return Image{}, err
	}
	return other, s.giveUp(own)
}

// temporaryImage is where an image is before it is whole; no boot loader looks at it.
const temporaryImage = "weir-new.tmp"

// install puts an image in the slot that does not run, to be tried by the next boots.
func (s slots) install(uki []byte) (Image, error) {
	images, err := s.list()
	if err != nil {
		return Image{}, err
	}
	own, err := s.own()
	if err != nil {
		return Image{}, err
	}
	i := Image{SlotFile: layout.SlotFile{Slot: own.Slot.Other(), Counting: true, Left: layout.Tries}}
	for _, other := range images {
		i.Generation = max(i.Generation, other.Generation+1)
	}
	if err := layout.Place(uki, layout.Placed{Slot: i.Slot, Generation: i.Generation}); err != nil {
		return Image{}, err
	}
	// What runs must be what boots if the power goes from here on, although its tries are not over.
	if !own.Blessed {
		return Image{}, fmt.Errorf("slot %s, which runs, has not shown yet that it works", own.Slot)
	}
	for _, old := range images {
		if old.Slot == i.Slot {
			if err := os.Remove(filepath.Join(s.dir, old.Name())); err != nil {
				return Image{}, fmt.Errorf("make room in slot %s: %w", i.Slot, err)
			}
		}
	}
	temporary := filepath.Join(s.dir, temporaryImage)
	if err := writeSynced(temporary, uki); err != nil {
		return Image{}, errors.Join(fmt.Errorf("write slot %s: %w", i.Slot, err), os.Remove(temporary))
	}
	if err := os.Rename(temporary, filepath.Join(s.dir, i.Name())); err != nil {
		return Image{}, fmt.Errorf("write slot %s: %w", i.Slot, err)
	}
	return i, syncDir(s.dir)
}

func writeSynced(path string, text []byte) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Sync(), f.Close())
}

// onESP mounts the EFI partition while do works in its slots. It is FAT: whatever is written is on the disk when onESP returns.
func onESP(ctx context.Context, root string, running layout.Slot, readOnly bool, do func(slots) error) (err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	device, err := awaitPartition(ctx, root, layout.ESP)
	if err != nil {
		return err
	}
	at, err := os.MkdirTemp(filepath.Join(root, "/run"), "esp-")
	if err != nil {
		return fmt.Errorf("mount EFI partition: %w", err)
	}
	defer os.Remove(at)
	flags := uintptr(unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_NOATIME)
	if readOnly {
		flags |= unix.MS_RDONLY
	}
	if err := unix.Mount(device, at, "vfat", flags, "umask=077"); err != nil {
		return fmt.Errorf("mount EFI partition: %w", err)
	}
	defer func() {
		if e := unix.Unmount(at, 0); e != nil {
			err = errors.Join(err, fmt.Errorf("unmount EFI partition: %w", e))
		}
	}()
	err = do(slots{filepath.Join(at, layout.SlotsDir), running})
	if readOnly {
		return err
	}
	d, e := os.Open(at)
	if e != nil {
		return errors.Join(err, e)
	}
	return errors.Join(err, unix.Syncfs(int(d.Fd())), d.Close())
}
