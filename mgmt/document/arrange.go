package document

import (
	"slices"
	"strings"
)

// target is a place that words lead to: item i of the value of c, or all of the document.
type target struct {
	s *Schema // of the item
	c *cursor
	i int

	list *Schema // of the value of c
	at   int     // how many words lead to c
}

// cursor is the place as one whose value is at hand.
func (t *target) cursor(d *Document) *cursor {
	if t.c == nil {
		return d.top()
	}
	return d.in(t.c, t.c.it.value.items[t.i])
}

// locate follows words to what exists.
func (d *Document) locate(w *walk) (*target, error) {
	t := &target{s: d.schema}
	for len(w.rest()) > 0 {
		c := t.cursor(d)
		v, s := &c.it.value, t.s
		next := &target{c: c, i: -1, list: s, at: w.at}
		switch s.Form {
		case Section, Choice:
			key, _ := w.next()
			if v.kind == Scalar && v.text == key {
				w.valued = true
				return t, w.end()
			}
			next.s = s.child(key)
			next.i = v.find(key)
			if s.Form == Section && next.s == nil {
				return nil, s.unknown(w)
			}
		case Named:
			name, _ := w.next()
			next.s, next.i = s.Each, v.find(name)
		case Entries:
			next.s = s.Each
			if v.kind == Scalar {
				if name, _ := w.next(); name == v.text && s.Single {
					w.valued = true
					return t, w.end()
				}
				break
			}
			i, _, err := s.entry(v, w, false)
			if err != nil {
				return nil, err
			}
			next.i = i
		case Values, Actions:
			word, _ := w.next()
			next.s = &Schema{Key: s.Key}
			if i, ok := parseIndex(word); ok {
				if next.i = i; i >= len(v.items) {
					next.i = -1
				}
				break
			}
			if s.Not && word == "not" {
				inner := *s
				inner.Not = false
				next.s, next.i = &inner, v.find(word)
				break
			}
			if v.kind == Scalar && v.text == word {
				w.valued = true
				return t, w.end()
			}
			if s.Form == Values {
				if v.kind == Sequence {
					next.i, w.valued = v.findValue(word), true
				}
				break
			}
			value, hasValue := w.next()
			next.i = slices.IndexFunc(v.items, func(it *item) bool {
				return actionName(&it.value) == word && (!hasValue || it.value.kind == Mapping && it.value.items[0].value.text == value)
			})
		default:
			if text, _ := w.next(); v.text == text {
				w.valued = true
				return t, w.end()
			}
		}
		if next.i < 0 {
			return nil, w.errorf("is not there")
		}
		t = next
	}
	return t, nil
}

// Rename gives what the words lead to another name: a key that the user chose, or an entry of a list that has a name. What refers to it
// keeps the old one.
func (d *Document) Rename(words []string, to string) error {
	if err := checkWords([]string{to}); err != nil {
		return err
	}
	return d.edit(func() error {
		w := &walk{words: words}
		t, err := d.locate(w)
		if err != nil {
			return err
		}
		if t.c == nil {
			return w.errorf("expected what to rename")
		}
		v := &t.c.it.value
		switch {
		case to == "":
			return w.errorf("a name is not empty")
		case t.list.Form == Named:
			if v.find(to) >= 0 {
				return w.errorf("%s is there already", Clip(to))
			}
			it := v.items[t.i]
			d.save(it)
			d.save(t.c.it)
			it.name, it.key, v.index = to, scalarText(to), nil
			return nil
		case t.list.Form == Entries:
			name, by := t.list.identity(&v.items[t.i].value)
			if by == "" {
				by = t.list.by(t.c.around())
			}
			if len(t.list.Also) == 0 && name != to && len(t.list.named(v, to)) > 0 {
				return w.errorf("%s is there already", Clip(to))
			}
			if wrong := t.list.Each.child(by).check(to); wrong != "" {
				return w.errorf("%s", wrong)
			}
			v.index = nil
			e := t.cursor(d)
			if e.it.value.kind != Scalar {
				e = d.member(e, by, true)
			}
			d.setScalar(e, to)
			return nil
		}
		return w.errorf("has no name to change")
	})
}

// Insert moves an item of a list to before or behind another one of it, which other names as the last of words names the first.
func (d *Document) Insert(words []string, before bool, other ...string) error {
	return d.edit(func() error {
		w := &walk{words: words}
		t, err := d.locate(w)
		if err != nil {
			return err
		}
		if t.c == nil || t.c.it.value.kind != Sequence {
			return w.errorf("is not in a list, whose order would mean something")
		}
		v := &t.c.it.value
		to := -1
		ow := &walk{words: other}
		switch t.list.Form {
		case Entries:
			if to, _, err = t.list.entry(v, ow, false); err == nil && to >= 0 {
				err = ow.end()
			}
		default:
			if len(other) != 1 {
				return w.errorf("expected one word for the other item")
			}
			ow.next()
			if i, ok := parseIndex(other[0]); ok && i < len(v.items) {
				to = i
			} else {
				to = slices.IndexFunc(v.items, func(it *item) bool { return actionName(&it.value) == other[0] })
			}
		}
		switch {
		case err != nil:
			return err
		case to < 0:
			return ow.errorf("is not there")
		case to == t.i:
			return nil
		}
		if !before {
			to++
		}
		if t.i < to {
			to--
		}
		d.move(t.c, t.i, to)
		return nil
	})
}

// move takes item i of a list to index to. In brackets, what is between the items stays where it is; with dashes, an item takes along the
// comments above it and on its line.
func (d *Document) move(c *cursor, i, to int) {
	v := &c.it.value
	low, high := min(i, to), max(i, to)
	d.save(c.it)
	for _, it := range v.items[low : high+1] {
		d.save(it)
	}
	items := slices.Clone(v.items)
	moved := items[i]
	items = slices.Insert(slices.Delete(items, i, i+1), to, moved)
	if v.flow {
		var between [][2]string
		for _, it := range v.items[low : high+1] {
			between = append(between, [2]string{it.lead, it.after})
		}
		for j, it := range items[low : high+1] {
			it.lead, it.after = between[j][0], between[j][1]
		}
	} else if last := v.items[len(v.items)-1]; high == len(items)-1 && !endsLine(last.lastText()) {
		// The text ends here, without a line feed.
		before := v.items[high-1]
		if rest, ok := strings.CutPrefix(last.lead, d.eol); ok && !endsLine(before.lastText()) {
			last.lead = rest
			before.after += d.eol
		}
		last.after += d.eol
		items[high].after = strings.TrimSuffix(items[high].after, d.eol)
	}
	v.items, v.index = items, nil
}
