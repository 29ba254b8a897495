package ssh

import (
	"bytes"
	"io"
	"sync"
)

const (
	keyInterrupt = 0x03 // Ctrl-C
	keyEnd       = 0x04 // Ctrl-D
)

// input is what comes for a shell. From a terminal, Ctrl-C interrupts what runs, and takes what was typed before it along; at the
// prompt it clears the line.
type input struct {
	interrupt func() (interrupted bool) // nil: no terminal

	mu    sync.Mutex
	ready *sync.Cond
	keys  []byte
	err   error // no more will come
	text  bool  // a text is typed, not commands: Ctrl-D ends it
	given bool  // up: it ends now
	ended bool  // it has
}

// keysMax is how much may be typed ahead. More stays with the client.
const keysMax = 64 << 10

// clearLine stands for Ctrl-C at the prompt, in the keys of the line editor: delete to the start, to the end, next line.
var clearLine = []byte{0x15, 0x0b, '\r'}

func newInput(interrupt func() bool) *input {
	in := &input{interrupt: interrupt}
	in.ready = sync.NewCond(&in.mu)
	return in
}

// pump reads the client's keys until there are no more.
func (in *input) pump(r io.Reader, touch func()) {
	var b [4096]byte
	for {
		n, err := r.Read(b[:])
		touch()
		in.add(b[:n])
		if err != nil {
			in.end(err)
			return
		}
	}
}

func (in *input) add(keys []byte) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for in.interrupt != nil {
		i := bytes.IndexByte(keys, keyInterrupt)
		if i < 0 {
			break
		}
		if in.interrupt() {
			in.keys = in.keys[:0]
		} else {
			in.keys = append(append(in.keys, keys[:i]...), clearLine...)
		}
		keys = keys[i+1:]
	}
	in.keys = append(in.keys, keys...)
	in.ready.Broadcast()
	for len(in.keys) > keysMax && in.err == nil {
		in.ready.Wait()
	}
}

// end has Read return err when all keys are taken.
func (in *input) end(err error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.err == nil {
		in.err = err
	}
	in.ready.Broadcast()
}

func (in *input) Read(p []byte) (int, error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for len(in.keys) == 0 && in.err == nil && !in.given {
		in.ready.Wait()
	}
	if in.given {
		in.text, in.given, in.ended = false, false, true
		return copy(p, clearLine), nil
	}
	if len(in.keys) == 0 {
		return 0, in.err
	}
	// No more than a line, so that what the line is about to have begun finds the rest of the keys here.
	n := len(in.keys)
	if i := bytes.IndexAny(in.keys, "\r\n"); i >= 0 {
		n = i + 1
		if bytes.HasPrefix(in.keys[i:], []byte("\r\n")) {
			n++
		}
	}
	if end := bytes.IndexByte(in.keys[:n], keyEnd); in.text && end >= 0 {
		n = max(end, 1)
		if end == 0 {
			in.keys[0], in.text, in.ended = '\r', false, true
		}
	}
	n = copy(p, in.keys[:n])
	in.keys = append(in.keys[:0], in.keys[n:]...)
	in.ready.Broadcast()
	return n, nil
}

// beginText has Ctrl-D end a line, and the text.
func (in *input) beginText() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.text, in.given, in.ended = true, false, false
}

// giveUpText ends it, wherever it is.
func (in *input) giveUpText() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.given = in.text
	in.ready.Broadcast()
}

// endText has keys be those of commands again.
func (in *input) endText() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.text, in.given = false, false
}

// textEnded reports whether Ctrl-D has ended the text.
func (in *input) textEnded() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.ended
}
