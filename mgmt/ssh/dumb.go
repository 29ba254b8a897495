package ssh

import (
	"bytes"
	"io"
	"regexp"
	"strconv"
)

// dumbTerminal is a writer for terminals that know no escape sequences: those of the line editor become what every terminal
// knows. To go back is to write backspaces, and where a line would be cleared another one begins.
type dumbTerminal struct{ io.Writer }

var sequence = regexp.MustCompile(`\x1b\[([0-9]*)([A-Z])`)

// Write takes whole sequences, as the editor writes them.
func (d dumbTerminal) Write(p []byte) (int, error) {
	plain := sequence.ReplaceAllFunc(p, func(s []byte) []byte {
		m := sequence.FindSubmatch(s)
		n, err := strconv.Atoi(string(m[1]))
		if err != nil {
			n = 1
		}
		switch m[2][0] {
		case 'D':
			return bytes.Repeat([]byte("\b"), min(n, columnsMax))
		case 'K', 'J':
			return []byte("\r\n")
		}
		return nil
	})
	if _, err := d.Writer.Write(plain); err != nil {
		return 0, err
	}
	return len(p), nil
}
