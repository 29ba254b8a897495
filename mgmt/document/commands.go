package document

import (
	"slices"
	"strings"
)

// Get is the text of what the words lead to, without the indentation that it has from its place.
func (d *Document) Get(words ...string) (string, error) {
	w := &walk{words: words}
	t, err := d.locate(w)
	if err != nil {
		return "", err
	}
	c := t.cursor(d)
	v := &c.it.value
	if v.kind == Nothing {
		return "", nil
	}
	var b strings.Builder
	v.write(&b)
	text := b.String()
	if c.up == nil || v.flow || v.kind == Scalar {
		return strings.TrimRight(text, "\r\n") + d.eol, nil
	}
	indent := strings.Repeat(" ", d.itemColumn(c))
	var lines strings.Builder
	for line := range strings.SplitAfterSeq(text, "\n") {
		if rest, ok := strings.CutPrefix(line, indent); ok {
			line = rest
		}
		lines.WriteString(line)
	}
	return strings.TrimRight(lines.String(), "\r\n") + d.eol, nil
}

// SetCommands are the commands that make what the words lead to, one as words for Set each. On an empty document, all of them make
// a configuration that means the same.
func (d *Document) SetCommands(words ...string) ([][]string, error) {
	w := &walk{words: words}
	t, err := d.locate(w)
	if err != nil {
		return nil, err
	}
	e := &emitter{}
	e.target(t, t.cursor(d), w)
	return e.commands, e.err
}

// target writes down what makes the place that the words lead to.
func (e *emitter) target(t *target, c *cursor, w *walk) {
	v, last := &c.it.value, ""
	if len(w.words) > 0 {
		last = w.words[len(w.words)-1]
	}
	e.around = c.around()
	switch {
	case t.list != nil && t.list.Form == Entries && v.kind == Mapping:
		_, byIndex := parseIndex(w.words[t.at])
		if words, without := t.list.address(&t.c.it.value, t.i, t.list.by(t.c.around())); words != nil && !byIndex {
			e.section(t.s, v, with(w.words[:t.at], words...), without...)
			return
		}
		e.value(t.s, v, w.words)
	case t.list != nil && t.list.Form == Entries && v.kind == Scalar:
		e.emit(with(w.words[:t.at], indexWord(t.i)), []string{t.list.By[0], v.text})
	case t.list != nil && t.list.Form == Actions:
		text := v.text
		if v.kind == Mapping {
			text = v.items[0].value.text
		}
		switch {
		case last == text:
			e.emit(w.words, nil)
		case v.kind == Mapping && last != v.items[0].name:
			e.emit(w.words, []string{v.items[0].name, text})
		default:
			e.emit(w.words, []string{text})
		}
	case v.kind == Scalar && last == v.text && w.valued:
		e.emit(w.words, nil)
	default:
		e.value(t.s, v, w.words)
	}
}

// emitter writes values down as commands.
type emitter struct {
	commands [][]string
	around   *node // the section that is written down
	err      error
}

func (e *emitter) emit(prefix []string, words []string) {
	e.commands = append(e.commands, slices.Concat(prefix, words))
}

func with(prefix []string, words ...string) []string { return slices.Concat(prefix, words) }

// value writes down what makes v.
func (e *emitter) value(s *Schema, v *node, prefix []string) {
	before := len(e.commands)
	switch s.Form {
	case Section:
		e.section(s, v, prefix)
	case Named:
		for _, it := range v.items {
			e.value(s.Each, &it.value, with(prefix, it.name))
		}
	case Entries:
		e.entries(s, v, prefix)
	case Values:
		e.values(s, v, prefix)
	case Choice:
		if v.kind == Mapping {
			for _, it := range v.items {
				e.emit(prefix, []string{it.name, it.value.text})
			}
		} else if v.kind == Scalar {
			e.emit(prefix, []string{v.text})
		}
	case Actions:
		e.actions(v, prefix)
	default:
		if v.kind == Scalar {
			e.emit(prefix, []string{v.text})
		}
	}
	if len(e.commands) == before && len(prefix) > 0 && (s.Stays || v.kind == Mapping || v.kind == Sequence) {
		e.emit(prefix, nil)
	}
}

// section writes down what is in a section but the keys without. What decides how new entries of a list are named comes before it.
func (e *emitter) section(s *Schema, v *node, prefix []string, without ...string) {
	around := e.around
	e.around = v
	defer func() { e.around = around }()
	for _, k := range s.Keys {
		if first := v.get(k.ByWhere[0]); k.ByWhere[0] != "" && first != nil {
			e.value(s.child(k.ByWhere[0]), first, with(prefix, k.ByWhere[0]))
			without = append(without, k.ByWhere[0])
		}
	}
	for _, it := range v.items {
		k := s.child(it.name)
		if k == nil {
			if e.err == nil {
				e.err = &Error{with(prefix, it.name), "unknown key"}
			}
			continue
		}
		if !slices.Contains(without, it.name) {
			e.value(k, &it.value, with(prefix, it.name))
		}
	}
}

func (e *emitter) entries(s *Schema, v *node, prefix []string) {
	if v.kind == Scalar {
		e.emit(prefix, []string{v.text})
		return
	}
	for i := range v.items {
		e.entry(s, v, i, prefix)
	}
}

// entry writes down what makes entry i of a list, which the ones before it are in.
func (e *emitter) entry(s *Schema, v *node, i int, prefix []string) {
	it := v.items[i]
	words, without := s.address(v, i, s.by(e.around))
	if words == nil {
		words = []string{indexWord(i)}
		if it.value.kind == Scalar {
			e.emit(prefix, append(words, s.By[0], it.value.text))
			return
		}
	}
	before := len(e.commands)
	inner := with(prefix, words...)
	e.section(s.Each, &it.value, inner, without...)
	if len(e.commands) == before {
		e.emit(inner, nil)
	}
}

// address is the words that name entry i, and the keys that need not be set then: it is nil where only the index does. New entries have
// their name in key newBy.
func (s *Schema) address(v *node, i int, newBy string) (words, without []string) {
	entry := &v.items[i].value
	name, by := s.identity(entry)
	if by == "" || name == "" || strings.HasPrefix(name, "[") || by != newBy {
		return nil, nil
	}
	others := s.named(v, name)
	if s.Single && (entry.kind == Scalar || len(entry.items) < 2) {
		return nil, nil // by its name alone it would not make a list
	}
	words, without = []string{name}, []string{by}
	if len(others) == 1 {
		return words, without
	}
	var pairs [][2]string
	for _, key := range s.Also {
		if value := entry.get(key); value != nil && value.kind == Scalar {
			pairs = append(pairs, [2]string{key, value.text})
			words, without = append(words, key, value.text), append(without, key)
		}
	}
	if len(pairs) == 0 || len(entry.items) <= len(without) {
		return nil, nil
	}
	for _, j := range others {
		if j != i && s.fits(&v.items[j].value, pairs) {
			return nil, nil
		}
	}
	return words, without
}

func (e *emitter) values(s *Schema, v *node, prefix []string) {
	switch v.kind {
	case Scalar:
		e.emit(prefix, []string{v.text})
	case Mapping:
		for _, it := range v.items {
			inner := *s
			inner.Not = false
			e.value(&inner, &it.value, with(prefix, it.name))
		}
	case Sequence:
		seen := make(map[string]bool, len(v.items))
		for i, it := range v.items {
			text := it.value.text
			if seen[text] || s.Single && len(v.items) == 1 || s.Single && i == 0 && text == "not" {
				e.emit(prefix, []string{indexWord(i), text})
			} else {
				e.emit(prefix, []string{text})
			}
			seen[text] = true
		}
	}
}

func (e *emitter) actions(v *node, prefix []string) {
	names := map[string]int{}
	for _, it := range v.items {
		names[actionName(&it.value)]++
	}
	byIndex := len(names) < len(v.items)
	for i, it := range v.items {
		words := []string{it.value.text}
		if it.value.kind == Mapping && len(it.value.items) > 0 {
			pair := it.value.items[0]
			words = []string{pair.name, pair.value.text}
		}
		if byIndex {
			words = append([]string{indexWord(i)}, words...)
		}
		e.emit(prefix, words)
	}
}
