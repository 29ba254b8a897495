package ssh

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// candidates are texts that users have put in config/candidate.yaml, or sessions of theirs left in config/unfinished.yaml, until they are
// committed or removed. They are in memory: an end of the router is their end.
type candidates struct {
	mu      sync.Mutex
	texts   map[string]candidate // by user
	writing int
}

type candidate struct {
	text    []byte
	changed time.Time
	base    base              // of what a session left
	files   map[string]string // as configuration has them
}

const (
	candidateMax  = 8 << 20 // bytes; what mgmt takes of a configuration
	candidatesMax = 16      // users that have one, and files being written
)

func (c *candidates) find(user string) (found candidate, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	found, ok = c.texts[user]
	return found, ok
}

func (c *candidates) discard(user string) (had bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, had = c.texts[user]
	delete(c.texts, user)
	return had
}

// keep has one in place of the one before, if there is room.
func (c *candidates) keep(user string, kept candidate) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, has := c.texts[user]; !has && len(c.texts) >= candidatesMax {
		return errTooMany
	}
	c.put(user, kept)
	return nil
}

func (c *candidates) put(user string, kept candidate) {
	if c.texts == nil {
		c.texts = map[string]candidate{}
	}
	c.texts[user] = kept
}

// forget removes one that was taken, unless there is another by now.
func (c *candidates) forget(user string, taken candidate) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now, ok := c.texts[user]; ok && now.changed.Equal(taken.changed) {
		delete(c.texts, user)
	}
}

var errTooMany = errors.New("too many candidates: commit or remove one")

// write begins a candidate. It is in force when it is closed, as a whole.
func (c *candidates) write(user string) (*candidateWriter, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, has := c.texts[user]; c.writing >= candidatesMax || !has && len(c.texts) >= candidatesMax {
		return nil, errTooMany
	}
	c.writing++
	return &candidateWriter{all: c, user: user}, nil
}

// candidateWriter is a candidate that is being written.
type candidateWriter struct {
	all  *candidates
	user string

	mu     sync.Mutex
	text   []byte
	failed error
	closed bool
}

// WriteAt writes a part; parts may come in any order.
func (w *candidateWriter) WriteAt(p []byte, at int64) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if at < 0 || at > candidateMax-int64(len(p)) {
		w.failed = fmt.Errorf("a configuration has at most %d bytes", candidateMax)
	}
	if w.failed != nil {
		return 0, w.failed
	}
	if end := int(at) + len(p); end > len(w.text) {
		w.text = append(w.text, make([]byte, end-len(w.text))...)
	}
	return copy(w.text[at:], p), nil
}

// TransferError is called when the client went away in the middle: nothing comes of it.
func (w *candidateWriter) TransferError(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failed = errors.Join(w.failed, err)
}

// Close puts the candidate in the place of the one before.
func (w *candidateWriter) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil
	}
	w.closed = true
	w.all.mu.Lock()
	defer w.all.mu.Unlock()
	w.all.writing--
	if w.failed != nil {
		return w.failed
	}
	w.all.put(w.user, candidate{text: w.text, changed: time.Now()})
	return nil
}

// orCandidate is what a client sends along, or his candidate where he sends nothing.
type orCandidate struct {
	io.Reader
	all   *candidates
	user  string
	begun bool
	taken *candidate // the one that was read; nil: none
}

func (r *orCandidate) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if n == 0 && err == io.EOF && !r.begun {
		if c, ok := r.all.find(r.user); ok {
			r.taken, r.Reader = &c, bytes.NewReader(c.text)
			n, err = r.Reader.Read(p)
		}
	}
	r.begun = r.begun || n > 0
	return n, err
}

// committed forgets the candidate that was read, unless there is another by now.
func (r *orCandidate) committed() {
	if r.taken != nil {
		r.all.forget(r.user, *r.taken)
	}
}
