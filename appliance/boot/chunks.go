package boot

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// A file goes to PID 1 in chunks, each behind its length in 4 bytes, big-endian; one of length 0 ends it. So an end is told from a
// connection that broke.

const chunkMax = 1 << 20

// sendChunks sends all of in. Where the other end takes no more it has answered already, which is no error here.
func sendChunks(w io.Writer, in io.Reader) error {
	b := make([]byte, 4+64<<10)
	for {
		n, err := in.Read(b[4:])
		if n > 0 {
			binary.BigEndian.PutUint32(b, uint32(n))
			if _, err := w.Write(b[:4+n]); err != nil {
				return nil
			}
		}
		if errors.Is(err, io.EOF) {
			_, _ = w.Write(make([]byte, 4))
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// chunkReader reads what sendChunks sends.
type chunkReader struct {
	in   io.Reader
	left uint32
	err  error
}

func (r *chunkReader) Read(p []byte) (int, error) {
	if r.err == nil && r.left == 0 {
		var header [4]byte
		_, r.err = io.ReadFull(r.in, header[:])
		r.left = binary.BigEndian.Uint32(header[:])
		switch {
		case errors.Is(r.err, io.EOF):
			r.err = io.ErrUnexpectedEOF
		case r.err == nil && r.left == 0:
			r.err = io.EOF
		case r.err == nil && r.left > chunkMax:
			r.err = fmt.Errorf("a chunk of %d bytes", r.left)
		}
	}
	if r.err != nil {
		return 0, r.err
	}
	n, err := r.in.Read(p[:min(len(p), int(r.left))])
	r.left -= uint32(n)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	r.err = err
	return n, err
}
