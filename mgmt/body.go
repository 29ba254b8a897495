package mgmt

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// bodyMark begins the line of a request that brings standard input along: chunks as those of an answer, the last one of
// length 0.
const bodyMark = "< "

// body is the standard input of a command that came over the control socket.
type body struct {
	in         *bufio.Reader
	connection net.Conn
	left       int // bytes of the chunk
	err        error
	patient    bool // the client may take its time
}

// follow has a command read on for as long as the client sends and the server runs, which ctx says. Call release when the
// command has ended.
func (b *body) follow(ctx context.Context) (release func() bool) {
	b.patient = true
	b.connection.SetReadDeadline(time.Time{})
	return context.AfterFunc(ctx, func() {
		b.connection.SetReadDeadline(time.Now())
		b.connection.SetWriteDeadline(time.Now().Add(stopDeadline))
	})
}

func (b *body) Read(p []byte) (n int, err error) {
	if b.err != nil {
		return 0, b.err
	}
	if !b.patient {
		b.connection.SetReadDeadline(time.Now().Add(answerDeadline))
	}
	if b.left == 0 {
		if b.left, b.err = readChunkHeader(b.in); b.err == nil && b.left == 0 {
			b.err = io.EOF
		}
		if b.err != nil {
			return 0, b.err
		}
	}
	n, err = b.in.Read(p[:min(len(p), b.left)])
	b.left -= n
	if err != nil {
		b.err = fmt.Errorf("read standard input: %w", noEnd(err))
	}
	return n, b.err
}

func readChunkHeader(in *bufio.Reader) (int, error) {
	header, err := in.ReadSlice('\n')
	if err != nil {
		return 0, fmt.Errorf("read standard input: %w", noEnd(err))
	}
	mark, length, _ := strings.Cut(strings.TrimSuffix(string(header), "\n"), " ")
	n, err := strconv.Atoi(length)
	if mark != chunkMark || err != nil || n < 0 || n > chunkMax {
		return 0, fmt.Errorf("read standard input: chunk begins with %q", clip(string(header)))
	}
	return n, nil
}

// noEnd makes an error of an end that came too early.
func noEnd(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// sendBody sends what r has as the standard input of a command. If the other end takes no more it has answered already.
func sendBody(w io.Writer, r io.Reader) error {
	buffer := make([]byte, chunkMax)
	for {
		n, err := r.Read(buffer)
		if n > 0 {
			chunk := net.Buffers{fmt.Appendf(nil, "%s %d\n", chunkMark, n), buffer[:n]}
			if _, err := chunk.WriteTo(w); err != nil {
				return nil
			}
		}
		if errors.Is(err, io.EOF) {
			_, _ = fmt.Fprintf(w, "%s 0\n", chunkMark)
			return nil
		}
		if err != nil {
			return fmt.Errorf("call: read input: %w", err)
		}
	}
}
