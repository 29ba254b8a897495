package mgmt

import (
	"bytes"
	"fmt"
	"io"
	"unicode"
	"unicode/utf8"
)

// Escaper writes text for a terminal. It shows what could mean something to a terminal: control characters, invalid text and marks that change the
// direction of writing appear as \x1b or \u202e. Lines and tabs pass.
type Escaper struct {
	out  io.Writer
	rest []byte // the beginning of a character
}

// NewEscaper returns one that writes to out.
func NewEscaper(out io.Writer) *Escaper { return &Escaper{out: out} }

// Write writes what of p, and of what came before, are whole characters.
func (e *Escaper) Write(p []byte) (int, error) {
	var b []byte
	b, e.rest = escape(append(e.rest, p...), false)
	if _, err := e.out.Write(b); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Escape is all of a text as an Escaper shows it.
func Escape(text string) string {
	b, _ := escape([]byte(text), true)
	return string(b)
}

// escape returns the text as it may be shown; unless it is whole, without a character that has only begun.
func escape(text []byte, whole bool) (shown, rest []byte) {
	for len(text) > 0 {
		r, n := utf8.DecodeRune(text)
		switch {
		case r == utf8.RuneError && n == 1 && !whole && !utf8.FullRune(text):
			return shown, bytes.Clone(text)
		case r == utf8.RuneError && n == 1:
			shown = fmt.Appendf(shown, `\x%02x`, text[0])
		case r == '\n' || r == '\t' || unicode.IsPrint(r):
			shown = append(shown, text[:n]...)
		case r < 0x100:
			shown = fmt.Appendf(shown, `\x%02x`, r)
		default:
			shown = fmt.Appendf(shown, `\u%04x`, r)
		}
		text = text[n:]
	}
	return shown, nil
}
