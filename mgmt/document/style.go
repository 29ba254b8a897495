package document

import (
	"strings"
	"unicode/utf8"
)

// stepDefault is how far a level is indented where a text gives no example.
const stepDefault = 2

// cursor is an item whose value is at hand, and where it stands.
type cursor struct {
	it     *item
	column int     // of its key or dash
	flow   bool    // it is in brackets or braces, so what is in it must be too
	peers  bool    // those beside it are what it is, and an example of how to write it
	up     *cursor // the item that it is in; nil: it is the root
}

// in is the cursor of an item of c's value.
func (d *Document) in(c *cursor, it *item) *cursor {
	return &cursor{it: it, column: d.itemColumn(c), flow: c.flow || c.it.value.flow, up: c}
}

// itemColumn is the column of the items of a block collection.
func (d *Document) itemColumn(c *cursor) int {
	v := &c.it.value
	switch {
	case v.flow || c.flow:
		return 0
	case c.isCompact() && (len(v.items) > 0 && v.items[0].lead == "" || v.kind == Nothing):
		return c.column + len(c.it.key) + max(len(c.it.sep), 1)
	case len(v.items) > 0:
		lead := v.items[0].lead
		return len(lead) - strings.LastIndexByte(lead, '\n') - 1
	case c.up == nil:
		return 0
	case v.kind == Sequence:
		return c.column + d.listStep
	}
	return c.column + d.step
}

// isCompact reports whether the value begins on the line of its dash, if it is a block.
func (c *cursor) isCompact() bool { return c.it.key == "-" && !strings.Contains(c.it.sep, "\n") }

// learnStyle finds out how far the text indents its levels, from the first example of each kind.
func (d *Document) learnStyle(from *node, column int) (known bool) {
	for _, it := range from.items {
		v := &it.value
		if len(v.items) == 0 || v.flow || it.key == "-" {
			continue
		}
		lead := v.items[0].lead
		at := len(lead) - strings.LastIndexByte(lead, '\n') - 1
		if v.kind == Sequence {
			if d.listStep < 0 {
				d.listStep = at - column
			}
		} else if d.step < 0 {
			d.step = at - column
		}
		if d.step >= 0 && d.listStep >= 0 || d.learnStyle(v, at) {
			return true
		}
	}
	return false
}

// lastText is the last text of the item that is not empty.
func (it *item) lastText() string {
	if it.after != "" {
		return it.after
	}
	v := &it.value
	if v.tail != "" {
		return v.tail
	}
	if n := len(v.items); n > 0 {
		return v.items[n-1].lastText()
	}
	for _, s := range [...]string{v.raw, it.sep, it.key} {
		if s != "" {
			return s
		}
	}
	return it.lead
}

func endsLine(s string) bool { return strings.HasSuffix(s, "\n") }

// inline makes room for a value on the line of the key.
func (d *Document) inline(c *cursor) {
	it, v := c.it, &c.it.value
	if v.kind == Scalar || v.flow {
		return
	}
	ended := endsLine(it.lastText()) && c.up != nil && !c.flow
	if colon := strings.IndexByte(it.sep, ':') + 1; strings.Contains(it.sep, "\n") {
		it.after, it.sep = it.sep[colon:]+v.tail+it.after, it.sep[:colon]
	} else {
		it.after = v.tail + it.after
	}
	v.tail = ""
	if it.key != "" && !strings.HasSuffix(it.sep, " ") {
		it.sep += " "
	}
	if ended && !endsLine(it.after) {
		it.after += d.eol
	}
}

// collection makes the value a collection of a kind, if it is nothing yet.
func (d *Document) collection(c *cursor, kind Kind, flow bool) {
	it, v := c.it, &c.it.value
	if v.kind != Nothing {
		return
	}
	d.save(it)
	if c.up == nil {
		v.kind, v.raw = kind, ""
		return
	}
	if c.peers {
		flow = c.likePeers(kind, flow)
	}
	if c.flow || flow && v.tail == "" {
		d.inline(c)
		*v = node{kind: kind, flow: true, raw: "[", tail: "]"}
		if kind == Mapping {
			v.raw, v.tail = "{", "}"
		}
		return
	}
	v.kind, v.raw = kind, ""
	if it.key == "-" {
		if !strings.Contains(it.sep, "\n") {
			it.sep = " "
		}
		return
	}
	if !endsLine(it.sep) {
		it.sep, it.after = strings.TrimRight(it.sep, " ")+it.after, ""
	}
}

// likePeers reports whether the nearest collection before this one is in brackets or braces.
func (c *cursor) likePeers(kind Kind, flow bool) bool {
	const looked = 8
	items := c.up.it.value.items
	for i := len(items) - 1; i >= 0 && i >= len(items)-looked; i-- {
		if v := &items[i].value; items[i] != c.it && v.kind == kind {
			return v.flow
		}
	}
	return flow
}

// add appends an item to the value, a collection, and returns it. Its value is nothing yet.
func (d *Document) add(c *cursor, name string) *item {
	v := &c.it.value
	d.save(c.it)
	it := &item{name: name}
	if v.kind == Mapping {
		it.key, it.sep = scalarText(name), ":"
	}
	if v.flow {
		d.addFlow(v, it)
	} else {
		if v.kind == Sequence {
			it.key = "-"
		}
		d.addBlock(c, it)
	}
	v.items = append(v.items, it)
	if v.index != nil && v.kind == Mapping {
		v.index[name] = len(v.items) - 1
	}
	return it
}

func (d *Document) addBlock(c *cursor, it *item) {
	v := &c.it.value
	before := c.it.sep
	if c.up == nil {
		before = d.head
	}
	n := len(v.items)
	if n == 0 && c.it.key == "-" && c.isCompact() {
		it.after, c.it.after = c.it.after, ""
		return
	}
	it.lead = strings.Repeat(" ", d.itemColumn(c))
	if n > 0 {
		last := v.items[n-1]
		before = last.lastText()
		if n > 1 && strings.HasPrefix(last.lead, d.eol) && endsLine(v.items[n-2].lastText()) {
			it.lead = d.eol + it.lead // they stand apart
		}
	}
	if before == "" || before == byteOrderMark || endsLine(before) {
		it.after = d.eol
		return
	}
	it.lead = d.eol + it.lead
}

func (d *Document) addFlow(v *node, it *item) {
	n := len(v.items)
	if n == 0 {
		return
	}
	last := v.items[n-1]
	d.save(last)
	indent := last.lead[strings.LastIndexByte(last.lead, '\n')+1:]
	ownLines := strings.Contains(last.lead, "\n") || n > 1 && endsLine(v.items[n-2].after)
	if strings.Contains(last.after, ",") {
		it.after = ","
		if endsLine(last.after) {
			it.lead, it.after = indent, ","+d.eol
			return
		}
	} else {
		last.after = ","
		if end := strings.IndexByte(v.tail, '\n'); end >= 0 && strings.Contains(v.tail[:end], "#") {
			last.after += strings.TrimSuffix(v.tail[:end], "\r")
			v.tail = v.tail[len(last.after)-1:]
			ownLines = true
		}
	}
	it.lead = " "
	if ownLines {
		it.lead = d.eol + indent
	}
}

// remove takes an item out of the value, and leaves the comments that stand on lines of their own.
func (d *Document) remove(c *cursor, i int) {
	v := &c.it.value
	d.save(c.it)
	if i+1 < len(v.items) {
		d.save(v.items[i+1])
	}
	if i > 0 {
		d.save(v.items[i-1])
	}
	ended := endsLine(c.it.lastText())
	if v.flow {
		removeFlow(v, i)
	} else {
		d.removeBlock(c, i)
	}
	items := make([]*item, 0, len(v.items)-1)
	v.items = append(append(items, v.items[:i]...), v.items[i+1:]...)
	const staleMax = 64 // as much is searched to find one
	if v.stale++; v.stale > staleMax {
		v.index, v.stale = nil, 0
	}
	if len(v.items) == 0 && !v.flow {
		v.kind = Nothing
		if ended && c.up != nil && !endsLine(c.it.lastText()) {
			c.it.after = d.eol
		}
	}
	if v.was != nil && len(v.items) == 1 {
		if rest := v.items[0].value; rest.text == v.was.text {
			*v = *v.was
		} else {
			*v = rest
		}
	}
}

func (d *Document) removeBlock(c *cursor, i int) {
	v := &c.it.value
	it := v.items[i]
	before := c.it.sep
	if c.up == nil {
		before = d.head
	}
	if i > 0 {
		before = v.items[i-1].lastText()
	}
	comments := ""
	if strings.Contains(it.lead, "#") && (before == "" || before == byteOrderMark || endsLine(before)) {
		comments = it.lead[:strings.LastIndexByte(it.lead, '\n')+1]
	}
	if i+1 == len(v.items) {
		v.tail = comments + v.tail
		return
	}
	next := v.items[i+1]
	switch {
	case i == 0 && c.isCompact() && it.lead == "":
		if strings.Contains(next.lead, "#") {
			c.it.sep = d.eol
		} else {
			next.lead = ""
		}
	case i == 0 && !endsLine(before) && before != "" && before != byteOrderMark:
		next.lead = d.eol + next.lead
	case i == 0 && comments == "" && c.up == nil:
		next.lead = strings.TrimLeft(next.lead, "\r\n")
	default:
		next.lead = comments + next.lead
	}
}

func removeFlow(v *node, i int) {
	it := v.items[i]
	switch {
	case len(v.items) == 1:
		if strings.Contains(it.lead, "#") {
			v.tail = it.lead + v.tail
		}
	case i == 0:
		next := v.items[1]
		if strings.Contains(it.lead, "#") || !strings.Contains(next.lead, "#") {
			next.lead = it.lead
		}
	case i < len(v.items)-1:
		if next := v.items[i+1]; strings.Contains(it.lead, "#") {
			next.lead = it.lead + strings.TrimLeft(next.lead, " ")
		}
	default:
		last := v.items[i-1]
		if !strings.Contains(it.after, ",") {
			before, after, _ := strings.Cut(last.after, ",")
			last.after = before + after
			if endsLine(last.after) && strings.HasPrefix(strings.TrimLeft(v.tail, " \r"), "\n") {
				last.after = strings.TrimRight(last.after, "\r\n")
			}
		}
		if strings.Contains(it.lead, "#") {
			v.tail = it.lead + v.tail
		}
	}
}

// setScalar makes the value a scalar that says text.
func (d *Document) setScalar(c *cursor, text string) {
	v := &c.it.value
	if v.kind == Scalar && v.text == text {
		return
	}
	d.save(c.it)
	d.inline(c)
	*v = node{kind: Scalar, text: text, raw: scalarText(text)}
}

// scalarText writes a scalar so that it is read as text in every surrounding.
func scalarText(text string) string {
	if isPlainText(text) {
		return text
	}
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range text {
		if r == '"' || r == '\\' {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	b.WriteByte('"')
	return b.String()
}

func isPlainText(text string) bool {
	for i, r := range text {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '_', r == '$', r == '/':
		case i > 0 && (r == '.' || r == '-' || r == '+'):
		default:
			return false
		}
	}
	switch strings.ToLower(text) {
	case "", "null":
		return false
	}
	return utf8.ValidString(text)
}
