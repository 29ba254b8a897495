package vm

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/filesystem/fat32"
	"github.com/diskfs/go-diskfs/partition/gpt"

	"weir/appliance/image/layout"
)

// Copy makes a copy of a disk, which stays as it is, for a machine to write to. It goes with the test.
func Copy(t testing.TB, disk string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), filepath.Base(disk))
	copyFile(t, disk, to)
	return to
}

// copyFile copies with the holes.
func copyFile(t testing.TB, from, to string) {
	t.Helper()
	if out, err := exec.Command("cp", "--sparse=always", "--", from, to).CombinedOutput(); err != nil {
		t.Fatalf("copy %s: %v: %s", from, err, out)
	}
}

// Slots are the names of the slots' files on the EFI system partition of a raw disk that no machine runs from.
func Slots(t testing.TB, disk string) []string {
	t.Helper()
	f, start, size := partition(t, disk, layout.ESP)
	defer f.Close()
	fs, err := fat32.Read(file.New(f, true), size, start, 512)
	if err != nil {
		t.Fatalf("read %s of %s: %v", layout.ESP, disk, err)
	}
	list, err := fs.ReadDir(layout.SlotsDir)
	if err != nil {
		t.Fatalf("read %s of %s: %v", layout.SlotsDir, disk, err)
	}
	var names []string
	for _, e := range list {
		if !strings.HasPrefix(e.Name(), ".") {
			names = append(names, e.Name())
		}
	}
	return names
}

// Config copies the config partition of a raw disk that no machine runs from into a file of its own, replays the journal there as a
// mount would, and fails the test if the file system is not whole after that.
func Config(t testing.TB, disk string) (fs string) {
	t.Helper()
	f, start, size := partition(t, disk, layout.Config)
	defer f.Close()
	fs = filepath.Join(t.TempDir(), "config")
	out, err := os.Create(fs)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if _, err := io.Copy(out, io.NewSectionReader(f, start, size)); err != nil {
		t.Fatalf("copy %s of %s: %v", layout.Config, disk, err)
	}
	if out, err := exec.Command("/sbin/e2fsck", "-E", "journal_only", "-y", fs).CombinedOutput(); err != nil {
		if exit, ok := err.(*exec.ExitError); !ok || exit.ExitCode() > 1 { // 1: it was replayed
			t.Fatalf("replay the journal of %s: %v: %s", disk, err, out)
		}
	}
	if out, err := exec.Command("/sbin/e2fsck", "-f", "-n", fs).CombinedOutput(); err != nil {
		t.Fatalf("the config partition of %s is not whole: %v\n%s", disk, err, out)
	}
	return fs
}

// ReadConfig reads a file of a file system that Config made.
func ReadConfig(t testing.TB, fs, name string) string {
	t.Helper()
	out, err := exec.Command("/sbin/debugfs", "-R", fmt.Sprintf("cat %q", name), fs).Output()
	if err != nil {
		t.Fatalf("read %s: %v", name, err)
	}
	return string(out)
}

// partition opens a disk and finds a partition in it.
func partition(t testing.TB, disk, name string) (f *os.File, start, size int64) {
	t.Helper()
	f, err := os.Open(disk)
	if err != nil {
		t.Fatal(err)
	}
	table, err := gpt.Read(f, 512, 512)
	if err != nil {
		t.Fatalf("read the partitions of %s: %v", disk, err)
	}
	for _, p := range table.Partitions {
		if p.Name == name {
			return f, p.GetStart(), p.GetSize()
		}
	}
	t.Fatalf("%s has no partition %s", disk, name)
	return nil, 0, 0
}
