package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Kept is how many commits are kept. The one that a rollback for want of confirmation would bring back is kept beyond that.
const Kept = 100

// Author is who did something. Authors are compared by ==.
type Author struct {
	User        string `json:"user,omitempty"`
	Source      string `json:"source,omitempty"`      // address and port that the session comes from
	Fingerprint string `json:"fingerprint,omitempty"` // of the key that the user has shown
	Via         string `json:"via"`                   // ssh, control, signal, boot, web, timer
}

// String is USER via VIA from SOURCE, as far as it is known.
func (a Author) String() string {
	var words []string
	if a.User != "" {
		words = append(words, a.User)
	}
	if a.Via != "" {
		words = append(words, "via "+a.Via)
	}
	if a.Source != "" {
		words = append(words, "from "+a.Source)
	}
	if len(words) == 0 {
		return "somebody"
	}
	return strings.Join(words, " ")
}

// File is a routes-file of a commit.
type File struct {
	Name   string `json:"name"` // as the text gives it
	SHA256 string `json:"sha256"`
}

// Commit is what is known of one beside its text.
type Commit struct {
	Number   int       `json:"number"`
	Time     time.Time `json:"time"`
	By       Author    `json:"by"`
	Comment  string    `json:"comment,omitempty"`
	Hash     string    `json:"hash"` // of the configuration: what Base refers to
	SHA256   string    `json:"sha256"`
	Files    []File    `json:"files,omitempty"`
	Restores int       `json:"restores,omitempty"` // the commit whose configuration it put in force again
	Undoes   int       `json:"undoes,omitempty"`   // the commit that was not confirmed, which it took back

	// What follows is not part of the record but found out when it is asked for.
	Good       bool `json:"good"`                  // it came into force
	Running    bool `json:"running,omitempty"`     // it is in force
	Pending    bool `json:"pending,omitempty"`     // it waits for its confirmation
	RolledBack bool `json:"rolled_back,omitempty"` // it was taken back for want of confirmation
}

// State is what decides after a crash. It is written in one piece.
type State struct {
	Good       int         `json:"good,omitempty"`       // the last commit that came into force; 0: none
	Installing *Installing `json:"installing,omitempty"` // its files are being put in place
	Pending    *Pending    `json:"pending,omitempty"`
}

// Pending is a confirmation that is outstanding.
type Pending struct {
	Number   int       `json:"number"`   // the commit that is in force until then
	Restore  int       `json:"restore"`  // the one that comes back
	Deadline time.Time `json:"deadline"` // for people: the router counts by a clock that nobody sets
	By       Author    `json:"by"`
}

// Installing says which files a commit replaces.
type Installing struct {
	Number int      `json:"number"`
	Files  []Placed `json:"files"` // in the order in which they are replaced: the configuration is the last one
}

// Placed is a file that is replaced.
type Placed struct {
	Path string `json:"path"` // links resolved; from the directory that the configuration is in, where it is below that
	Was  string `json:"was"`  // SHA-256 of what was there; empty: nothing
	New  string `json:"new"`  // SHA-256 of what comes there
}

// Store is an open directory of commits.
type Store struct {
	dir  string
	lock *os.File
	step func(string)

	mu      sync.Mutex
	commits []Commit // oldest first
	state   State
}

// ErrInUse says that another process uses the directory.
var ErrInUse = errors.New("another process uses it")

// ErrNone says that there is no such commit.
var ErrNone = errors.New("no such commit")

// suffix makes the name of the directory of that of the configuration.
const suffix = ".commits"

// Exists reports whether a configuration file has a directory of commits.
func Exists(file string) bool {
	real, err := Resolve(file)
	if err == nil {
		_, err = os.Stat(real + suffix)
	}
	return err == nil
}

// Open opens the directory of a configuration file, or makes it, beside the file itself where its name is a link. Step is called before each step that changes something on disk, with its name; nil is
// nobody.
func Open(file string, step func(string)) (*Store, error) {
	real, err := Resolve(file)
	if err != nil {
		return nil, fmt.Errorf("open commits: %w", err)
	}
	dir := real + suffix
	if step == nil {
		step = func(string) {}
	}
	s := &Store{dir: dir, step: step}
	for _, d := range []string{dir, s.path("commits"), s.path("blobs")} {
		if err := os.Mkdir(d, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
			return nil, fmt.Errorf("open commits: %w", err)
		}
	}
	lock, err := os.OpenFile(s.path("lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if errors.Is(err, unix.EROFS) { // what is there can be read, and put in force
		lock, err = os.Open(s.path("lock"))
	}
	if err != nil {
		return nil, fmt.Errorf("open commits: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = ErrInUse
		}
		return nil, errors.Join(fmt.Errorf("open commits: %s: %w", dir, err), lock.Close())
	}
	s.lock = lock
	if err := s.read(); err != nil {
		return nil, errors.Join(fmt.Errorf("open commits: %w", err), lock.Close())
	}
	_ = os.Remove(temporary(real)) // of a crash
	return s, nil
}

// Close lets others use the directory.
func (s *Store) Close() error { return s.lock.Close() }

func (s *Store) path(elements ...string) string {
	return filepath.Join(append([]string{s.dir}, elements...)...)
}

func (s *Store) textPath(n int) string   { return s.path("commits", strconv.Itoa(n)+".yaml") }
func (s *Store) recordPath(n int) string { return s.path("commits", strconv.Itoa(n)+".json") }

// Blob is where the content of a routes-file is.
func (s *Store) Blob(sum string) string { return s.path("blobs", sum) }

// Commits are those that came into force, the newest first.
func (s *Store) Commits() []Commit {
	s.mu.Lock()
	defer s.mu.Unlock()
	undone := map[int]bool{}
	for _, c := range s.commits {
		undone[c.Undoes] = true
	}
	list := make([]Commit, 0, len(s.commits))
	for _, c := range slices.Backward(s.commits) {
		if c.Number > s.state.Good {
			continue // on its way
		}
		c.Good, c.Running, c.RolledBack = true, c.Number == s.state.Good, undone[c.Number]
		c.Pending = s.state.Pending != nil && s.state.Pending.Number == c.Number
		list = append(list, c)
	}
	return list
}

// State is what was last written.
func (s *Store) State() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}

// find returns the record of a commit.
func (s *Store) find(n int) (Commit, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.commits, func(c Commit) bool { return c.Number == n })
	if i < 0 {
		return Commit{}, false
	}
	return s.commits[i], true
}

// Commit returns what is known of a commit, and its text.
func (s *Store) Commit(n int) (Commit, []byte, error) {
	c, ok := s.find(n)
	if !ok {
		return c, nil, fmt.Errorf("commit %d: %w", n, ErrNone)
	}
	text, err := os.ReadFile(s.textPath(n))
	if err != nil {
		return c, nil, fmt.Errorf("commit %d: %w", n, err)
	}
	if Sum(text) != c.SHA256 {
		return c, nil, fmt.Errorf("commit %d: its text on disk has changed", n)
	}
	return c, text, nil
}

// Sum is the SHA-256 of some text, in hexadecimal.
func Sum(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// SumFile is the SHA-256 of a file, and empty if there is none.
func SumFile(path string) (string, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// Record writes a commit down and gives it its number. It is not part of the history before SetState says that it is good.
// Sources are where the content of its routes-files is now, in their order; they must have the sums that the commit gives.
func (s *Store) Record(c Commit, text []byte, sources []string) (Commit, error) {
	if err := s.keep(c.Files, sources); err != nil {
		return c, err
	}
	s.mu.Lock()
	c.Number = 1
	if n := len(s.commits); n > 0 {
		c.Number = s.commits[n-1].Number + 1
	}
	s.mu.Unlock()
	c.SHA256 = Sum(text)
	record, err := json.MarshalIndent(c, "", "\t")
	if err != nil {
		return c, err
	}
	err = s.write(s.textPath(c.Number), bytes.NewReader(text), nil)
	if err == nil {
		err = s.write(s.recordPath(c.Number), bytes.NewReader(record), nil)
	}
	if err != nil {
		return c, errors.Join(fmt.Errorf("record commit: %w", err), s.remove(c.Number))
	}
	s.mu.Lock()
	s.commits = append(s.commits, c)
	s.mu.Unlock()
	return c, nil
}

// keep stores routes-files, those that are not stored yet.
func (s *Store) keep(files []File, sources []string) error {
	for i, f := range files {
		if _, err := os.Stat(s.Blob(f.SHA256)); err == nil {
			continue
		}
		if err := s.keepFile(f, sources[i]); err != nil {
			return fmt.Errorf("keep %s: %w", f.Name, err)
		}
	}
	return nil
}

// errChanged is what a reader finds who comes after somebody else's editor.
var errChanged = errors.New("it has changed since it was read; nothing was committed")

func (s *Store) keepFile(f File, source string) error {
	in, err := os.Open(source)
	if err != nil {
		return err
	}
	defer in.Close()
	sum := sha256.New()
	return s.write(s.Blob(f.SHA256), io.TeeReader(in, sum), func() error {
		if hex.EncodeToString(sum.Sum(nil)) != f.SHA256 {
			return errChanged
		}
		return nil
	})
}

// Drop forgets a commit that did not come into force.
func (s *Store) Drop(n int) error {
	s.mu.Lock()
	s.commits = slices.DeleteFunc(s.commits, func(c Commit) bool { return c.Number == n })
	s.mu.Unlock()
	return s.remove(n)
}

func (s *Store) remove(n int) (err error) {
	for _, path := range []string{s.recordPath(n), s.textPath(n)} {
		if e := os.Remove(path); e != nil && !errors.Is(e, os.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	return err
}

// SetState writes down what is so from now on. Where it fails, nothing has changed.
func (s *Store) SetState(state State) error {
	text, err := json.MarshalIndent(state, "", "\t")
	if err != nil {
		return err
	}
	if err := s.write(s.path("state.json"), bytes.NewReader(text), nil); err != nil {
		return fmt.Errorf("write state of commits: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state = state
	return nil
}

// Prune forgets the commits that are too old to be kept.
func (s *Store) Prune() {
	s.mu.Lock()
	beyond := len(s.commits) - Kept
	restore := 0
	if p := s.state.Pending; p != nil {
		restore = p.Restore
	}
	if beyond > 0 {
		old := s.commits[:beyond]
		s.commits = append(slices.DeleteFunc(slices.Clone(old), func(c Commit) bool { return c.Number != restore }), s.commits[beyond:]...)
	}
	s.mu.Unlock()
	if beyond > 0 {
		s.sweep()
	}
}
