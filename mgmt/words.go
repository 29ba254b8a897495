package mgmt

import (
	"errors"
	"strings"
	"unicode"
)

// splitLine cuts a command line into words, and the words into parts at each `|`. Quotes, single or double, keep
// spaces and bars in a word; in double ones a backslash keeps the next character. There is at least one part.
func splitLine(line string) (parts [][]string, err error) {
	var word strings.Builder
	var words []string
	inWord := false
	end := func() {
		if inWord {
			words = append(words, word.String())
		}
		word.Reset()
		inWord = false
	}
	var quote rune
	escaped := false
	for _, r := range line {
		switch {
		case escaped:
			word.WriteRune(r)
			escaped = false
		case quote == '"' && r == '\\':
			escaped = true
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(r)
		case r == '"' || r == '\'':
			quote, inWord = r, true
		case unicode.IsSpace(r):
			end()
		case r == '|':
			end()
			parts, words = append(parts, words), nil
		default:
			word.WriteRune(r)
			inWord = true
		}
	}
	if quote != 0 {
		return nil, errors.New("a quote is not closed")
	}
	end()
	return append(parts, words), nil
}

// Quote writes a word so that a command line has it as one.
func Quote(word string) string {
	if word != "" && !strings.ContainsFunc(word, func(r rune) bool { return unicode.IsSpace(r) || strings.ContainsRune(`|"'\`, r) }) {
		return word
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(word) + `"`
}
