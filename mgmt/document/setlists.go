package document

import "strings"

// setValues adds values to a list of scalars.
func (d *Document) setValues(s *Schema, c *cursor, w *walk) error {
	v := &c.it.value
	if rest := w.rest(); s.Not && len(rest) > 0 && rest[0] == "not" {
		w.next()
		if v.kind != Nothing && v.get("not") == nil {
			return w.errorf("has values that are not negated; delete them first")
		}
		inner := *s
		inner.Not = false
		return d.setValues(&inner, d.member(c, "not", true), w)
	}
	if v.kind == Mapping && s.Not {
		return w.errorf("has values that are negated; delete them first")
	}
	if len(w.rest()) == 0 {
		if !s.Single {
			d.fill(s, c, Sequence)
			return nil
		}
		return w.errorf("expected %s", s.expected())
	}
	if i, ok := parseIndex(w.rest()[0]); ok && len(w.rest()) > 1 {
		w.next()
		return d.setIndexed(s, c, i, w)
	}
	values, err := s.values(w)
	if err != nil {
		return err
	}
	for _, text := range values {
		switch {
		case s.Alone != "" && text == s.Alone:
			d.setScalar(c, text)
		case v.kind == Scalar && v.text == text:
		case v.kind == Nothing && v.raw == "" && s.Single && len(values) == 1:
			d.setScalar(c, text)
		default:
			if v.kind == Scalar && s.Alone != "" && v.text == s.Alone {
				d.save(c.it)
				*v = node{}
			}
			d.listOf(s, c)
			if v.kind != Sequence {
				return w.errorf("is %s in the text, and should be a list; delete it first", v.describe())
			}
			if v.findValue(text) < 0 {
				d.setScalar(d.in(c, d.add(c, "")), text)
				if v.index != nil {
					v.index[text] = len(v.items) - 1
				}
			}
		}
	}
	return nil
}

// setIndexed sets the value at an index, or one more.
func (d *Document) setIndexed(s *Schema, c *cursor, i int, w *walk) error {
	text, err := s.value(w)
	if err != nil {
		return err
	}
	d.listOf(s, c)
	v := &c.it.value
	switch {
	case v.kind != Sequence:
		return w.errorf("is %s in the text, and should be a list; delete it first", v.describe())
	case i > len(v.items):
		return w.errorf("there are %d values", len(v.items))
	case i == len(v.items):
		d.setScalar(d.in(c, d.add(c, "")), text)
	default:
		d.setScalar(d.in(c, v.items[i]), text)
	}
	v.was, v.index = nil, nil
	return nil
}

// listOf makes a list of what is there: nothing, or one scalar.
func (d *Document) listOf(s *Schema, c *cursor) {
	v := &c.it.value
	if v.kind != Scalar {
		d.collection(c, Sequence, s.Flow)
		return
	}
	d.save(c.it)
	was := *v
	first := was
	if !strings.HasPrefix(first.raw, `"`) && !strings.HasPrefix(first.raw, "'") {
		first.raw = scalarText(first.text)
	}
	*v = node{kind: Sequence, flow: true, raw: "[", tail: "]", items: []*item{{value: first}}, was: &was}
}

// values takes the rest of the words: one value, or several in brackets.
func (s *Schema) values(w *walk) ([]string, error) {
	first, _ := w.next()
	if first != "[" {
		w.at--
		text, err := s.value(w)
		return []string{text}, err
	}
	var values []string
	for {
		text, ok := w.next()
		if !ok {
			return nil, w.errorf("expected ] at the end")
		}
		if text == "]" {
			return values, w.end()
		}
		if wrong := s.check(text); wrong != "" {
			return nil, w.errorf("%s", wrong)
		}
		values = append(values, text)
	}
}

// findValue is the index of the scalar that says text, or -1.
func (v *node) findValue(text string) int {
	if len(v.items) < indexedMin {
		for i, it := range v.items {
			if it.value.kind == Scalar && it.value.text == text {
				return i
			}
		}
		return -1
	}
	if v.index == nil {
		v.makeIndex(func(it *item) (string, bool) { return it.value.text, it.value.kind == Scalar })
	}
	return v.indexed(text, func(it *item) bool { return it.value.kind == Scalar && it.value.text == text })
}

// setActions adds an action, or gives the one with the same key another value. What ends a statement replaces what did so before, and
// stays the last.
func (d *Document) setActions(s *Schema, c *cursor, w *walk) error {
	v := &c.it.value
	if err := v.must(w, Sequence, "a list"); err != nil {
		return err
	}
	if len(w.rest()) == 0 {
		d.fill(s, c, Sequence)
		return nil
	}
	d.collection(c, Sequence, s.Flow)
	at := -1
	if i, ok := parseIndex(w.rest()[0]); ok {
		w.next()
		if i > len(v.items) {
			return w.errorf("there are %d actions", len(v.items))
		}
		at = i
	}
	word, ok := w.next()
	if !ok {
		return w.errorf("expected %s", s.expected())
	}
	final := false
	var value node
	if k := s.child(word); k != nil {
		text, err := k.value(w)
		if err != nil {
			return err
		}
		final = k.Final
		value = node{kind: Mapping, flow: true, raw: "{", tail: "}", items: []*item{{
			key: scalarText(word), name: word, sep: ": ", value: node{kind: Scalar, text: text, raw: scalarText(text)}}}}
	} else {
		known, ok := s.word(word)
		if !ok {
			return w.errorf("%s", s.check(word))
		}
		if err := w.end(); err != nil {
			return err
		}
		final = known.Final
		value = node{kind: Scalar, text: word, raw: word}
	}
	last := -1 // the first of those that end the statement
	for i, it := range v.items {
		name := actionName(&it.value)
		if at < 0 && name == word {
			for j := i + 1; j < len(v.items); j++ {
				if actionName(&v.items[j].value) == word {
					return w.errorf("several actions are called that; say which: [%d] or [%d]", i, j)
				}
			}
			at = i
		}
		if last < 0 && s.isFinal(name) {
			last = i
		}
	}
	if at < 0 && final {
		at = last
	}
	if at >= 0 && at < len(v.items) {
		e := d.in(c, v.items[at])
		if old := &e.it.value; old.kind == Mapping && value.kind == Mapping && len(old.items) == 1 && old.items[0].name == word {
			d.setScalar(d.in(e, old.items[0]), value.items[0].value.text)
		} else if !same(old, &value) {
			d.save(e.it)
			d.inline(e)
			e.it.value = value
		}
		return nil
	}
	e := d.in(c, d.add(c, ""))
	d.inline(e)
	e.it.value = value
	if at < 0 && last >= 0 {
		d.move(c, len(v.items)-1, last)
	}
	return nil
}

func (s *Schema) isFinal(name string) bool {
	if k := s.child(name); k != nil {
		return k.Final
	}
	word, _ := s.word(name)
	return word.Final
}

// actionName is the word of an action, or its key.
func actionName(v *node) string {
	if v.kind == Mapping && len(v.items) > 0 {
		return v.items[0].name
	}
	return v.text
}

// same reports whether two values say the same; the order of a mapping's keys says nothing.
func same(a, b *node) bool {
	if a.kind != b.kind || a.kind == Scalar && a.text != b.text || len(a.items) != len(b.items) {
		return false
	}
	for i, it := range a.items {
		j := i
		if a.kind == Mapping {
			if j = b.find(it.name); j < 0 {
				return false
			}
		}
		if !same(&it.value, &b.items[j].value) {
			return false
		}
	}
	return true
}
