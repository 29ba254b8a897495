package document

import (
	"slices"
	"strings"
)

// Delete removes what a line of words leads to: a value, or a section with all that is in it; without words, everything. A section that
// says nothing any more goes with it. Comments on lines of their own stay.
func (d *Document) Delete(words ...string) error {
	return d.edit(func() error {
		w := &walk{words: words}
		if len(words) == 0 {
			d.deleteAll()
			return nil
		}
		_, err := d.delete(d.schema, d.top(), w)
		return err
	})
}

func (d *Document) deleteAll() {
	d.save(&d.root)
	v := &d.root.value
	if v.flow || v.kind == Scalar {
		d.root.value = node{kind: Mapping, flow: true, raw: "{", tail: "}"}
		return
	}
	var comments strings.Builder
	for _, it := range v.items {
		if strings.Contains(it.lead, "#") {
			comments.WriteString(it.lead[:strings.LastIndexByte(it.lead, '\n')+1])
		}
	}
	d.root.value = node{tail: comments.String() + v.tail}
}

// delete removes what the rest of the words leads to, and reports whether the value of c is to go too.
func (d *Document) delete(s *Schema, c *cursor, w *walk) (empty bool, err error) {
	v := &c.it.value
	switch s.Form {
	case Section, Named:
		name, _ := w.next()
		inner := s.Each
		if s.Form == Section {
			if inner = s.child(name); inner == nil {
				return false, s.unknown(w)
			}
		}
		i := v.find(name)
		if i < 0 {
			return false, w.errorf("is not there")
		}
		return d.deleteItem(inner, c, i, w)
	case Entries:
		return d.deleteEntry(s, c, w)
	case Values:
		return d.deleteValues(s, c, w)
	case Actions:
		return d.deleteAction(s, c, w)
	case Choice:
		if word, _ := w.next(); v.kind == Mapping && v.get(word) != nil {
			if len(w.rest()) == 0 {
				return true, nil
			}
			v = v.get(word)
		} else {
			w.at--
		}
	}
	text, _ := w.next()
	if v.text != text {
		return false, w.errorf("is not there; it is %s", v.describe())
	}
	return true, w.end()
}

// deleteItem removes item i of c, or what the rest of the words leads to in it.
func (d *Document) deleteItem(s *Schema, c *cursor, i int, w *walk) (empty bool, err error) {
	v := &c.it.value
	gone := len(w.rest()) == 0
	if !gone {
		if gone, err = d.delete(s, d.in(c, v.items[i]), w); err != nil {
			return false, err
		}
		gone = gone && !s.Stays
	}
	if gone {
		d.remove(c, i)
	}
	return len(v.items) == 0, nil
}

func (d *Document) deleteEntry(s *Schema, c *cursor, w *walk) (empty bool, err error) {
	v := &c.it.value
	if s.Single && v.kind == Scalar {
		if name, _ := w.next(); v.text != name {
			return false, w.errorf("is not there; it is %s", v.describe())
		}
		return true, w.end()
	}
	i, _, err := s.entry(v, w, false)
	if err != nil {
		return false, err
	}
	if i < 0 {
		return false, w.errorf("is not there")
	}
	if rest := w.rest(); len(rest) > 0 {
		if s.Single && v.items[i].value.kind == Scalar {
			w.next()
			return false, w.errorf("is not there")
		}
		if slices.Contains(s.By, rest[0]) {
			v.index = nil
		}
	}
	return d.deleteItem(s.Each, c, i, w)
}

func (d *Document) deleteValues(s *Schema, c *cursor, w *walk) (empty bool, err error) {
	v := &c.it.value
	if s.Not && v.kind == Mapping {
		if word, _ := w.next(); word != "not" {
			return false, w.errorf("is not there; its values are negated")
		}
		i := v.find("not")
		if i < 0 {
			return false, w.errorf("is not there")
		}
		inner := *s
		inner.Not = false
		return d.deleteItem(&inner, c, i, w)
	}
	if v.kind == Sequence {
		if i, ok := parseIndex(w.rest()[0]); ok {
			if w.next(); i >= len(v.items) {
				return false, w.errorf("there are %d values", len(v.items))
			}
			d.remove(c, i)
			return len(v.items) == 0 && v.kind != Scalar, w.end()
		}
	}
	unchecked := Schema{Form: Values}
	if w.rest()[0] == "" {
		w.next()
		return false, w.errorf("is not there")
	}
	values, err := unchecked.values(w)
	if err != nil {
		return false, err
	}
	for _, text := range values {
		if v.kind == Scalar && v.text == text {
			return true, nil
		}
		i := -1
		if v.kind == Sequence {
			i = v.findValue(text)
		}
		if i < 0 {
			return false, w.errorf("is not there")
		}
		d.remove(c, i)
	}
	return v.kind != Scalar && len(v.items) == 0, nil
}

func (d *Document) deleteAction(s *Schema, c *cursor, w *walk) (empty bool, err error) {
	v := &c.it.value
	word, _ := w.next()
	value, hasValue := "", false
	at, byIndex := parseIndex(word)
	if byIndex && at >= len(v.items) {
		return false, w.errorf("there are %d actions", len(v.items))
	}
	if !byIndex {
		value, hasValue = w.next()
		var found []int
		for i, it := range v.items {
			if actionName(&it.value) == word && (!hasValue || it.value.kind == Mapping && it.value.items[0].value.text == value) {
				found = append(found, i)
			}
		}
		switch len(found) {
		case 0:
			return false, w.errorf("is not there")
		case 1:
			at = found[0]
		default:
			return false, w.errorf("several actions are called that; say which: [%d] or [%d]", found[0], found[1])
		}
	}
	if err := w.end(); err != nil {
		return false, err
	}
	d.remove(c, at)
	return len(v.items) == 0, nil
}
