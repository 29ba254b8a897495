package document

import (
	"slices"
	"strings"
)

// Change is a step from one document to another.
type Change struct {
	Verb  string   // set, delete or insert
	Words []string // of an insert, with before or after, and the other item's words, at the end
}

// String is the command.
func (c Change) String() string { return c.Verb + " " + Line(c.Words...) }

// Apply makes a change.
func (d *Document) Apply(c Change) error {
	switch c.Verb {
	case "set":
		return d.Set(c.Words...)
	case "delete":
		return d.Delete(c.Words...)
	case "insert":
		if at := len(c.Words) - 2; at >= 0 && (c.Words[at] == "before" || c.Words[at] == "after") {
			return d.Insert(c.Words[:at], c.Words[at] == "before", c.Words[at+1])
		}
		return &Error{c.Words, "expected before or after, and the item"}
	}
	return &Error{[]string{c.Verb}, "expected set, delete or insert"}
}

// Changes are the commands that make a document that says what b says of one that says what a says. Comments and the order of keys
// do not count.
func Changes(a, b *Document) ([]Change, error) {
	c := &comparison{}
	c.compare(a.schema, &a.root.value, &b.root.value, nil)
	return c.changes, c.err
}

type comparison struct {
	changes []Change
	around  *node // the section of b that is compared
	err     error
}

func (c *comparison) add(verb string, words ...string) {
	c.changes = append(c.changes, Change{verb, words})
}

// set adds the commands that make v.
func (c *comparison) set(s *Schema, v *node, words []string) {
	e := &emitter{around: c.around}
	e.value(s, v, words)
	c.take(e)
}

func (c *comparison) take(e *emitter) {
	for _, words := range e.commands {
		c.add("set", words...)
	}
	if c.err == nil {
		c.err = e.err
	}
}

// again takes all of a away and makes b.
func (c *comparison) again(s *Schema, b *node, words []string) {
	c.add("delete", words...)
	c.set(s, b, words)
}

func (c *comparison) compare(s *Schema, a, b *node, words []string) {
	switch {
	case same(a, b):
	case a.kind == Nothing && !s.Stays:
		c.set(s, b, words)
	case len(words) > 0 && (a.kind != b.kind && a.kind != Nothing && s.Form != Value || b.kind != Scalar && len(b.items) == 0):
		c.again(s, b, words)
	default:
		switch s.Form {
		case Section, Named:
			c.section(s, a, b, words, nil)
		case Entries:
			if a.kind != Sequence || b.kind != Sequence {
				c.again(s, b, words)
				return
			}
			c.entries(s, a, b, words)
		case Values:
			c.values(s, a, b, words)
		case Actions:
			c.again(s, b, words)
		default:
			c.set(s, b, words)
		}
	}
}

// section compares two mappings, without the keys that are known to be equal.
func (c *comparison) section(s *Schema, a, b *node, words []string, without []string) {
	around := c.around
	c.around = b
	defer func() { c.around = around }()
	inner := func(name string) *Schema {
		if s.Form == Named {
			return s.Each
		}
		k := s.child(name)
		if k == nil && c.err == nil {
			c.err = &Error{with(words, name), "unknown key"}
		}
		return k
	}
	for _, k := range s.Keys {
		// What decides how new entries of a list are named changes first.
		if by := k.ByWhere[0]; by != "" && a.get(by) != nil && b.get(by) == nil {
			c.add("delete", with(words, by)...)
			without = with(without, by)
		}
	}
	for _, it := range s.ordered(b) {
		if k := inner(it.name); k != nil && !slices.Contains(without, it.name) {
			old := a.get(it.name)
			if old == nil {
				c.set(k, &it.value, with(words, it.name))
			} else {
				c.compare(k, old, &it.value, with(words, it.name))
			}
		}
	}
	for _, it := range a.items {
		if inner(it.name) != nil && b.find(it.name) < 0 && !slices.Contains(without, it.name) {
			c.add("delete", with(words, it.name)...)
		}
	}
}

func (c *comparison) values(s *Schema, a, b *node, words []string) {
	if a.kind != Sequence || b.kind != Sequence || s.Single || s.Alone != "" || repeatsText(a) || repeatsText(b) {
		c.again(s, b, words)
		return
	}
	var now []string
	for _, it := range a.items {
		if b.findValue(it.value.text) >= 0 {
			now = append(now, it.value.text)
		}
	}
	order := map[string]int{}
	for i, it := range b.items {
		order[it.value.text] = i
		if a.findValue(it.value.text) < 0 {
			c.add("set", with(words, it.value.text)...)
			now = append(now, it.value.text)
		}
	}
	for _, it := range a.items {
		if b.findValue(it.value.text) < 0 {
			c.add("delete", with(words, it.value.text)...)
		}
	}
	positions := make([]int, len(now))
	for i, text := range now {
		positions[i] = order[text]
	}
	c.reorder(positions, words, func(list []int, i int) []string { return []string{b.items[list[i]].value.text} })
}

func repeatsText(v *node) bool {
	seen := make(map[string]bool, len(v.items))
	for _, it := range v.items {
		if it.value.kind != Scalar || seen[it.value.text] {
			return true
		}
		seen[it.value.text] = true
	}
	return false
}

// entries compares two lists of sections: those of the same name with one another, and those without a name as a whole.
func (c *comparison) entries(s *Schema, a, b *node, words []string) {
	partners := s.partners(a, b)
	taken := make([]bool, len(a.items))
	for _, i := range partners {
		if i >= 0 {
			taken[i] = true
		}
	}
	// From the end, so that the indexes of the rest stay.
	for i := len(a.items) - 1; i >= 0; i-- {
		if !taken[i] {
			c.add("delete", with(words, indexOrName(s, a, i)...)...)
		}
	}
	now := &node{kind: Sequence}
	at := make([]int, len(a.items)) // by index in a: where it is now
	for i, it := range a.items {
		if taken[i] {
			at[i] = len(now.items)
			now.items = append(now.items, it)
		}
	}
	target := make([]int, len(now.items)) // by index in now: where b has it
	for j, i := range partners {
		if i < 0 {
			continue
		}
		target[at[i]] = j
		old, new := &a.items[i].value, &b.items[j].value
		if same(old, new) {
			continue
		}
		address, without := s.address(now, at[i], s.by(c.around))
		if address == nil {
			address = []string{indexWord(at[i])}
		}
		if old.kind != Mapping || new.kind != Mapping {
			if new.kind == Scalar { // a name alone
				for _, it := range old.items {
					if !slices.Contains(s.By, it.name) {
						c.add("delete", with(words, indexWord(at[i]), it.name)...)
					}
				}
			} else {
				e := &emitter{around: c.around}
				e.section(s.Each, new, with(words, indexWord(at[i])))
				c.take(e)
			}
			continue
		}
		c.section(s.Each, old, new, with(words, address...), without)
	}
	for j, i := range partners {
		if i >= 0 {
			continue
		}
		it := b.items[j]
		now.items = append(now.items, it)
		s.register(now, &it.value, len(now.items)-1)
		target = append(target, j)
		e := &emitter{around: c.around}
		e.entry(s, now, len(now.items)-1, words)
		c.take(e)
	}
	if s.Ordered {
		c.reorder(target, words, func(list []int, i int) []string {
			name, by := s.identity(&b.items[list[i]].value)
			if by == "" || len(s.named(b, name)) > 1 {
				return []string{indexWord(i)}
			}
			return []string{name}
		})
	}
}

func indexOrName(s *Schema, v *node, i int) []string {
	name, by := s.identity(&v.items[i].value)
	if by == "" || name == "" || strings.HasPrefix(name, "[") || len(s.named(v, name)) > 1 {
		return []string{indexWord(i)}
	}
	return []string{name}
}

// partners finds the entry of a that each entry of b is, or -1.
func (s *Schema) partners(a, b *node) []int {
	name := func(v *node) string {
		if key := s.key(v); key != "" {
			return key
		}
		var text strings.Builder
		v.outline(&text)
		return text.String()
	}
	byName := make(map[string][]int, len(a.items))
	for i, it := range a.items {
		key := name(&it.value)
		byName[key] = append(byName[key], i)
	}
	partners := make([]int, len(b.items))
	for j, it := range b.items {
		partners[j] = -1
		key := name(&it.value)
		if list := byName[key]; len(list) > 0 {
			partners[j], byName[key] = list[0], list[1:]
		}
	}
	return partners
}

// outline writes down what a value says; the order of a mapping's keys says nothing.
func (v *node) outline(b *strings.Builder) {
	switch v.kind {
	case Scalar:
		b.WriteString(Quote(v.text))
	case Mapping, Sequence:
		items := slices.Clone(v.items)
		if v.kind == Mapping {
			slices.SortStableFunc(items, func(a, b *item) int { return strings.Compare(a.name, b.name) })
		}
		b.WriteString("(")
		for _, it := range items {
			if v.kind == Mapping {
				b.WriteString(Quote(it.name) + ":")
			}
			it.value.outline(b)
			b.WriteString(",")
		}
		b.WriteString(")")
	}
}

// reorder brings a list, of which it is given where each item is to be, into that order: all but those of a longest run that is in order
// already are put behind what is to be before them. word names an item of the list as it is at the time.
func (c *comparison) reorder(list []int, words []string, word func(list []int, i int) []string) {
	stays := longestRising(list)
	if len(stays) == len(list) {
		return
	}
	keep := make(map[int]bool, len(stays))
	for _, target := range stays {
		keep[target] = true
	}
	list = slices.Clone(list)
	for target := range list {
		if keep[target] {
			continue
		}
		from := slices.Index(list, target)
		if target == 0 {
			c.add("insert", slices.Concat(words, word(list, from), []string{"before"}, word(list, 0))...)
			list = slices.Insert(slices.Delete(list, from, from+1), 0, target)
			continue
		}
		behind := slices.Index(list, target-1)
		c.add("insert", slices.Concat(words, word(list, from), []string{"after"}, word(list, behind))...)
		list = slices.Delete(list, from, from+1)
		list = slices.Insert(list, slices.Index(list, target-1)+1, target)
	}
}

// longestRising is a longest rising subsequence of a list of different numbers.
func longestRising(list []int) []int {
	var ends []int // by length less 1: the index of the smallest number that ends such a one
	before := make([]int, len(list))
	for i, n := range list {
		at, _ := slices.BinarySearchFunc(ends, n, func(end, n int) int { return list[end] - n })
		before[i] = -1
		if at > 0 {
			before[i] = ends[at-1]
		}
		if at == len(ends) {
			ends = append(ends, i)
		} else {
			ends[at] = i
		}
	}
	rising := make([]int, len(ends))
	if len(ends) == 0 {
		return rising
	}
	for i, k := ends[len(ends)-1], len(ends)-1; i >= 0; i, k = before[i], k-1 {
		rising[k] = list[i]
	}
	return rising
}
