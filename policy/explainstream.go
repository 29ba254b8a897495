package policy

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// packetLineMax is the longest line of ExplainPackets in bytes.
const packetLineMax = 64 << 10

// ExplainPackets reads packets from r, one JSON object a line (see ParsePacketJSON), and writes the decisions to w, one
// JSON object a line, with steps if wanted. Empty lines are skipped. It ends at the first line that is not a packet,
// with an error that has its number. What is decided is written before it waits for more input, so that it can serve a
// program at the other end of two pipes.
func (s *Snapshot) ExplainPackets(r io.Reader, w io.Writer, steps bool) error {
	in, out := bufio.NewReaderSize(r, packetLineMax), bufio.NewWriterSize(w, packetLineMax)
	var buf []byte
	for n := 1; ; n++ {
		line, err := in.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			return errors.Join(fmt.Errorf("line %d: longer than %d bytes", n, packetLineMax), out.Flush())
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return errors.Join(fmt.Errorf("line %d: read: %w", n, err), out.Flush())
		}
		last := err != nil
		if line = bytes.TrimSpace(line); len(line) > 0 {
			k, err := s.ParsePacketJSON(line)
			if err != nil {
				return errors.Join(fmt.Errorf("line %d: %w", n, err), out.Flush())
			}
			if steps {
				if buf, err = json.Marshal(s.Explain(&k)); err != nil {
					return fmt.Errorf("line %d: %w", n, err)
				}
			} else {
				buf = s.AppendJSON(buf[:0], &k, s.Evaluate(&k, nil))
			}
			out.Write(append(buf, '\n')) // an error stays with the writer until Flush
		}
		if last {
			return out.Flush()
		}
		if bytes.IndexByte(peek(in), '\n') < 0 {
			if err := out.Flush(); err != nil {
				return err
			}
		}
	}
}

// peek returns what can be read without waiting.
func peek(in *bufio.Reader) []byte {
	b, _ := in.Peek(in.Buffered())
	return b
}
