package mgmt

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml/scanner"
	"github.com/goccy/go-yaml/token"
)

// Limits on a configuration's text. The lexer needs up to some 300 bytes of memory for a byte of text that is all
// punctuation (80 for an ordinary one), so the size bounds it at about 2.5 GB; the largest useful texts, tens of
// thousands of rules, are below 4 MB, and routes by the million belong in a routes-file.
const (
	textMax  = 8 << 20 // bytes
	depthMax = 32      // of collections; the deepest that the configuration has is 8
)

type kind uint8

const (
	nothing kind = iota // an empty value, ~ or null
	scalar
	mapping
	sequence
)

// node is a value of the text and where it stands.
type node struct {
	kind   kind
	quoted bool   // scalar: in quotes, or a block scalar
	at     spot   // its first character
	text   string // scalar
	keys   []key  // mapping, in the order of the text, duplicates included
	items  []node // mapping: the values of keys; sequence: its items
}

type key struct {
	text string
	at   spot
}

// syntaxError is where the text stops being YAML, or the YAML that weir reads.
type syntaxError struct {
	at      spot
	message string
}

func (e *syntaxError) Error() string { return e.message }

// parseTree turns text into nodes. Memory and time are linear in its size, whatever it says.
func parseTree(text []byte) (root node, err error) {
	// The lexer is code of others on input of others: a bug there must refuse a configuration, not end the router.
	defer func() {
		if r := recover(); r != nil {
			err = &syntaxError{spot{line: 1, column: 1}, fmt.Sprintf("lexer cannot read this text: %v", r)}
		}
	}()
	if err := checkText(text); err != nil {
		return node{}, err
	}
	tokens, err := lex(string(text))
	var syntax *syntaxError
	if errors.As(err, &syntax) { // in quotes that span lines, the lexer counts one too many
		syntax.at.line = min(syntax.at.line, uint32(bytes.Count(text, []byte("\n"))+1))
	}
	if err != nil {
		return node{}, err
	}
	b := &treeBuilder{tokens: tokens}
	return b.document()
}

// checkText refuses what no text of a configuration has.
func checkText(text []byte) error {
	if len(text) > textMax {
		return &syntaxError{spot{line: 1, column: 1}, fmt.Sprintf("text is larger than %d bytes; keep routes in a routes-file", textMax)}
	}
	line, column := uint32(1), uint32(1)
	for i := 0; i < len(text); {
		r, size := rune(text[i]), 1
		if r >= utf8.RuneSelf {
			r, size = utf8.DecodeRune(text[i:])
		}
		switch {
		case r == utf8.RuneError && size == 1:
			return &syntaxError{spot{line: line, column: column}, fmt.Sprintf("byte 0x%02x is not UTF-8", text[i])}
		case r < ' ' && r != '\n' && r != '\r' && r != '\t', r == 0x7f, r == 0xfeff && i > 0, r == 0x85, r == 0x2028, r == 0x2029:
			return &syntaxError{spot{line: line, column: column}, fmt.Sprintf("character %U is not allowed", r)}
		case r == '\r' && (i+1 == len(text) || text[i+1] != '\n'):
			return &syntaxError{spot{line: line, column: column}, "a carriage return ends no line without a line feed"}
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
func lex(text string) (token.Tokens, error) {
	text = strings.ReplaceAll(strings.TrimPrefix(text, "\ufeff"), "\r\n", "\n")
	var s scanner.Scanner
	s.Init(text)
	var tokens token.Tokens
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
			return nil, &syntaxError{spot{line: 1, column: 1}, err.Error()}
		}
	}
}

// joinColons undoes what the lexer does to text with colons in it, as IPv6 addresses, in a list in braces:
// {via: [2001:db8::1]} comes as 2001, a colon, and db8::1, though a colon that no space follows is text (YAML 1.2.2
// section 7.3.3). Tokens that touch are one scalar.
func (b *treeBuilder) joinColons() {
	t := b.peek()
	if t == nil {
		return
	}
	colon := b.next + 1
	switch {
	case t.Type == token.MappingValueType:
		colon = b.next
	case !isPlain(t):
		return
	}
	if colon+1 >= len(b.tokens) || b.tokens[colon].Type != token.MappingValueType {
		return
	}
	c, rest := b.tokens[colon], b.tokens[colon+1]
	if !isPlain(rest) || !touch(c, rest) || colon > b.next && !touch(t, c) {
		return
	}
	joined := token.New(c.Value+rest.Value, "", t.Position)
	if colon > b.next {
		joined = token.New(t.Value+c.Value+rest.Value, "", t.Position)
	}
	joined.Type = token.StringType
	b.next = colon + 1
	b.tokens[b.next] = joined
}

// touch reports whether nothing is between two tokens of a line, the first of them plain.
func touch(a, b *token.Token) bool {
	return a.Position.Line == b.Position.Line && a.Position.Column+utf8.RuneCountInString(a.Value) == b.Position.Column
}

func isPlain(t *token.Token) bool {
	return isScalar(t) && t.Type != token.SingleQuoteType && t.Type != token.DoubleQuoteType
}

func syntaxErrorAt(t *token.Token, format string, args ...any) error {
	return &syntaxError{spotOf(t), fmt.Sprintf(format, args...)}
}

func spotOf(t *token.Token) spot {
	return spot{line: uint32(max(t.Position.Line, 1)), column: uint32(max(t.Position.Column, 1))}
}

// treeBuilder is a recursive descent over tokens. Block structure is in their columns.
type treeBuilder struct {
	tokens token.Tokens
	next   int
	depth  int
}

// peek is the next token, or nil at the end.
func (b *treeBuilder) peek() *token.Token { return b.ahead(0) }

func (b *treeBuilder) ahead(n int) *token.Token {
	if b.next+n < len(b.tokens) {
		return b.tokens[b.next+n]
	}
	return nil
}

// fresh reports whether the next token is the first of its line.
func (b *treeBuilder) fresh() bool {
	return b.next == 0 || b.tokens[b.next].Position.Line > b.tokens[b.next-1].Position.Line
}

func (b *treeBuilder) document() (root node, err error) {
	root = node{at: spot{line: 1, column: 1}}
	if t := b.peek(); t != nil && t.Type == token.DocumentHeaderType {
		b.next++
	}
	if t := b.peek(); t != nil && !endsDocument(t) {
		if root, err = b.block(); err != nil {
			return node{}, err
		}
	}
	if t := b.peek(); t != nil && t.Type == token.DocumentEndType {
		b.next++
	}
	if t := b.peek(); t != nil {
		return node{}, b.unexpected(t)
	}
	return root, nil
}

// descend counts a level of nesting; the caller must defer b.ascend.
func (b *treeBuilder) descend(t *token.Token) error {
	if b.depth++; b.depth > depthMax {
		return syntaxErrorAt(t, "nested deeper than %d levels", depthMax)
	}
	return nil
}

func (b *treeBuilder) ascend() { b.depth-- }

// block reads the node at the next token. That it begins right of what it belongs to, the caller has seen.
func (b *treeBuilder) block() (node, error) {
	switch t := b.peek(); {
	case t.Type == token.SequenceEntryType:
		return b.blockSequence()
	case b.startsPair():
		return b.blockMapping()
	}
	return b.value()
}

// startsPair reports whether the next tokens are a key and its colon.
func (b *treeBuilder) startsPair() bool {
	t, colon := b.peek(), b.ahead(1)
	return isScalar(t) && colon != nil && colon.Type == token.MappingValueType
}

// blockSequence reads `- item` lines, whose dashes stand at the column of the next token.
func (b *treeBuilder) blockSequence() (node, error) {
	t := b.peek()
	if err := b.descend(t); err != nil {
		return node{}, err
	}
	defer b.ascend()
	n, column := node{kind: sequence, at: spotOf(t)}, t.Position.Column
	for t != nil && t.Position.Column >= column && !endsDocument(t) {
		if t.Type != token.SequenceEntryType || t.Position.Column > column || len(n.items) > 0 && !b.fresh() {
			// A sequence may stand at the column of the key that it belongs to: the next key ends it.
			if t.Position.Column == column && b.fresh() && b.startsPair() {
				break
			}
			return node{}, b.unexpected(t)
		}
		b.next++
		item := node{at: spotOf(t)}
		if v := b.peek(); v != nil && v.Position.Column > column && !endsDocument(v) {
			var err error
			if item, err = b.block(); err != nil {
				return node{}, err
			}
		}
		n.items = append(n.items, item)
		t = b.peek()
	}
	return n, nil
}

// blockMapping reads `key: value` lines, whose keys stand at the column of the next token.
func (b *treeBuilder) blockMapping() (node, error) {
	t := b.peek()
	if err := b.descend(t); err != nil {
		return node{}, err
	}
	defer b.ascend()
	n, column := node{kind: mapping, at: spotOf(t)}, t.Position.Column
	for t != nil && t.Position.Column >= column && !endsDocument(t) {
		if t.Position.Column > column || len(n.keys) > 0 && !b.fresh() || !b.startsPair() {
			return node{}, b.unexpected(t)
		}
		colon := b.ahead(1)
		if t.Position.Line != colon.Position.Line {
			return node{}, syntaxErrorAt(t, "a key and its colon must be on one line")
		}
		n.keys = append(n.keys, key{t.Value, spotOf(t)})
		b.next += 2
		value, err := b.pairValue(column, colon)
		if err != nil {
			return node{}, err
		}
		n.items = append(n.items, value)
		t = b.peek()
	}
	return n, nil
}

// pairValue reads what follows the colon of a pair whose key stands at column.
func (b *treeBuilder) pairValue(column int, colon *token.Token) (node, error) {
	t := b.peek()
	switch {
	case t == nil || endsDocument(t):
	case t.Position.Line == colon.Position.Line:
		if t.Type == token.SequenceEntryType {
			return node{}, syntaxErrorAt(t, "a list that is written with dashes begins on a line of its own")
		}
		if b.startsPair() {
			second := b.ahead(1)
			if isPlain(t) && second.Position.Line != t.Position.Line && second.Position.Column <= column {
				return node{}, b.unexpected(second)
			}
			return node{}, syntaxErrorAt(second, "a second colon on the line; quote the value if it is text")
		}
		return b.value()
	case t.Position.Column > column:
		return b.block()
	case t.Position.Column == column && t.Type == token.SequenceEntryType:
		return b.blockSequence()
	}
	return node{at: spotOf(colon)}, nil
}

// value reads a scalar or a flow collection.
func (b *treeBuilder) value() (node, error) {
	t := b.peek()
	switch t.Type {
	case token.SequenceStartType:
		return b.flowSequence()
	case token.MappingStartType:
		return b.flowMapping()
	case token.LiteralType, token.FoldedType:
		b.next++
		n := node{kind: scalar, quoted: true, at: spotOf(t)}
		if content := b.peek(); content != nil && content.Type == token.StringType {
			n.text = content.Value
			b.next++
		}
		return n, nil
	case token.NullType, token.ImplicitNullType:
		b.next++
		return node{at: spotOf(t)}, nil
	}
	if !isScalar(t) {
		return node{}, b.unexpected(t)
	}
	b.next++
	quoted := t.Type == token.SingleQuoteType || t.Type == token.DoubleQuoteType
	return node{kind: scalar, quoted: quoted, at: spotOf(t), text: t.Value}, nil
}

func (b *treeBuilder) flowSequence() (node, error) {
	open := b.peek()
	if err := b.descend(open); err != nil {
		return node{}, err
	}
	defer b.ascend()
	b.next++
	n := node{kind: sequence, at: spotOf(open)}
	for {
		t := b.peek()
		if t == nil {
			return node{}, syntaxErrorAt(open, "[ is not closed")
		}
		if t.Type == token.SequenceEndType {
			b.next++
			return n, nil
		}
		b.joinColons()
		if b.startsPair() {
			return node{}, syntaxErrorAt(t, "a pair in a list needs braces: {%s: …}", clip(t.Value))
		}
		item, err := b.value()
		if err != nil {
			return node{}, err
		}
		n.items = append(n.items, item)
		if err := b.flowEntryEnd(open, token.SequenceEndType); err != nil {
			return node{}, err
		}
	}
}

func (b *treeBuilder) flowMapping() (node, error) {
	open := b.peek()
	if err := b.descend(open); err != nil {
		return node{}, err
	}
	defer b.ascend()
	b.next++
	n := node{kind: mapping, at: spotOf(open)}
	for {
		t := b.peek()
		if t == nil {
			return node{}, syntaxErrorAt(open, "{ is not closed")
		}
		if t.Type == token.MappingEndType {
			b.next++
			return n, nil
		}
		if !isScalar(t) {
			return node{}, b.unexpected(t)
		}
		if !b.startsPair() {
			return node{}, syntaxErrorAt(t, "%s has no value; a pair is written `key: value`", clip(t.Value))
		}
		colon := b.ahead(1)
		n.keys = append(n.keys, key{t.Value, spotOf(t)})
		b.next += 2
		item := node{at: spotOf(colon)}
		if v := b.peek(); v != nil && v.Type != token.CollectEntryType && v.Type != token.MappingEndType {
			if b.startsPair() {
				return node{}, syntaxErrorAt(b.ahead(1), "a second colon; quote the value if it is text, or put a comma before %s", clip(v.Value))
			}
			var err error
			if item, err = b.value(); err != nil {
				return node{}, err
			}
		}
		n.items = append(n.items, item)
		if err := b.flowEntryEnd(open, token.MappingEndType); err != nil {
			return node{}, err
		}
	}
}

// flowEntryEnd consumes the comma after an entry; the end of the collection is left to the caller.
func (b *treeBuilder) flowEntryEnd(open *token.Token, end token.Type) error {
	t := b.peek()
	switch {
	case t == nil:
		return syntaxErrorAt(open, "%s is not closed", open.Value)
	case t.Type == token.CollectEntryType:
		b.next++
	case t.Type != end:
		if isScalar(t) {
			return syntaxErrorAt(t, "expected a comma or the end of the %s that began in line %d", open.Value, open.Position.Line)
		}
		return b.unexpected(t)
	}
	return nil
}

// unexpected says why t cannot stand where it does.
func (b *treeBuilder) unexpected(t *token.Token) error {
	switch t.Type {
	case token.AnchorType, token.AliasType:
		return syntaxErrorAt(t, "anchors and aliases (& and *) are not supported; quote the value if it is text")
	case token.TagType:
		return syntaxErrorAt(t, "tags (!) are not supported; quote the value if it is text")
	case token.MergeKeyType:
		return syntaxErrorAt(t, "merge keys (<<) are not supported")
	case token.MappingKeyType:
		return syntaxErrorAt(t, "complex keys (?) are not supported")
	case token.DirectiveType:
		return syntaxErrorAt(t, "directives (%%) are not supported")
	case token.DocumentHeaderType:
		return syntaxErrorAt(t, "a configuration is one document")
	case token.MappingValueType:
		return syntaxErrorAt(t, "a colon without a key")
	}
	if isScalar(t) {
		return syntaxErrorAt(t, "unexpected %q; is it indented as its neighbours are, and has it a colon?", clip(t.Value))
	}
	return syntaxErrorAt(t, "unexpected %q", clip(t.Value))
}

func endsDocument(t *token.Token) bool {
	return t.Type == token.DocumentHeaderType || t.Type == token.DocumentEndType
}

func isScalar(t *token.Token) bool {
	switch t.Type {
	case token.StringType, token.SingleQuoteType, token.DoubleQuoteType,
		token.IntegerType, token.FloatType, token.BinaryIntegerType, token.OctetIntegerType, token.HexIntegerType,
		token.BoolType, token.NullType, token.InfinityType, token.NanType:
		return true
	}
	return false
}
