package document

import (
	"bytes"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/goccy/go-yaml/token"
)

// Limits on a configuration's text. The lexer needs up to some 300 bytes of memory for a byte of text that is all
// punctuation (80 for an ordinary one), so the size bounds it at about 2.5 GB; the largest useful texts, tens of
// thousands of rules, are below 4 MB, and routes by the million belong in a routes-file.
const (
	TextMax  = 8 << 20 // bytes
	depthMax = 32      // of collections; the deepest that the configuration has is 8
)

// Kind says what a node is.
type Kind uint8

// Kinds.
const (
	Nothing Kind = iota // an empty value, ~ or null
	Scalar
	Mapping
	Sequence
)

// Node is a value of the text and where it stands.
type Node struct {
	Kind   Kind
	Quoted bool   // scalar: in quotes, or a block scalar
	At     Spot   // its first character
	Text   string // scalar
	Keys   []Key  // mapping, in the order of the text, duplicates included; sequence of dashes: the dashes
	Items  []Node // mapping: the values of keys; sequence: its items

	flow bool // a collection in brackets or braces
	in   span // for a Document; an empty value is right behind its colon or dash
}

// span is a range of bytes of the text.
type span struct{ from, to uint32 }

// Key is a key of a mapping.
type Key struct {
	Text string
	At   Spot
	in   span
}

// Spot is a place in the text. Lines and columns count from 1, columns in characters.
type Spot struct{ Line, Column uint32 }

// SyntaxError is where the text stops being YAML, or the YAML that weir reads.
type SyntaxError struct {
	At      Spot
	Message string
}

func (e *SyntaxError) Error() string { return e.Message }

// Read turns text into nodes. Memory and time are linear in its size, whatever it says.
func Read(text []byte) (root Node, err error) {
	b, err := newTreeBuilder(text)
	if err != nil {
		return Node{}, err
	}
	return b.document()
}

func newTreeBuilder(text []byte) (*treeBuilder, error) {
	if err := checkText(text); err != nil {
		return nil, err
	}
	tokens, err := lex(string(text))
	var syntax *SyntaxError
	if errors.As(err, &syntax) { // in quotes that span lines, the lexer counts one too many
		syntax.At.Line = min(syntax.At.Line, uint32(bytes.Count(text, []byte("\n"))+1))
	}
	if err != nil {
		return nil, err
	}
	return &treeBuilder{tokens: tokens}, nil
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
	if b.spans != nil {
		b.spans[colon+1].from = b.spans[b.next].from
	}
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
	return &SyntaxError{spotOf(t), fmt.Sprintf(format, args...)}
}

func spotOf(t *token.Token) Spot {
	return Spot{uint32(max(t.Position.Line, 1)), uint32(max(t.Position.Column, 1))}
}

// treeBuilder is a recursive descent over tokens. Block structure is in their columns.
type treeBuilder struct {
	tokens token.Tokens
	spans  []span // of the tokens, where a Document is made
	next   int
	depth  int
}

// in is where the token at index i is.
func (b *treeBuilder) in(i int) span {
	if b.spans == nil {
		return span{}
	}
	return b.spans[i]
}

// behind is an empty value behind the token that was read last.
func (b *treeBuilder) behind() Node {
	in := b.in(b.next - 1)
	return Node{At: spotOf(b.tokens[b.next-1]), in: span{in.to, in.to}}
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

func (b *treeBuilder) document() (root Node, err error) {
	root = Node{At: Spot{1, 1}}
	if t := b.peek(); t != nil && t.Type == token.DocumentHeaderType {
		b.next++
	}
	if t := b.peek(); t != nil && !endsDocument(t) {
		if root, err = b.block(); err != nil {
			return Node{}, err
		}
	}
	if t := b.peek(); t != nil && t.Type == token.DocumentEndType {
		b.next++
	}
	if t := b.peek(); t != nil {
		return Node{}, b.unexpected(t)
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
func (b *treeBuilder) block() (Node, error) {
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
func (b *treeBuilder) blockSequence() (Node, error) {
	t := b.peek()
	if err := b.descend(t); err != nil {
		return Node{}, err
	}
	defer b.ascend()
	n, column := Node{Kind: Sequence, At: spotOf(t)}, t.Position.Column
	for t != nil && t.Position.Column >= column && !endsDocument(t) {
		if t.Type != token.SequenceEntryType || t.Position.Column > column || len(n.Items) > 0 && !b.fresh() {
			// A sequence may stand at the column of the key that it belongs to: the next key ends it.
			if t.Position.Column == column && b.fresh() && b.startsPair() {
				break
			}
			return Node{}, b.unexpected(t)
		}
		n.Keys = append(n.Keys, Key{At: spotOf(t), in: b.in(b.next)})
		b.next++
		item := b.behind()
		if v := b.peek(); v != nil && v.Position.Column > column && !endsDocument(v) {
			var err error
			if item, err = b.block(); err != nil {
				return Node{}, err
			}
		}
		n.Items = append(n.Items, item)
		n.in = span{n.Keys[0].in.from, item.in.to}
		t = b.peek()
	}
	return n, nil
}

// blockMapping reads `key: value` lines, whose keys stand at the column of the next token.
func (b *treeBuilder) blockMapping() (Node, error) {
	t := b.peek()
	if err := b.descend(t); err != nil {
		return Node{}, err
	}
	defer b.ascend()
	n, column := Node{Kind: Mapping, At: spotOf(t)}, t.Position.Column
	for t != nil && t.Position.Column >= column && !endsDocument(t) {
		if t.Position.Column > column || len(n.Keys) > 0 && !b.fresh() || !b.startsPair() {
			return Node{}, b.unexpected(t)
		}
		colon := b.ahead(1)
		if t.Position.Line != colon.Position.Line {
			return Node{}, syntaxErrorAt(t, "a key and its colon must be on one line")
		}
		n.Keys = append(n.Keys, Key{Text: t.Value, At: spotOf(t), in: b.in(b.next)})
		b.next += 2
		value, err := b.pairValue(column, colon)
		if err != nil {
			return Node{}, err
		}
		n.Items = append(n.Items, value)
		n.in = span{n.Keys[0].in.from, value.in.to}
		t = b.peek()
	}
	return n, nil
}

// pairValue reads what follows the colon of a pair whose key stands at column.
func (b *treeBuilder) pairValue(column int, colon *token.Token) (Node, error) {
	t := b.peek()
	switch {
	case t == nil || endsDocument(t):
	case t.Position.Line == colon.Position.Line:
		if t.Type == token.SequenceEntryType {
			return Node{}, syntaxErrorAt(t, "a list that is written with dashes begins on a line of its own")
		}
		if b.startsPair() {
			second := b.ahead(1)
			if isPlain(t) && second.Position.Line != t.Position.Line && second.Position.Column <= column {
				return Node{}, b.unexpected(second)
			}
			return Node{}, syntaxErrorAt(second, "a second colon on the line; quote the value if it is text")
		}
		return b.value()
	case t.Position.Column > column:
		return b.block()
	case t.Position.Column == column && t.Type == token.SequenceEntryType:
		return b.blockSequence()
	}
	return b.behind(), nil
}

// value reads a scalar or a flow collection.
func (b *treeBuilder) value() (Node, error) {
	t := b.peek()
	switch t.Type {
	case token.SequenceStartType:
		return b.flowSequence()
	case token.MappingStartType:
		return b.flowMapping()
	case token.LiteralType, token.FoldedType:
		n := Node{Kind: Scalar, Quoted: true, At: spotOf(t), in: b.in(b.next)}
		b.next++
		if content := b.peek(); content != nil && content.Type == token.StringType {
			n.Text, n.in.to = content.Value, b.in(b.next).to
			b.next++
		}
		return n, nil
	case token.NullType, token.ImplicitNullType:
		n := Node{At: spotOf(t), in: b.in(b.next)}
		b.next++
		return n, nil
	}
	if !isScalar(t) {
		return Node{}, b.unexpected(t)
	}
	quoted := t.Type == token.SingleQuoteType || t.Type == token.DoubleQuoteType
	n := Node{Kind: Scalar, Quoted: quoted, At: spotOf(t), Text: t.Value, in: b.in(b.next)}
	b.next++
	return n, nil
}

func (b *treeBuilder) flowSequence() (Node, error) {
	open := b.peek()
	if err := b.descend(open); err != nil {
		return Node{}, err
	}
	defer b.ascend()
	n := Node{Kind: Sequence, At: spotOf(open), flow: true, in: b.in(b.next)}
	b.next++
	for {
		t := b.peek()
		if t == nil {
			return Node{}, syntaxErrorAt(open, "[ is not closed")
		}
		if t.Type == token.SequenceEndType {
			n.in.to = b.in(b.next).to
			b.next++
			return n, nil
		}
		b.joinColons()
		if b.startsPair() {
			return Node{}, syntaxErrorAt(t, "a pair in a list needs braces: {%s: …}", Clip(t.Value))
		}
		item, err := b.value()
		if err != nil {
			return Node{}, err
		}
		n.Items = append(n.Items, item)
		if err := b.flowEntryEnd(open, token.SequenceEndType); err != nil {
			return Node{}, err
		}
	}
}

func (b *treeBuilder) flowMapping() (Node, error) {
	open := b.peek()
	if err := b.descend(open); err != nil {
		return Node{}, err
	}
	defer b.ascend()
	n := Node{Kind: Mapping, At: spotOf(open), flow: true, in: b.in(b.next)}
	b.next++
	for {
		t := b.peek()
		if t == nil {
			return Node{}, syntaxErrorAt(open, "{ is not closed")
		}
		if t.Type == token.MappingEndType {
			n.in.to = b.in(b.next).to
			b.next++
			return n, nil
		}
		if !isScalar(t) {
			return Node{}, b.unexpected(t)
		}
		if !b.startsPair() {
			return Node{}, syntaxErrorAt(t, "%s has no value; a pair is written `key: value`", Clip(t.Value))
		}
		n.Keys = append(n.Keys, Key{Text: t.Value, At: spotOf(t), in: b.in(b.next)})
		b.next += 2
		item := b.behind()
		if v := b.peek(); v != nil && v.Type != token.CollectEntryType && v.Type != token.MappingEndType {
			if b.startsPair() {
				return Node{}, syntaxErrorAt(b.ahead(1), "a second colon; quote the value if it is text, or put a comma before %s", Clip(v.Value))
			}
			var err error
			if item, err = b.value(); err != nil {
				return Node{}, err
			}
		}
		n.Items = append(n.Items, item)
		if err := b.flowEntryEnd(open, token.MappingEndType); err != nil {
			return Node{}, err
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
		return syntaxErrorAt(t, "unexpected %q; is it indented as its neighbours are, and has it a colon?", Clip(t.Value))
	}
	return syntaxErrorAt(t, "unexpected %q", Clip(t.Value))
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
