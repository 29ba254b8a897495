package mgmt

import (
	"errors"

	"weir/mgmt/document"
)

type kind = document.Kind

const (
	nothing  = document.Nothing // an empty value, ~ or null
	scalar   = document.Scalar
	mapping  = document.Mapping
	sequence = document.Sequence
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
func parseTree(text []byte) (node, error) {
	root, err := document.Read(text)
	var syntax *document.SyntaxError
	switch {
	case errors.As(err, &syntax):
		return node{}, &syntaxError{spotAt(syntax.At), syntax.Message}
	case err != nil:
		return node{}, err
	}
	return nodeOf(&root), nil
}

// nodeOf has the positions of a document's node in the form in which a file is part of them.
func nodeOf(from *document.Node) node {
	n := node{kind: from.Kind, quoted: from.Quoted, at: spotAt(from.At), text: from.Text}
	if n.kind == mapping {
		n.keys = make([]key, len(from.Keys))
		for i, k := range from.Keys {
			n.keys[i] = key{k.Text, spotAt(k.At)}
		}
	}
	if len(from.Items) > 0 {
		n.items = make([]node, len(from.Items))
		for i := range from.Items {
			n.items[i] = nodeOf(&from.Items[i])
		}
	}
	return n
}

func spotAt(at document.Spot) spot { return spot{line: at.Line, column: at.Column} }
