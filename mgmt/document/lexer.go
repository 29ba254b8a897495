package document

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml/scanner"
	"github.com/goccy/go-yaml/token"
)

// checkText refuses what no text of a configuration has.
func checkText(text []byte) error {
	if len(text) > TextMax {
		return &SyntaxError{Spot{1, 1}, fmt.Sprintf("text is larger than %d bytes; keep routes in a routes-file", TextMax)}
	}
	line, column := uint32(1), uint32(1)
	for i := 0; i < len(text); {
		r, size := rune(text[i]), 1
		if r >= utf8.RuneSelf {
			r, size = utf8.DecodeRune(text[i:])
		}
		switch {
		case r == utf8.RuneError && size == 1:
			return &SyntaxError{Spot{line, column}, fmt.Sprintf("byte 0x%02x is not UTF-8", text[i])}
		case r < ' ' && r != '\n' && r != '\r' && r != '\t', r >= 0x7f && r < 0xa0, r == 0xfeff && i > 0, r == 0x2028, r == 0x2029:
			return &SyntaxError{Spot{line, column}, fmt.Sprintf("character %U is not allowed", r)}
		case r == '\r' && (i+1 == len(text) || text[i+1] != '\n'):
			return &SyntaxError{Spot{line, column}, "a carriage return ends no line without a line feed"}
		case r == '\n':
			line, column = line+1, 0
		}
		i += size
		column++
	}
	return nil
}

// lex returns the tokens of text without its comments. The lexer counts the two bytes of a CRLF as two lines in
// comments and quotes, so it never sees them.
func lex(text string) (tokens token.Tokens, err error) {
	// The lexer is code of others on input of others: a bug there must refuse a configuration, not end the router.
	defer func() {
		if r := recover(); r != nil {
			err = &SyntaxError{Spot{1, 1}, fmt.Sprintf("lexer cannot read this text: %v", r)}
		}
	}()
	text = strings.ReplaceAll(strings.TrimPrefix(text, byteOrderMark), "\r\n", "\n")
	var s scanner.Scanner
	s.Init(text)
	for {
		more, err := s.Scan()
		if err == io.EOF {
			return tokens, nil
		}
		for _, t := range more {
			switch t.Type {
			case token.InvalidType:
				if strings.Contains(t.Error, "\t") {
					return nil, syntaxErrorAt(t, "a tab cannot indent; use spaces")
				}
				return nil, syntaxErrorAt(t, "%s", t.Error)
			case token.CommentType:
			default:
				tokens = append(tokens, t)
			}
		}
		if err != nil {
			return nil, &SyntaxError{Spot{1, 1}, err.Error()}
		}
	}
}
