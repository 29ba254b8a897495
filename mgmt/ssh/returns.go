package ssh

import (
	"bytes"
	"io"
)

// returns writes lines to a raw terminal.
type returns struct{ io.Writer }

func (r returns) Write(p []byte) (int, error) {
	if _, err := r.Writer.Write(bytes.ReplaceAll(p, []byte("\n"), []byte("\r\n"))); err != nil {
		return 0, err
	}
	return len(p), nil
}
