package document

import (
	"bytes"
	"errors"
	"strings"

	"github.com/goccy/go-yaml/token"
)

// errUnlocated refuses a text that is read well, but not as its bytes say: editing it could damage it.
var errUnlocated = errors.New("cannot tell the values of this text from what is between them, so it cannot be edited")

// locator finds the bytes of tokens. The lexer's own offsets count characters of what it made of the text, and in quotes
// and block scalars not even those, so the text is walked once more beside the tokens.
type locator struct {
	text []byte
	at   int
}

// locate finds where in the text each token is; what is between them is blank or a comment.
func locate(text []byte, tokens token.Tokens) ([]span, error) {
	l := &locator{text: text}
	if bytes.HasPrefix(text, []byte(byteOrderMark)) {
		l.at = len(byteOrderMark)
	}
	spans := make([]span, len(tokens))
	for i, t := range tokens {
		if i > 0 && isBlockHeader(tokens[i-1]) && t.Type == token.StringType {
			spans[i] = l.blockContent()
			continue
		}
		l.skip()
		from := l.at
		if !l.token(t) {
			return nil, errUnlocated
		}
		spans[i] = span{uint32(from), uint32(l.at)}
	}
	if l.skip(); l.at < len(text) {
		return nil, errUnlocated
	}
	return spans, nil
}

const byteOrderMark = "\ufeff"

func isBlockHeader(t *token.Token) bool {
	return t.Type == token.LiteralType || t.Type == token.FoldedType
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

// skip passes what is blank, and comments.
func (l *locator) skip() { l.at = skipBlank(l.text, l.at) }

func skipBlank[T string | []byte](text T, at int) int {
	for at < len(text) {
		switch {
		case isBlank(text[at]):
			at++
		case text[at] == '#':
			at = lineEnd(text, at)
		default:
			return at
		}
	}
	return at
}

// lineEnd is behind the line feed that ends the line, or the end of the text.
func lineEnd[T string | []byte](text T, at int) int {
	for ; at < len(text); at++ {
		if text[at] == '\n' {
			return at + 1
		}
	}
	return at
}

// marks are the tokens that are no scalars.
var marks = map[token.Type]string{
	token.SequenceEntryType: "-", token.MappingValueType: ":", token.CollectEntryType: ",",
	token.SequenceStartType: "[", token.SequenceEndType: "]", token.MappingStartType: "{", token.MappingEndType: "}",
	token.DocumentHeaderType: "---", token.DocumentEndType: "...",
}

// token passes the token that begins here.
func (l *locator) token(t *token.Token) bool {
	rest := l.text[l.at:]
	switch t.Type {
	case token.SingleQuoteType:
		return l.singleQuotes()
	case token.DoubleQuoteType:
		return l.doubleQuotes()
	case token.LiteralType, token.FoldedType:
		if len(rest) == 0 || rest[0] != '|' && rest[0] != '>' {
			return false
		}
		end := lineEnd(rest, 0)
		header := bytes.TrimRight(rest[:end], "\r\n")
		if i := bytes.IndexAny(header, " \t#"); i >= 0 {
			header = header[:i]
		}
		l.at += len(header)
		return true
	}
	if mark, ok := marks[t.Type]; ok {
		if !bytes.HasPrefix(rest, []byte(mark)) {
			return false
		}
		l.at += len(mark)
		return true
	}
	return l.plain(t.Value)
}

// plain passes a scalar without quotes. One of several lines was folded: blanks are as good as others there.
func (l *locator) plain(value string) bool {
	if value == "" {
		return false
	}
	for i := 0; i < len(value); {
		switch {
		case l.at == len(l.text):
			return false
		case isBlank(value[i]):
			if !isBlank(l.text[l.at]) {
				return false
			}
			for i < len(value) && isBlank(value[i]) {
				i++
			}
			for l.at < len(l.text) && isBlank(l.text[l.at]) {
				l.at++
			}
		case value[i] != l.text[l.at]:
			return false
		default:
			i++
			l.at++
		}
	}
	return true
}

func (l *locator) singleQuotes() bool {
	if l.at == len(l.text) || l.text[l.at] != '\'' {
		return false
	}
	for l.at++; l.at < len(l.text); l.at++ {
		if l.text[l.at] != '\'' {
			continue
		}
		if l.at+1 == len(l.text) || l.text[l.at+1] != '\'' {
			l.at++
			return true
		}
		l.at++
	}
	return false
}

func (l *locator) doubleQuotes() bool {
	if l.at == len(l.text) || l.text[l.at] != '"' {
		return false
	}
	for l.at++; l.at < len(l.text); l.at++ {
		switch l.text[l.at] {
		case '\\':
			l.at++
		case '"':
			l.at++
			return true
		}
	}
	return false
}

// blockContent passes the lines of a block scalar: those that are blank, or indented as the first that is not. The line feed of
// the last one stays.
func (l *locator) blockContent() span {
	l.at = lineEnd(l.text, l.at)
	from, end, indent := l.at, l.at, -1
	for at := l.at; at < len(l.text); {
		next := lineEnd(l.text, at)
		line := strings.TrimRight(string(l.text[at:next]), "\r\n")
		blanks := len(line) - len(strings.TrimLeft(line, " "))
		switch {
		case strings.TrimSpace(line) == "":
		case indent < 0:
			indent = blanks
			end = at + len(line)
		case blanks < indent:
			next = len(l.text) + 1
		default:
			end = at + len(line)
		}
		at = next
	}
	l.at = end
	return span{uint32(from), uint32(end)}
}
