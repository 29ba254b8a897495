package document

import (
	"strings"
	"unicode"
)

// Clip shortens and cleans text of the user's that goes into a message: bounded, printable, on one line.
func Clip(s string) string {
	const longest = 60
	var b strings.Builder
	n := 0
	for _, r := range s {
		if n == longest {
			b.WriteString("…")
			break
		}
		if !unicode.IsPrint(r) {
			r = unicode.ReplacementChar
		}
		b.WriteRune(r)
		n++
	}
	return b.String()
}
