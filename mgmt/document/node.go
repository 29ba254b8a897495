package document

import "strings"

// node is a value with all of its text: writing a tree down gives the text that it was read from, byte for byte, and what an
// edit does not touch is never written anew.
type node struct {
	kind Kind
	flow bool   // a collection in brackets or braces
	text string // scalar: what it says
	was  *node  // list: the scalar that it was before an edit gave it a second value

	raw   string // scalar: how it says that; collection: its bracket
	items []*item
	tail  string // collection: what is behind the last item, the closing bracket included; comments that lost their item

	index map[string]int // items by name, made when somebody looks for one among many
	stale int            // items removed since: what stood behind them stands so much further ahead at most
}

// item is a key and its value, or an item of a list.
type item struct {
	lead  string // blanks and whole lines of comments before it; to the beginning of the first line, if it is a block's
	key   string // as it is written; the dash of a list with dashes; nothing in one with brackets
	name  string // what the key says
	sep   string // colon and blanks, up to the value; up to the end of the line, where a block collection begins on the next
	value node
	after string // the comma, and the rest of the line if only a comment is on it
}

func (n *node) write(b *strings.Builder) {
	b.WriteString(n.raw)
	for _, it := range n.items {
		it.write(b)
	}
	b.WriteString(n.tail)
}

func (it *item) write(b *strings.Builder) {
	b.WriteString(it.lead)
	b.WriteString(it.key)
	b.WriteString(it.sep)
	it.value.write(b)
	b.WriteString(it.after)
}

// cutter makes nodes of a text in one walk over it.
type cutter struct {
	text string
	at   int
}

// to takes the text up to end. Where that is none, what comes out in the end is not the text, and is refused for that.
func (c *cutter) to(end uint32) string {
	if int(end) < c.at || int(end) > len(c.text) {
		return ""
	}
	s := c.text[c.at:end]
	c.at = int(end)
	return s
}

// endOfLine takes the rest of the line if nothing but a comment is on it.
func (c *cutter) endOfLine() string {
	end := c.at
	for end < len(c.text) && isBlank(c.text[end]) && c.text[end] != '\n' {
		end++
	}
	if end < len(c.text) && c.text[end] != '\n' && c.text[end] != '#' {
		return ""
	}
	return c.to(uint32(lineEnd(c.text, end)))
}

// cut makes a node of what was read; the walk is at its first byte, or where the lead of its first item begins.
func (c *cutter) cut(from *Node) node {
	n := node{kind: from.Kind, flow: from.flow, text: from.Text}
	switch {
	case from.Kind == Nothing || from.Kind == Scalar:
		n.raw = c.to(from.in.to)
	case from.flow:
		n.raw = c.to(from.in.from + 1)
		n.items = make([]*item, len(from.Items))
		for i := range from.Items {
			n.items[i] = c.flowItem(from, i)
		}
		n.tail = c.to(from.in.to)
	default:
		n.items = make([]*item, len(from.Items))
		for i := range from.Items {
			n.items[i] = c.blockItem(&from.Keys[i], &from.Items[i])
		}
	}
	return n
}

func (c *cutter) blockItem(k *Key, v *Node) *item {
	it := &item{lead: c.to(k.in.from), key: c.to(k.in.to), name: k.Text}
	if v.isBlock() && lineEnd(c.text, c.at) <= int(v.in.from) {
		it.sep = c.to(uint32(lineEnd(c.text, c.at)))
	} else {
		it.sep = c.to(v.in.from)
	}
	it.value = c.cut(v)
	if !v.isBlock() {
		it.after = c.endOfLine()
	}
	return it
}

func (n *Node) isBlock() bool { return !n.flow && (n.Kind == Mapping || n.Kind == Sequence) }

func (c *cutter) flowItem(from *Node, i int) *item {
	it, v := &item{}, &from.Items[i]
	begin := v.in.from
	if from.Kind == Mapping {
		begin = from.Keys[i].in.from
	}
	it.lead = c.to(begin)
	if from.Kind == Mapping {
		it.key, it.name = c.to(from.Keys[i].in.to), from.Keys[i].Text
		it.sep = c.to(v.in.from)
	}
	it.value = c.cut(v)
	if comma := skipBlank(c.text, c.at); comma < len(c.text) && c.text[comma] == ',' {
		it.after = c.to(uint32(comma + 1))
		it.after += c.endOfLine()
	}
	return it
}
