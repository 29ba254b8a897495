package document

import (
	"fmt"
	"slices"
	"strings"
)

// Error refuses the words of an operator: those up to the one that is wrong, and what is wrong with it.
type Error struct {
	Words   []string
	Message string
}

func (e *Error) Error() string {
	if len(e.Words) == 0 {
		return e.Message
	}
	words := make([]string, len(e.Words))
	for i, w := range e.Words {
		words[i] = Clip(Quote(w))
	}
	return strings.Join(words, " ") + ": " + e.Message
}

// walk is a way down the schema, and what of the operator's words is behind it.
type walk struct {
	words []string // all of them
	at    int      // of the next one

	valued bool // the last of them was found to be the value that is there
}

func (w *walk) rest() []string { return w.words[w.at:] }

// next takes a word.
func (w *walk) next() (string, bool) {
	if w.at == len(w.words) {
		return "", false
	}
	w.at++
	return w.words[w.at-1], true
}

// errorf blames the word that was taken last.
func (w *walk) errorf(format string, args ...any) error {
	return &Error{w.words[:w.at], fmt.Sprintf(format, args...)}
}

// checkWords refuses what no configuration can say.
func checkWords(words []string) error {
	for i, word := range words {
		if err := checkText([]byte(word)); err != nil {
			return &Error{words[:i+1], err.Error()}
		}
		if strings.ContainsAny(word, "\t\r\n") {
			return &Error{words[:i+1], "a word is on one line, and without tabs"}
		}
	}
	return nil
}

// indexedMin is how many items are searched one by one.
const indexedMin = 16

// find is the index of the item with that key, or -1.
func (v *node) find(key string) int {
	if v.kind != Mapping {
		return -1
	}
	if len(v.items) < indexedMin {
		return slices.IndexFunc(v.items, func(it *item) bool { return it.name == key })
	}
	if v.index == nil {
		v.makeIndex(func(it *item) (string, bool) { return it.name, true })
	}
	return v.indexed(key, func(it *item) bool { return it.name == key })
}

// makeIndex makes the index of those items that have a name.
func (v *node) makeIndex(name func(*item) (string, bool)) {
	v.index, v.stale = make(map[string]int, len(v.items)), 0
	for i, it := range v.items {
		if name, ok := name(it); ok {
			if _, double := v.index[name]; double {
				i = several
			}
			v.index[name] = i
		}
	}
}

// indexed is the index of the first item that is called so, or -1.
func (v *node) indexed(name string, is func(*item) bool) int {
	at, ok := v.index[name]
	if !ok {
		return -1
	}
	if at != several {
		for i := min(at, len(v.items)-1); i >= max(at-v.stale, 0); i-- {
			if is(v.items[i]) {
				return i
			}
		}
	}
	return slices.IndexFunc(v.items, is) // it has been removed, or another one of the name has
}

// get is the value of a key, or nil.
func (v *node) get(key string) *node {
	if i := v.find(key); i >= 0 {
		return &v.items[i].value
	}
	return nil
}

// identity is what tells an entry of a list from others, and the key that has it; empty if it has nothing of the kind.
func (s *Schema) identity(v *node) (name, by string) {
	if v.kind == Scalar && s.Single {
		return v.text, s.By[0]
	}
	for _, key := range s.By {
		if id := v.get(key); id != nil && id.kind == Scalar {
			return id.text, key
		}
	}
	return "", ""
}

// several stands in an index for a name that more than one entry has.
const several = -1

// named are the indexes of the entries with that name.
func (s *Schema) named(v *node, name string) (found []int) {
	is := func(it *item) bool {
		id, by := s.identity(&it.value)
		return by != "" && id == name
	}
	if len(v.items) >= indexedMin {
		if v.index == nil {
			v.makeIndex(func(it *item) (string, bool) {
				id, by := s.identity(&it.value)
				return id, by != ""
			})
		}
		at, ok := v.index[name]
		if !ok {
			return nil
		}
		if at != several {
			if i := v.indexed(name, is); i >= 0 {
				return []int{i}
			}
			return nil
		}
	}
	for i, it := range v.items {
		if is(it) {
			found = append(found, i)
		}
	}
	return found
}

// register enters an entry into the index, if there is one.
func (s *Schema) register(v, entry *node, i int) {
	if v.index == nil {
		return
	}
	name, by := s.identity(entry)
	if by == "" {
		return
	}
	if _, double := v.index[name]; double {
		i = several
	}
	v.index[name] = i
}

// selectors takes the words that tell entries of one name apart: keys of Also and their values. In a command that sets, what is
// last is not one of them but what is set.
func (s *Schema) selectors(w *walk, setting bool) (pairs [][2]string) {
	for {
		rest := w.rest()
		if len(rest) < 2 || setting && len(rest) < 3 || !slices.Contains(s.Also, rest[0]) {
			return pairs
		}
		pairs = append(pairs, [2]string{rest[0], rest[1]})
		w.at += 2
	}
}

// entry finds the entry that the next words name: its index, or -1 if there is none, and what a new one would have.
func (s *Schema) entry(v *node, w *walk, setting bool) (i int, pairs [][2]string, err error) {
	name, ok := w.next()
	if !ok {
		return -1, nil, w.errorf("expected %s, or an index as [0]", s.Each.Key)
	}
	if i, ok := parseIndex(name); ok {
		if i > len(v.items) || i == len(v.items) && !setting {
			return -1, nil, w.errorf("there are %d", len(v.items))
		}
		if i == len(v.items) {
			i = -1
		}
		return i, nil, nil
	}
	found := s.named(v, name)
	at := w.at
	pairs = s.selectors(w, setting)
	if len(pairs) == 0 && len(found) <= 1 {
		if len(found) == 0 {
			return -1, nil, nil
		}
		return found[0], nil, nil
	}
	var fit, plain []int
	for _, i := range found {
		if s.fits(&v.items[i].value, pairs) {
			fit = append(fit, i)
		}
		if !slices.ContainsFunc(s.Also, func(key string) bool { return v.items[i].value.get(key) != nil }) {
			plain = append(plain, i)
		}
	}
	switch {
	case len(fit) == 1:
		return fit[0], pairs, nil
	case len(fit) == 0 && !setting && len(found) == 1:
		// The words are no selectors, but lead into the one that there is: `… metric 20` where it has another one.
		w.at = at
		return found[0], nil, nil
	case len(fit) == 0:
		return -1, pairs, nil
	case len(pairs) == 0 && len(plain) == 1:
		return plain[0], nil, nil
	}
	indexes := make([]string, len(fit))
	for j, i := range fit {
		indexes[j] = indexWord(i)
	}
	return -1, nil, w.errorf("several are called that: %s; say which, by %s", orAnd(indexes), orList(append(slices.Clone(s.Also), "index")))
}

// fits reports whether an entry has those values.
func (s *Schema) fits(entry *node, pairs [][2]string) bool {
	for _, pair := range pairs {
		if v := entry.get(pair[0]); v == nil || v.text != pair[1] {
			return false
		}
	}
	return true
}

// orAnd is `a, b and c`.
func orAnd(words []string) string {
	if len(words) > 8 {
		words = append(slices.Clone(words[:8]), "others")
	}
	last := len(words) - 1
	if last <= 0 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:last], ", ") + " and " + words[last]
}

// describe is what stands in the text where something else is needed.
func (v *node) describe() string {
	switch v.kind {
	case Mapping:
		return "a mapping"
	case Sequence:
		return "a list"
	case Scalar:
		return quoteFound(v.text)
	}
	return "nothing"
}

// must refuses a value that is of another kind than the schema says.
func (v *node) must(w *walk, kind Kind, what string) error {
	if v.kind != kind && v.kind != Nothing {
		return w.errorf("is %s in the text, and should be %s; delete it first", v.describe(), what)
	}
	return nil
}

func (s *Schema) unknown(w *walk) error {
	return w.errorf("unknown key%s", Suggest(w.words[w.at-1], s.keys()))
}
