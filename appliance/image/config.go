package image

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"weir/appliance/image/layout"
)

// configBlock is the block size of the config partition.
const configBlock = 4096

// configFeatures are those of the file system: named, so that no file of the builder's machine has a say.
const configFeatures = "none,has_journal,ext_attr,dir_index,filetype,extent,64bit,flex_bg,sparse_super,large_file,huge_file,dir_nlink,extra_isize,metadata_csum"

// writeConfig makes the config partition's file system beside the disk, by e2fsprogs, and copies it into its place. Files come by
// debugfs rather than `mke2fs -d`, which would take owners and change times from the builder's machine.
func (d disk) writeConfig(to *os.File, epoch int64) (err error) {
	dir, err := os.MkdirTemp("", "weir-image-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	env := []string{fmt.Sprintf("E2FSPROGS_FAKE_TIME=%d", epoch), fmt.Sprintf("SOURCE_DATE_EPOCH=%d", epoch), "MKE2FS_CONFIG=" + os.DevNull}
	if err := run(dir, env, "/sbin/mke2fs", "-q", "-F", "-t", "ext4", "-O", configFeatures, "-b", fmt.Sprint(configBlock), "-I", "256", "-m", "0", "-N", "8192",
		"-L", layout.Config, "-U", uuid(d.id("config file system")), "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard,root_owner=0:0,hash_seed="+uuid(d.id("config hash")),
		"-J", "size=8", "config", fmt.Sprint(configSize/configBlock)); err != nil {
		return err
	}
	var script strings.Builder
	for i, w := range d.config {
		source := fmt.Sprintf("file%d", i)
		if err := os.WriteFile(filepath.Join(dir, source), w.data, 0o600); err != nil {
			return err
		}
		if err := os.Chmod(filepath.Join(dir, source), w.mode); err != nil { // as the umask would not have it
			return err
		}
		fmt.Fprintf(&script, "write %s %s\n", source, w.name)
	}
	if err := os.WriteFile(filepath.Join(dir, "script"), []byte(script.String()), 0o600); err != nil {
		return err
	}
	if err := run(dir, env, "/sbin/debugfs", "-w", "-f", "script", "config"); err != nil {
		return err
	}
	for _, w := range d.config { // debugfs tells of failures by words only
		if err := run(dir, env, "/sbin/debugfs", "-R", "dump "+w.name+" back", "config"); err != nil {
			return err
		}
		if back, err := os.ReadFile(filepath.Join(dir, "back")); err != nil || !bytes.Equal(back, w.data) {
			return fmt.Errorf("debugfs did not write %s as it is", w.name)
		}
		if err := os.Remove(filepath.Join(dir, "back")); err != nil {
			return err
		}
	}
	if err := run(dir, env, "/sbin/e2fsck", "-f", "-n", "config"); err != nil {
		return err
	}
	from, err := os.Open(filepath.Join(dir, "config"))
	if err != nil {
		return err
	}
	defer from.Close()
	return copySparse(to, configStart, from)
}

// copySparse writes what is not zero at an offset of a file that is zero there.
func copySparse(to io.WriterAt, at int64, from io.Reader) error {
	block, zero := make([]byte, configBlock), make([]byte, configBlock)
	for {
		n, err := io.ReadFull(from, block)
		if n > 0 && !bytes.Equal(block[:n], zero[:n]) {
			if _, err := to.WriteAt(block[:n], at); err != nil {
				return err
			}
		}
		at += int64(n)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
