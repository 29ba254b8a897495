package document

import (
	"errors"
	"strconv"
	"strings"
	"unicode"
)

// errQuote refuses a line that ends within quotes.
var errQuote = errors.New("a quotation mark is not closed")

// Words splits a line as a shell does: at blanks, which quotes keep; what is in single quotes stands for itself, and in double
// quotes a backslash makes the next character stand for itself. Nothing is expanded.
func Words(line string) ([]string, error) {
	var words []string
	var word strings.Builder
	in, quote := false, rune(0)
	escaped := false
	for _, r := range line {
		switch {
		case escaped:
			word.WriteRune(r)
			escaped = false
		case r == '\\' && quote != '\'':
			in, escaped = true, true
		case quote != 0:
			if r == quote {
				quote = 0
			} else {
				word.WriteRune(r)
			}
		case r == '"' || r == '\'':
			in, quote = true, r
		case unicode.IsSpace(r):
			if in {
				words = append(words, word.String())
				word.Reset()
				in = false
			}
		default:
			in = true
			word.WriteRune(r)
		}
	}
	switch {
	case quote != 0:
		return nil, errQuote
	case escaped:
		return nil, errors.New("a backslash is the last character")
	case in:
		words = append(words, word.String())
	}
	return words, nil
}

// Quote writes a word so that Words reads it again.
func Quote(word string) string {
	if word != "" && !strings.ContainsFunc(word, func(r rune) bool {
		return unicode.IsSpace(r) || strings.ContainsRune("\"'\\|", r) || !unicode.IsPrint(r)
	}) {
		return word
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(word) + `"`
}

// Line writes words so that Words reads them again.
func Line(words ...string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = Quote(w)
	}
	return strings.Join(quoted, " ")
}

// indexWord is how an entry without a name is called: [3] is the fourth.
func indexWord(i int) string { return "[" + strconv.Itoa(i) + "]" }

func parseIndex(word string) (int, bool) {
	if len(word) < 3 || word[0] != '[' || word[len(word)-1] != ']' {
		return 0, false
	}
	i, err := strconv.Atoi(word[1 : len(word)-1])
	return i, err == nil && i >= 0
}
