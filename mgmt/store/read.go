package store

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// read takes in what is there, and removes what a crash has left.
func (s *Store) read() error {
	text, err := os.ReadFile(s.path("state.json"))
	if err == nil {
		err = json.Unmarshal(text, &s.state)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("read state.json: %w", err)
	}
	names, err := filepath.Glob(s.path("commits", "*.json"))
	if err != nil {
		return err
	}
	for _, name := range names {
		n, err := strconv.Atoi(strings.TrimSuffix(filepath.Base(name), ".json"))
		if err != nil {
			continue // not ours
		}
		var c Commit
		text, err := os.ReadFile(name)
		if err == nil {
			err = json.Unmarshal(text, &c)
		}
		if err != nil || c.Number != n {
			return fmt.Errorf("read commits/%d.json: %w", n, cmp.Or(err, errors.New("it is another commit's")))
		}
		s.commits = append(s.commits, c)
	}
	slices.SortFunc(s.commits, func(a, b Commit) int { return a.Number - b.Number })
	last := s.state.Good
	if i := s.state.Installing; i != nil {
		last = max(last, i.Number)
	}
	kept := len(s.commits)
	for kept > 0 && s.commits[kept-1].Number > last {
		kept--
	}
	if s.state == (State{}) {
		// The first commit was killed on its way.
		kept = 0
	}
	s.commits = s.commits[:kept]
	s.sweep()
	return nil
}

// sweep removes what no commit needs: texts and records beyond those that are kept, blobs that nobody refers to, temporary
// files. What cannot be removed costs room and nothing else.
func (s *Store) sweep() {
	needed := map[string]bool{}
	for _, c := range s.commits {
		needed[s.textPath(c.Number)], needed[s.recordPath(c.Number)] = true, true
		for _, f := range c.Files {
			needed[s.Blob(f.SHA256)] = true
		}
	}
	for _, dir := range []string{"commits", "blobs"} {
		entries, _ := os.ReadDir(s.path(dir))
		for _, e := range entries {
			if path := s.path(dir, e.Name()); !needed[path] {
				s.step("remove " + filepath.Join(dir, e.Name()))
				_ = os.Remove(path)
			}
		}
	}
}
