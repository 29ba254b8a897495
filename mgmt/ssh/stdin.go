package ssh

import (
	"io"
	"time"

	"golang.org/x/crypto/ssh"
)

// stdin is what the client of a command sends. A connection that breaks looks like the end of it, and half a configuration must not
// be taken for a whole one: so the end is believed only of a client who is there still.
type stdin struct {
	channel ssh.Channel
	errors  io.Writer
	begun   bool
	err     error // that it ended with
}

// stdinPatience is how long a command waits for the first byte before it tells what it waits for.
const stdinPatience = 3 * time.Second

func (r *stdin) Read(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	if !r.begun {
		r.begun = true
		hint := time.AfterFunc(stdinPatience, func() {
			_, _ = io.WriteString(r.errors, "reading standard input: Ctrl-D ends it, and ssh -n sends nothing\n")
		})
		defer hint.Stop()
	}
	n, err := r.channel.Read(p)
	if err == io.EOF {
		// Clients answer what they do not know (RFC 4254 section 5.4).
		if _, gone := r.channel.SendRequest("there@weir", true, nil); gone != nil {
			err = io.ErrUnexpectedEOF
		}
	}
	r.err = err
	return n, err
}
