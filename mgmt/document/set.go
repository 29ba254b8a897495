package document

import "slices"

// Set does what a line of words says: the keys and names that lead to a value, and the value. What is not there yet is made, in the
// style of its surroundings. A list gets the value added, or several in brackets as words of their own. An *Error has the words up to
// the wrong one; then nothing has changed.
func (d *Document) Set(words ...string) error {
	if err := checkWords(words); err != nil {
		return err
	}
	return d.edit(func() error { return d.set(d.schema, d.top(), &walk{words: words}) })
}

func (d *Document) set(s *Schema, c *cursor, w *walk) error {
	switch s.Form {
	case Section:
		return d.setSection(s, c, w)
	case Named:
		return d.setNamed(s, c, w)
	case Entries:
		return d.setEntries(s, c, w)
	case Values:
		return d.setValues(s, c, w)
	case Choice:
		return d.setChoice(s, c, w)
	case Actions:
		return d.setActions(s, c, w)
	}
	text, err := s.value(w)
	if err == nil {
		err = c.it.value.must(w, Scalar, "a value")
	}
	if err == nil {
		d.setScalar(c, text)
	}
	return err
}

// value takes the last word, a value.
func (s *Schema) value(w *walk) (string, error) {
	text, ok := w.next()
	if !ok {
		return "", w.errorf("expected %s", s.expected())
	}
	if wrong := s.check(text); wrong != "" {
		return "", w.errorf("%s", wrong)
	}
	return text, w.end()
}

// end refuses further words.
func (w *walk) end() error {
	if w.at < len(w.words) {
		w.at++
		return w.errorf("nothing follows here")
	}
	return nil
}

// member is the item of a mapping with that key, made if there is none.
func (d *Document) member(c *cursor, key string, flow bool) *cursor {
	d.collection(c, Mapping, flow)
	v := &c.it.value
	if i := v.find(key); i >= 0 {
		return d.in(c, v.items[i])
	}
	return d.in(c, d.add(c, key))
}

// fill gives brackets to what is there though nothing is in it, unless its key alone says so.
func (d *Document) fill(s *Schema, c *cursor, kind Kind) {
	v := &c.it.value
	if v.kind == Nothing && v.raw == "" && (!s.Stays || s.Form == Actions || c.flow || c.it.key == "-") {
		d.collection(c, kind, true)
	}
}

func (d *Document) setSection(s *Schema, c *cursor, w *walk) error {
	if err := c.it.value.must(w, Mapping, "a section"); err != nil {
		return err
	}
	key, ok := w.next()
	if !ok {
		if c.up == nil {
			return w.errorf("expected what to set")
		}
		d.fill(s, c, Mapping)
		return nil
	}
	k := s.child(key)
	if k == nil {
		return s.unknown(w)
	}
	return d.set(k, d.member(c, key, s.Flow), w)
}

func (d *Document) setNamed(s *Schema, c *cursor, w *walk) error {
	if err := c.it.value.must(w, Mapping, "a mapping"); err != nil {
		return err
	}
	name, ok := w.next()
	switch {
	case !ok:
		return w.errorf("expected %s", s.Each.Key)
	case name == "":
		return w.errorf("expected %s, found empty text", s.Each.Key)
	}
	m := d.member(c, name, s.Flow)
	m.peers = true
	return d.set(s.Each, m, w)
}

func (d *Document) setEntries(s *Schema, c *cursor, w *walk) error {
	v := &c.it.value
	if s.Single && v.kind == Scalar || s.Single && v.kind == Nothing && len(w.rest()) == 1 {
		if done, err := d.setSingle(s, c, w); done || err != nil {
			return err
		}
	}
	if err := v.must(w, Sequence, "a list"); err != nil {
		return err
	}
	if len(w.rest()) == 0 {
		d.fill(s, c, Sequence)
		return nil
	}
	d.collection(c, Sequence, s.Flow)
	named := w.at
	i, pairs, err := s.entry(v, w, true)
	if err != nil {
		return err
	}
	if i >= 0 {
		return d.setEntry(s, d.in(c, v.items[i]), w)
	}
	e := d.in(c, d.add(c, ""))
	e.peers = true
	if _, byIndex := parseIndex(w.words[named]); !byIndex {
		pairs = append([][2]string{{s.by(c.around()), w.words[named]}}, pairs...)
	}
	for _, pair := range pairs {
		if wrong := s.Each.child(pair[0]).check(pair[1]); wrong != "" {
			return w.errorf("%s: %s", pair[0], wrong)
		}
		d.setScalar(d.member(e, pair[0], s.Each.Flow), pair[1])
	}
	if err := d.setEntry(s, e, w); err != nil {
		return err
	}
	s.register(v, &e.it.value, len(v.items)-1)
	return nil
}

// by is the key that has the name of a new entry of a list in a section.
func (s *Schema) by(section *node) string {
	if s.ByWhere[0] != "" && section != nil {
		if v := section.get(s.ByWhere[0]); v != nil && v.text == s.ByWhere[1] {
			return s.By[1]
		}
	}
	return s.By[0]
}

// around is the value that the item is in, or nil.
func (c *cursor) around() *node {
	if c.up == nil {
		return nil
	}
	return &c.up.it.value
}

// setEntry sets something of an entry. One that is its name alone gets to be a section for that.
func (d *Document) setEntry(s *Schema, e *cursor, w *walk) error {
	v := &e.it.value
	if s.Single && v.kind == Scalar {
		if len(w.rest()) == 0 {
			return nil
		}
		d.save(e.it)
		name := v.text
		*v = node{}
		d.collection(e, Mapping, true)
		d.setScalar(d.member(e, s.By[0], true), name)
	}
	if rest := w.rest(); len(rest) > 0 && slices.Contains(s.By, rest[0]) {
		e.up.it.value.index = nil
	}
	return d.set(s.Each, e, w)
}

// setSingle sets a list that is one entry's name, which another one replaces. If there is more to it, it makes a list of it.
func (d *Document) setSingle(s *Schema, c *cursor, w *walk) (done bool, err error) {
	v := &c.it.value
	rest := w.rest()
	if len(rest) == 1 {
		if _, byIndex := parseIndex(rest[0]); byIndex {
			return false, nil
		}
		text, err := s.Each.child(s.By[0]).value(w)
		if err == nil {
			d.setScalar(c, text)
		}
		return true, err
	}
	if len(rest) > 1 {
		d.save(c.it)
		only := *v
		*v = node{kind: Sequence, flow: true, raw: "[", tail: "]", items: []*item{{value: only}}}
	}
	return len(rest) == 0, nil
}

func (d *Document) setChoice(s *Schema, c *cursor, w *walk) error {
	word, ok := w.next()
	if !ok {
		return w.errorf("expected %s", s.expected())
	}
	k := s.child(word)
	if k == nil {
		if wrong := s.check(word); wrong != "" {
			return w.errorf("%s", wrong)
		}
		if err := w.end(); err != nil {
			return err
		}
		d.setScalar(c, word)
		return nil
	}
	text, err := k.value(w)
	if err != nil {
		return err
	}
	if v := &c.it.value; v.kind != Mapping || v.get(word) == nil || len(v.items) > 1 {
		d.save(c.it)
		d.inline(c)
		*v = node{kind: Mapping, flow: true, raw: "{", tail: "}"}
	}
	d.setScalar(d.member(c, word, true), text)
	return nil
}
