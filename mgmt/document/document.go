package document

import "strings"

// Document is the text of a configuration, for editing. It is not for use by several goroutines at once.
type Document struct {
	schema *Schema
	head   string // byte order mark, and all of it if it says nothing
	root   item   // whose value is the configuration
	tail   string
	eol    string // how lines end
	undo   []func()

	step, listStep int // how far a mapping and a list with dashes are indented from the key above them
}

// Parse makes a Document of a text whose language the schema describes. A *SyntaxError says where it is not YAML; whether it
// is a configuration, it does not say.
func Parse(schema *Schema, text []byte) (*Document, error) {
	b, err := newTreeBuilder(text)
	if err != nil {
		return nil, err
	}
	spans, lost := locate(text, b.tokens)
	b.spans = spans
	root, err := b.document()
	if err == nil {
		err = lost
	}
	if err != nil {
		return nil, err
	}
	d := &Document{schema: schema, eol: "\n"}
	c := &cutter{text: string(text)}
	if line := lineEnd(text, 0); line > 1 && strings.HasSuffix(c.text[:line], "\r\n") {
		d.eol = "\r\n"
	}
	if root.isBlock() {
		if strings.HasPrefix(c.text, byteOrderMark) {
			d.head = c.to(uint32(len(byteOrderMark)))
		}
	} else {
		if len(b.tokens) == 0 || root.Kind == Nothing && root.in == (span{}) {
			root.in = span{uint32(len(text)), uint32(len(text))}
		}
		d.head = c.to(root.in.from)
	}
	d.root.value = c.cut(&root)
	d.tail = c.to(uint32(len(text)))
	if d.String() != string(text) {
		return nil, errUnlocated
	}
	d.step, d.listStep = -1, -1
	d.learnStyle(&d.root.value, 0)
	if d.step <= 0 {
		d.step = stepDefault
	}
	if d.listStep < 0 {
		d.listStep = d.step
	}
	return d, nil
}

// String is the text.
func (d *Document) String() string {
	var b strings.Builder
	b.WriteString(d.head)
	d.root.value.write(&b)
	b.WriteString(d.tail)
	return b.String()
}

// Text is the text.
func (d *Document) Text() []byte { return []byte(d.String()) }

// save has the item restored if the edit that is under way fails.
func (d *Document) save(it *item) {
	old := *it
	d.undo = append(d.undo, func() {
		*it = old
		it.value.index = nil
	})
}

// edit makes an edit, whole or not at all.
func (d *Document) edit(edit func() error) error {
	d.undo = d.undo[:0]
	err := edit()
	if err != nil {
		for i := len(d.undo) - 1; i >= 0; i-- {
			d.undo[i]()
		}
	}
	clear(d.undo)
	d.undo = d.undo[:0]
	return err
}

func (d *Document) top() *cursor { return &cursor{it: &d.root} }
