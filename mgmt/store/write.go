package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// temporary is the name of a file at path that is not there yet. There is one for each, so that crashes do not leave many.
func temporary(path string) string {
	return filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".weir-new")
}

// write makes a file of ours, whole or not at all. Before it gets its name, verify may refuse it.
func (s *Store) write(path string, from io.Reader, verify func() error) error {
	temp, err := s.stage(path, from, 0o600, nil)
	if err == nil && verify != nil {
		if err = verify(); err != nil {
			err = errors.Join(err, os.Remove(temp))
		}
	}
	if err != nil {
		return err
	}
	return s.place(temp, path)
}

// stage writes what is to become the file at path to a temporary one beside it, and to the disk. Like is the file that it
// replaces, whose mode and owner it takes over; nil is none.
func (s *Store) stage(path string, from io.Reader, mode fs.FileMode, like fs.FileInfo) (temp string, err error) {
	s.step("write " + s.short(path))
	temp = temporary(path)
	if err := ignoreMissing(os.Remove(temp)); err != nil {
		return "", err
	}
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return "", err
	}
	_, err = io.Copy(f, from)
	if err == nil {
		err = own(f, mode, like)
	}
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err != nil {
		return "", errors.Join(fmt.Errorf("write %s: %w", filepath.Base(path), err), os.Remove(temp))
	}
	return temp, nil
}

// own gives a file its mode, and the owner of the one before, as far as we may.
func own(f *os.File, mode fs.FileMode, like fs.FileInfo) error {
	if like == nil {
		return f.Chmod(mode)
	}
	if st, ok := like.Sys().(*syscall.Stat_t); ok {
		_ = f.Chown(int(st.Uid), int(st.Gid))
	}
	return f.Chmod(like.Mode().Perm())
}

// place gives a staged file its name, and has the disk know.
func (s *Store) place(temp, path string) error {
	s.step("rename " + s.short(path))
	if err := os.Rename(temp, path); err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	s.step("sync " + s.short(path))
	return syncDir(filepath.Dir(path))
}

// syncDir has the disk know which files a directory has.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if errors.Is(err, unix.EINVAL) { // a file system without
		err = nil
	}
	return errors.Join(err, d.Close())
}

// short is a path as the names of steps have it.
func (s *Store) short(path string) string {
	if rel, err := filepath.Rel(s.dir, path); err == nil && filepath.IsLocal(rel) {
		return rel
	}
	return filepath.Base(path)
}

func ignoreMissing(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}
