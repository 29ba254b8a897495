package document

import (
	"fmt"
	"slices"
	"strings"
)

// Merge sets everything that another document says. Entries that are there already are not made twice, so merging twice changes nothing.
func (d *Document) Merge(other *Document) error {
	return d.edit(func() error { return d.merge(d.schema, &other.root.value, nil) })
}

func (d *Document) setWords(words []string) error {
	return d.set(d.schema, d.top(), &walk{words: words})
}

// at is the value that words lead to, or nil.
func (d *Document) at(words []string) *node {
	t, err := d.locate(&walk{words: words})
	if err != nil {
		return nil
	}
	return &t.cursor(d).it.value
}

func (d *Document) merge(s *Schema, v *node, words []string) error {
	switch s.Form {
	case Section:
		return d.mergeSection(s, v, words, nil)
	case Named:
		for _, it := range v.items {
			if err := d.merge(s.Each, &it.value, with(words, it.name)); err != nil {
				return err
			}
		}
		return nil
	case Entries:
		if v.kind == Sequence {
			return d.mergeEntries(s, v, words)
		}
	case Values:
		return d.mergeValues(s, v, words)
	case Actions:
		if there := d.at(words); there != nil && same(there, v) {
			return nil
		} else if there != nil && repeats(v) {
			if _, err := d.delete(d.schema, d.top(), &walk{words: words}); err != nil {
				return err
			}
		}
	}
	e := &emitter{}
	e.value(s, v, words)
	return d.mergeCommands(e)
}

func (d *Document) mergeCommands(e *emitter) error {
	for _, words := range e.commands {
		if err := d.setWords(words); err != nil {
			return err
		}
	}
	return e.err
}

func (d *Document) mergeSection(s *Schema, v *node, words []string, without []string) error {
	if s.Stays && len(words) > 0 && d.at(words) == nil {
		if err := d.setWords(words); err != nil {
			return err
		}
	}
	for _, it := range s.ordered(v) {
		if slices.Contains(without, it.name) {
			continue
		}
		k := s.child(it.name)
		if k == nil {
			return &Error{with(words, it.name), "unknown key"}
		}
		if err := d.merge(k, &it.value, with(words, it.name)); err != nil {
			return err
		}
	}
	return nil
}

// ordered are the items of a section, what decides how new entries of a list are named first.
func (s *Schema) ordered(v *node) []*item {
	for _, k := range s.Keys {
		if i := v.find(k.ByWhere[0]); k.ByWhere[0] != "" && i > 0 {
			return slices.Concat(v.items[i:i+1], v.items[:i], v.items[i+1:])
		}
	}
	return v.items
}

func (d *Document) mergeValues(s *Schema, v *node, words []string) error {
	switch v.kind {
	case Mapping:
		for _, it := range v.items {
			if err := d.mergeValues(s, &it.value, with(words, it.name)); err != nil {
				return err
			}
		}
	case Scalar:
		return d.setWords(with(words, v.text))
	case Sequence:
		if len(v.items) == 0 && !s.Single {
			return d.setWords(words)
		}
		for _, it := range v.items {
			if err := d.setWords(with(words, it.value.text)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d *Document) mergeEntries(s *Schema, v *node, words []string) error {
	if len(v.items) == 0 {
		return d.setWords(words)
	}
	for _, it := range v.items {
		there := d.at(words)
		if there == nil {
			there = &node{}
		}
		if there.kind == Scalar { // it becomes a list of what it is
			there = &node{kind: Sequence, items: []*item{{value: *there}}}
		}
		i := s.alike(there, &it.value)
		if i >= 0 && same(&there.items[i].value, &it.value) {
			continue
		}
		entry := with(words, indexWord(len(there.items)))
		if i >= 0 {
			entry = with(words, indexWord(i))
		}
		if it.value.kind == Scalar {
			if err := d.setWords(with(entry, s.By[0], it.value.text)); err != nil {
				return err
			}
			continue
		}
		if i < 0 {
			// A new one gets its name first.
			without := slices.Clone(s.By)
			for _, by := range s.By {
				if name := it.value.get(by); name != nil && name.kind == Scalar {
					if err := d.setWords(with(entry, by, name.text)); err != nil {
						return err
					}
				}
			}
			if err := d.mergeSection(s.Each, &it.value, entry, without); err != nil {
				return err
			}
			if there = d.at(words); there != nil && len(there.items) > 0 {
				there.index = nil
			}
			continue
		}
		if err := d.mergeSection(s.Each, &it.value, entry, nil); err != nil {
			return err
		}
	}
	return nil
}

// alike is the entry of a list that is the same one as entry: by its name and what else tells entries apart, or, without a name, by all
// that it says. It is -1 if there is none.
func (s *Schema) alike(list, entry *node) int {
	name, by := s.identity(entry)
	if by == "" {
		return slices.IndexFunc(list.items, func(it *item) bool { return same(&it.value, entry) })
	}
	for _, i := range s.named(list, name) {
		if s.key(&list.items[i].value) == s.key(entry) {
			return i
		}
	}
	return -1
}

// key is the name of an entry and all else that tells it apart, or empty.
func (s *Schema) key(entry *node) string {
	name, by := s.identity(entry)
	if by == "" {
		return ""
	}
	parts := []string{by, name}
	for _, key := range s.Also {
		text := ""
		if v := entry.get(key); v != nil {
			text = v.text
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, "\x00")
}

// repeats reports whether two actions have the same name.
func repeats(v *node) bool {
	seen := map[string]bool{}
	for _, it := range v.items {
		name := actionName(&it.value)
		if seen[name] {
			return true
		}
		seen[name] = true
	}
	return false
}

// Replace puts what another document has where the words lead in the place of what is there, comments included.
func (d *Document) Replace(words []string, other *Document) error {
	return d.edit(func() error {
		w := &walk{words: words}
		from, err := other.locate(w)
		if err != nil {
			return err
		}
		source := from.cursor(other)
		v := &source.it.value
		if len(words) == 0 {
			d.save(&d.root)
			head, tail := d.head, d.tail
			d.undo = append(d.undo, func() { d.head, d.tail = head, tail })
			d.head, d.root, d.tail = other.head, item{value: v.clone()}, other.tail
			return nil
		}
		to, err := d.locate(&walk{words: words})
		if err != nil {
			if err := d.sameKeys(words, other); err != nil {
				return err
			}
			e := &emitter{}
			if from.s.Form == Entries { // its entries are named as this document's would be
				e.around = d.at(words[:len(words)-1])
				e.value(from.s, v, words)
			} else {
				e.target(from, source, w)
			}
			return d.mergeCommands(e)
		}
		c := to.cursor(d)
		d.save(c.it)
		block := !v.flow && (v.kind == Mapping || v.kind == Sequence)
		switch {
		case block && c.flow, v.kind == Nothing:
			d.inline(c)
			c.it.value = node{}
			e := &emitter{}
			if to.list.Form == Entries { // without its name, it has an index
				c.it.value = node{kind: Mapping, flow: true, raw: "{", tail: "}"}
				to.c.it.value.index = nil
				e.section(from.s, v, with(words[:to.at], indexWord(to.i)))
			} else {
				e.target(from, source, w)
			}
			return d.mergeCommands(e)
		case block:
			return d.paste(c, source, other)
		}
		d.inline(c)
		c.it.value = v.clone()
		return nil
	})
}

// sameKeys refuses a way that leads through an entry of the other document that would be named by another key if it were made here: what
// is a source there must not get to be a destination.
func (d *Document) sameKeys(words []string, other *Document) error {
	for n := range words {
		t, err := other.locate(&walk{words: words[:n+1]})
		if err != nil || t.list == nil || t.list.Form != Entries || t.i < 0 {
			continue // words that are a value, or a part of a name
		}
		_, by := t.list.identity(&t.c.it.value.items[t.i].value)
		if here := t.list.by(d.at(words[:max(0, t.at-1)])); by != "" && by != here {
			return &Error{words[:n+1], fmt.Sprintf("has %s, where a new one has %s", by, here)}
		}
	}
	return nil
}

// paste gives c the value of another document, a block, with the indentation that it has here.
func (d *Document) paste(c, source *cursor, other *Document) error {
	old := other.itemColumn(source)
	v := source.it.value.clone()
	if !c.isCompact() || c.it.key != "-" {
		d.inline(c)
		c.it.sep, c.it.after = strings.TrimRight(c.it.sep, " ")+c.it.after, ""
		if !endsLine(c.it.sep) {
			c.it.sep += d.eol
		}
	} else if first := v.items[0]; strings.Contains(first.lead, "#") {
		c.it.sep = d.eol
	}
	c.it.value = node{kind: v.kind}
	column := d.itemColumn(c)
	v.shift(column-old, d.eol)
	compact := c.it.key == "-" && c.isCompact()
	if first := v.items[0]; compact {
		first.lead = ""
	} else if first.lead == "" {
		first.lead = strings.Repeat(" ", column)
	}
	c.it.value = v
	c.it.endLine(d.eol)
	return nil
}

// endLine has a line feed at the end of the item's text.
func (it *item) endLine(eol string) {
	if endsLine(it.lastText()) {
		return
	}
	for n := len(it.value.items); n > 0 && !it.value.flow; n = len(it.value.items) {
		it = it.value.items[n-1]
	}
	it.after += eol
}

func (v *node) clone() node {
	n := *v
	n.index, n.was = nil, nil
	n.items = make([]*item, len(v.items))
	for i, it := range v.items {
		inner := *it
		inner.value = it.value.clone()
		n.items[i] = &inner
	}
	return n
}

// shift indents the lines of a value by so many columns more, or fewer, and ends them with eol.
func (v *node) shift(by int, eol string) {
	lines := func(s string, first bool) string {
		var b strings.Builder
		for line := range strings.SplitAfterSeq(s, "\n") {
			if text := strings.TrimRight(line, "\r\n"); first && (text != "" || text == line) {
				line = strings.TrimPrefix(line, strings.Repeat(" ", max(-by, 0)))
				line = strings.Repeat(" ", max(by, 0)) + line
			}
			first = true
			b.WriteString(strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r"))
			if endsLine(line) {
				b.WriteString(eol)
			}
		}
		return b.String()
	}
	rest := func(s string) string {
		shifted := lines(s, false)
		if endsLine(s) {
			return strings.TrimRight(shifted, " ")
		}
		return shifted
	}
	v.raw, v.tail = rest(v.raw), rest(v.tail) // the tail of a block is comments, which may stand anywhere
	for i, it := range v.items {
		if v.flow || i == 0 && it.lead == "" {
			it.lead = rest(it.lead)
		} else {
			it.lead = lines(it.lead, true)
		}
		it.sep, it.after = rest(it.sep), rest(it.after)
		it.value.shift(by, eol)
	}
}
