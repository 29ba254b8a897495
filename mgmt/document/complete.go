package document

import (
	"slices"
	"strings"
)

// Candidate is a word that may come next, with a line of help.
type Candidate struct {
	Word        string
	Help        string
	Placeholder bool // not to be typed: it says what to type, as <prefix>
}

// Complete lists what may follow the words and begins with partial: for a command that sets, or, if existing, for one that is about what is
// there. It lists nothing where the words lead nowhere.
func (d *Document) Complete(words []string, partial string, existing bool) []Candidate {
	s, v := d.schema, &d.root.value
	w := &walk{words: words}
	for len(w.rest()) > 0 {
		if s, v = d.descend(s, v, w); s == nil {
			return nil
		}
	}
	l := &candidates{partial: partial}
	if existing {
		l.existing(s, v)
	} else {
		l.possible(d, s, v)
	}
	return l.list
}

// descend follows the next word, or a few of them. The value is an empty one where nothing is there yet; without a schema, the words lead nowhere.
func (d *Document) descend(s *Schema, v *node, w *walk) (*Schema, *node) {
	get := func(key string) *node {
		if inner := v.get(key); inner != nil {
			return inner
		}
		return &node{}
	}
	word := w.rest()[0]
	switch s.Form {
	case Section, Choice:
		w.next()
		return s.child(word), get(word)
	case Named:
		w.next()
		return s.Each, get(word)
	case Entries:
		i, _, err := s.entry(v, w, false)
		if err != nil || i < 0 {
			return s.Each, &node{}
		}
		return s.Each, &v.items[i].value
	case Actions:
		w.next()
		if i, ok := parseIndex(word); ok {
			if i < len(v.items) {
				return &Schema{Form: Actions, Words: s.Words, Keys: s.Keys}, &node{kind: Sequence, items: v.items[i : i+1]}
			}
			return s, &node{}
		}
		return s.child(word), &node{}
	case Values:
		w.next()
		_, byIndex := parseIndex(word)
		inner := *s
		switch {
		case byIndex:
			inner.Not = false
			return &inner, &node{}
		case s.Not && word == "not":
			inner.Not = false
			return &inner, get(word)
		case word == "[" || slices.Contains(w.words[:w.at], "["):
			inner.Not, inner.Alone = false, ""
			if word == "]" {
				return nil, nil
			}
			return &inner, v
		}
	}
	return nil, nil
}

// candidates are those that begin with what is there of the word.
type candidates struct {
	partial string
	list    []Candidate
}

func (l *candidates) add(word, help string) {
	if strings.HasPrefix(word, l.partial) {
		l.list = append(l.list, Candidate{Word: word, Help: help})
	}
}

func (l *candidates) placeholder(word, help string) {
	if l.partial == "" && word != "" {
		l.list = append(l.list, Candidate{Word: word, Help: help, Placeholder: true})
	}
}

// possible lists what can be set.
func (l *candidates) possible(d *Document, s *Schema, v *node) {
	switch s.Form {
	case Section:
		for _, k := range s.Keys {
			l.add(k.Key, k.Help)
		}
		return
	case Named:
		for _, it := range v.items {
			l.add(it.name, "")
		}
		if s.Each.Form == Section && s.Each.Names != nil {
			l.names(s.Each.Names(d), v)
		}
		l.placeholder(s.Each.Key, s.Each.Help)
		return
	case Entries:
		l.entries(s, v)
		l.placeholder(s.Each.Key, s.Each.Help)
		return
	}
	for _, word := range s.Words {
		if !word.Hidden {
			l.add(word.Word, word.Help)
		}
	}
	for _, k := range s.Keys {
		l.add(k.Key, k.Help)
	}
	if s.Not {
		l.add("not", "any but the following")
	}
	if s.Names != nil {
		l.names(s.Names(d), &node{})
	}
	l.placeholder(s.Example, s.Help)
}

// names lists names that v has not.
func (l *candidates) names(names []string, v *node) {
	for _, name := range names {
		if v.find(name) < 0 {
			l.add(name, "")
		}
	}
}

// existing lists what there is.
func (l *candidates) existing(s *Schema, v *node) {
	if v.kind == Scalar {
		l.add(v.text, "")
		return
	}
	switch s.Form {
	case Entries:
		l.entries(s, v)
	case Actions, Values:
		for _, it := range v.items {
			switch {
			case s.Form == Values && it.value.kind == Sequence, s.Form == Values && v.kind == Mapping:
				l.add(it.name, "any but the following")
			default:
				l.add(actionName(&it.value), "")
			}
		}
	default:
		for _, it := range v.items {
			help := ""
			if k := s.child(it.name); k != nil {
				help = k.Help
			}
			l.add(it.name, help)
		}
	}
}

func (l *candidates) entries(s *Schema, v *node) {
	seen := map[string]bool{}
	for i, it := range v.items {
		name, by := s.identity(&it.value)
		if by == "" {
			name = indexWord(i)
		}
		if !seen[name] {
			l.add(name, "")
		}
		seen[name] = true
	}
}

// Names are the names of what is in the mapping or list that the words lead to: keys, names of entries, values. An entry without a name has its
// index as one.
func (d *Document) Names(words ...string) []string {
	t, err := d.locate(&walk{words: words})
	if err != nil {
		return nil
	}
	l := &candidates{}
	l.existing(t.s, &t.cursor(d).it.value)
	names := make([]string, len(l.list))
	for i, c := range l.list {
		names[i] = c.Word
	}
	return names
}

// Value is the scalar that the words lead to.
func (d *Document) Value(words ...string) (string, bool) {
	t, err := d.locate(&walk{words: words})
	if err != nil {
		return "", false
	}
	v := &t.cursor(d).it.value
	return v.text, v.kind == Scalar
}
