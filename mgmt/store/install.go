package store

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
)

// Target is a file outside of the directory that a commit has its own content for.
type Target struct {
	Path   string
	SHA256 string
	Text   []byte   // the content; nil: it is in the blob
	Knew   []string // sums that it may have without anything being lost; others say that it was edited by hand
}

// EditedError says that files were edited by hand, and would have been lost.
type EditedError struct{ Paths []string }

func (e *EditedError) Error() string {
	return fmt.Sprintf("%s: edited on disk and not committed; nothing is lost, and nothing was changed", joined(e.Paths))
}

func joined(paths []string) string {
	var b bytes.Buffer
	for i, p := range paths {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(p)
	}
	return b.String()
}

// Resolve follows the links of a path to the file that is to be replaced; one that is not there is itself.
func Resolve(path string) (string, error) {
	real, err := filepath.EvalSymlinks(path)
	if errors.Is(err, os.ErrNotExist) {
		// A link to nowhere would be replaced by a file: refused, since whoever made it wants it elsewhere.
		if info, e := os.Lstat(path); e == nil && info.Mode()&os.ModeSymlink != 0 {
			return "", err
		}
		dir, err := filepath.EvalSymlinks(filepath.Dir(path))
		return filepath.Join(dir, filepath.Base(path)), err
	}
	return real, err
}

// Rescue keeps files that were edited by hand, before they are replaced, and returns where.
func (s *Store) Rescue(paths []string, n int) (kept []string, err error) {
	if err := os.Mkdir(s.path("edited"), 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("keep what was edited by hand: %w", err)
	}
	for _, path := range paths {
		f, err := os.Open(path)
		if err != nil {
			return kept, fmt.Errorf("keep what was edited by hand: %w", err)
		}
		to := s.path("edited", fmt.Sprintf("%d-%s", n, filepath.Base(path)))
		for i := 2; ; i++ {
			if _, err := os.Lstat(to); errors.Is(err, os.ErrNotExist) {
				break
			}
			to = s.path("edited", fmt.Sprintf("%d.%d-%s", n, i, filepath.Base(path)))
		}
		err = errors.Join(s.write(to, f, nil), f.Close())
		if err != nil {
			return kept, fmt.Errorf("keep what was edited by hand: %w", err)
		}
		kept = append(kept, to)
	}
	return kept, nil
}

// Edited lists the targets that were edited by hand: there, and neither what is to come nor what was known to be there.
func Edited(targets []Target) (paths []string, err error) {
	for _, t := range targets {
		path, err := Resolve(t.Path)
		if err != nil {
			return nil, err
		}
		sum, err := SumFile(path)
		if err != nil {
			return nil, err
		}
		if sum != "" && sum != t.SHA256 && !slices.Contains(t.Knew, sum) {
			paths = append(paths, t.Path)
		}
	}
	return paths, nil
}

// Install puts the files of a recorded commit in place: all of them are on the disk under temporary names before the
// first gets its own. The state that it writes says that they are being installed, and is otherwise the one given. When it
// fails, Undo is due.
func (s *Store) Install(n int, targets []Target, state State) (err error) {
	i := &Installing{Number: n}
	var temps []string
	defer func() {
		for _, t := range temps {
			err = errors.Join(err, ignoreMissing(os.Remove(t)))
		}
	}()
	for _, t := range targets {
		path, err := Resolve(t.Path)
		if err != nil {
			return fmt.Errorf("install %s: %w", t.Path, err)
		}
		was, err := SumFile(path)
		if err != nil {
			return fmt.Errorf("install %s: %w", t.Path, err)
		}
		if was == t.SHA256 {
			continue
		}
		var from io.ReadCloser = io.NopCloser(bytes.NewReader(t.Text))
		if t.Text == nil {
			if from, err = os.Open(s.Blob(t.SHA256)); err != nil {
				return fmt.Errorf("install %s: %w", t.Path, err)
			}
		}
		info, _ := os.Stat(path) // nil: a new file
		temp, err := s.stage(path, from, 0o600, info)
		if err = errors.Join(err, from.Close()); err != nil {
			return fmt.Errorf("install %s: %w", t.Path, err)
		}
		temps = append(temps, temp)
		i.Files = append(i.Files, Placed{Path: s.relative(path), Was: was, New: t.SHA256})
	}
	state.Installing = i
	if err := s.SetState(state); err != nil {
		return err
	}
	for k, f := range i.Files {
		if err := s.place(temps[k], s.absolute(f.Path)); err != nil {
			return fmt.Errorf("install %s: %w", f.Path, err)
		}
	}
	return nil
}

// Resume finishes what a crash has interrupted: the files of the commit that was being installed. One that somebody has
// edited since is left as it is and returned.
func (s *Store) Resume() (number int, edited []string, err error) {
	i := s.State().Installing
	if i == nil {
		return 0, nil, nil
	}
	for _, f := range i.Files {
		f.Path = s.absolute(f.Path)
		sum, e := SumFile(f.Path)
		switch {
		case e != nil:
			err = errors.Join(err, e)
			continue
		case sum == f.New:
			continue
		case sum != f.Was && sum != "":
			edited = append(edited, f.Path)
			continue
		}
		err = errors.Join(err, s.put(f.New, f.Path))
	}
	if err != nil {
		err = fmt.Errorf("go on with commit %d: %w", i.Number, err)
	}
	return i.Number, edited, err
}

// Undo puts back what Install has replaced, and writes the state that was before it.
func (s *Store) Undo(before State) (err error) {
	i := s.State().Installing
	if i == nil {
		return nil // it has not come that far
	}
	for _, f := range slices.Backward(i.Files) {
		f.Path = s.absolute(f.Path)
		sum, e := SumFile(f.Path)
		switch {
		case e != nil:
			err = errors.Join(err, e)
		case sum != f.New:
		case f.Was == "":
			err = errors.Join(err, os.Remove(f.Path), syncDir(filepath.Dir(f.Path)))
		default:
			err = errors.Join(err, s.put(f.Was, f.Path))
		}
	}
	if err != nil {
		return fmt.Errorf("put back what was there before: %w", err)
	}
	return s.SetState(before)
}

// relative is a path that stays right when the directory of the configuration moves, if there is one.
func (s *Store) relative(path string) string {
	if rel, err := filepath.Rel(filepath.Dir(s.dir), path); err == nil && filepath.IsLocal(rel) {
		return rel
	}
	return path
}

func (s *Store) absolute(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(filepath.Dir(s.dir), path)
}

// put has a file be what the directory has by a sum.
func (s *Store) put(sum, path string) error {
	from, err := s.content(sum)
	if err != nil {
		return err
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	info, _ := os.Stat(path)
	temp, err := s.stage(path, in, 0o600, info)
	if err = errors.Join(err, in.Close()); err != nil {
		return err
	}
	return s.place(temp, path)
}

// content finds what has a sum: a routes-file, the text of a commit, or what somebody has edited by hand.
func (s *Store) content(sum string) (path string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := os.Stat(s.Blob(sum)); err == nil {
		return s.Blob(sum), nil
	}
	for _, c := range s.commits {
		if c.SHA256 == sum {
			return s.textPath(c.Number), nil
		}
	}
	rescued, err := filepath.Glob(s.path("edited", "*"))
	for _, path := range rescued {
		if got, err := SumFile(path); err == nil && got == sum {
			return path, nil
		}
	}
	return "", errors.Join(fmt.Errorf("nothing has the SHA-256 %s", sum), err)
}
