package image

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path"

	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/filesystem/fat32"
	"github.com/diskfs/go-diskfs/partition/gpt"

	"weir/appliance/image/layout"
)

const (
	mib        = 1 << 20
	sectorSize = 512

	// The disk: a MiB of tables before and behind the partitions, as partitioning tools align them.
	espStart    = 1 * mib
	espSize     = 256 * mib // room for both slots and one that is being written: 3 × layout.UpgradeSizeMax
	configStart = espStart + espSize
	configSize  = 128 * mib
	diskSize    = configStart + configSize + 1*mib
)

// loaderConf has systemd-boot start without a menu. A default would be taken even when its tries are used up: see layout.
const loaderConf = "timeout 0\neditor no\n"

// disk is what goes onto one.
type disk struct {
	loader []byte // systemd-boot
	uki    []byte
	config []namedFile // in the root of the config partition
	id     func(what string) [16]byte
}

// namedFile is a file that is written somewhere.
type namedFile struct {
	name string
	mode os.FileMode
	data []byte
}

// write makes the disk in a new file. The file is sparse; SOURCE_DATE_EPOCH must be set, which the FAT takes its times from.
func (d disk) write(name string, epoch int64) (err error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return fmt.Errorf("write disk: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := f.Truncate(diskSize); err != nil {
		return fmt.Errorf("write disk: %w", err)
	}
	if err := d.writeTable(f); err != nil {
		return fmt.Errorf("write partition table: %w", err)
	}
	if err := d.writeESP(f); err != nil {
		return fmt.Errorf("write EFI system partition: %w", err)
	}
	if err := d.writeConfig(f, epoch); err != nil {
		return fmt.Errorf("write config partition: %w", err)
	}
	return nil
}

func (d disk) writeTable(f *os.File) error {
	partition := func(i int, name string, kind gpt.Type, start, size uint64) *gpt.Partition {
		return &gpt.Partition{Index: i, Name: name, Type: kind, Start: start / sectorSize, End: (start+size)/sectorSize - 1, Size: size, GUID: uuid(d.id(name))}
	}
	t := gpt.Table{
		LogicalSectorSize: sectorSize, PhysicalSectorSize: sectorSize, ProtectiveMBR: true, GUID: uuid(d.id("disk")),
		Partitions: []*gpt.Partition{
			partition(1, layout.ESP, gpt.EFISystemPartition, espStart, espSize),
			partition(2, layout.Config, gpt.LinuxFilesystem, configStart, configSize),
		},
	}
	return t.Write(f, diskSize)
}

func (d disk) writeESP(f *os.File) error {
	fs, err := fat32.Create(file.New(f, false), espSize, espStart, sectorSize, layout.ESP, true)
	if err != nil {
		return err
	}
	slot := layout.SlotFile{Slot: layout.SlotA, Counting: true, Left: layout.Tries}
	for _, w := range []namedFile{
		{name: "/EFI/BOOT/BOOTX64.EFI", data: d.loader},
		{name: "/loader/loader.conf", data: []byte(loaderConf)},
		{name: "/" + layout.SlotsDir + "/" + slot.Name(), data: d.uki},
	} {
		if err := fs.Mkdir(path.Dir(w.name)); err != nil {
			return fmt.Errorf("make %s: %w", path.Dir(w.name), err)
		}
		out, err := fs.OpenFile(w.name, os.O_CREATE|os.O_RDWR)
		if err != nil {
			return fmt.Errorf("make %s: %w", w.name, err)
		}
		if _, err := io.Copy(out, bytes.NewReader(w.data)); err != nil {
			return fmt.Errorf("write %s: %w", w.name, err)
		}
		if err := out.Close(); err != nil {
			return fmt.Errorf("write %s: %w", w.name, err)
		}
	}
	return fs.Close()
}

// uuid writes an identity as RFC 9562 has it.
func uuid(b [16]byte) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
