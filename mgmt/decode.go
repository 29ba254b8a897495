package mgmt

import (
	"fmt"
	"hash"
	"io"
	"slices"
	"strings"

	"weir/policy"
)

// decoder is one pass over a configuration: what it found wrong, and what the sections have said so far.
type decoder struct {
	files []string // files[0] is the configuration, the rest are routes-files

	routesFiles []RoutesFile // each once
	found       findings

	system System
	policy policy.Policy
	routes int // of all tables, those that ports bring included; up to routesMax
	places places
	names  names
	links  links
	marks  map[string]masked // of tags
	sets   map[string]*set
	tags   map[string]*named
	groups map[string]*named // that `groups` has

	sum  hash.Hash // of the text and the sums of the routes-files
	dir  string    // of the configuration, where the routes-files are
	open func(path string) (io.ReadCloser, error)
}

// names resolves what the configuration calls things.
type names struct {
	ports  map[string]uint16
	tables map[string]uint16
	groups map[string]uint32
	chains map[string]uint16
	rules  map[string]spot
}

// places remembers where everything stands, for problems that show only when all of it is known.
type places struct {
	ports  []spot
	tables []spot
	routes [][]spot // by table and route
	rules  []spot   // zero: a default rule
	items  []int    // by rule: its index in the file's list

	chains     []spot
	statements [][]spot // by chain and statement

	neighbors  []spot
	workers    spot
	management spot // its port
}

func (d *decoder) errorf(at spot, p *path, format string, args ...any) {
	message := ""
	if !d.found.full() {
		message = fmt.Sprintf(format, args...)
	}
	d.found.add(at, d.pathText(p), message, Error)
}

func (d *decoder) warnf(at spot, p *path, format string, args ...any) {
	d.found.add(at, p.String(), fmt.Sprintf(format, args...), Warning)
}

func (d *decoder) pathText(p *path) string {
	if d.found.full() {
		return ""
	}
	return p.String()
}

// position is the place for messages about the configuration that refer to a second place in it.
func (d *decoder) position(at spot) string { return d.positionFrom(spot{}, at) }

// positionFrom is the place for messages at from that refer to a second place.
func (d *decoder) positionFrom(from, at spot) string {
	if at.file != from.file {
		return fmt.Sprintf("%s:%d:%d", d.files[at.file], at.line, at.column)
	}
	return fmt.Sprintf("line %d, column %d", at.line, at.column)
}

// section is a mapping with fixed keys.
type section struct {
	name string   // prefix of its entries in unsupported and impossible
	keys []string // every key that the language has, for the messages about unknown ones
}

// fields calls visit for each pair of a section whose key is known and supported. The other pairs are errors.
// It returns false where n is no mapping at all.
func (d *decoder) fields(n *node, p *path, s *section, visit func(k key, v *node, p *path)) bool {
	switch n.kind {
	case nothing:
		return true
	case mapping:
	default:
		d.errorf(n.at, p, "expected a mapping with keys such as %s, found %s", strings.Join(s.keys[:min(3, len(s.keys))], ", "), n)
		return false
	}
	for i := range n.keys {
		k, v := n.keys[i], &n.items[i]
		if j := slices.IndexFunc(n.keys[:i], func(o key) bool { return o.text == k.text }); j >= 0 {
			d.errorf(k.at, p.to(k.text), "key is given twice; the first is at %s", d.position(n.keys[j].at))
			continue
		}
		full := k.text
		if s.name != "" {
			full = s.name + "." + k.text
		}
		switch {
		case unsupported[full]:
			d.errorf(k.at, p.to(k.text), notSupported)
		case impossible[full] != "":
			d.errorf(k.at, p.to(k.text), "%s", impossible[full])
		case !slices.Contains(s.keys, k.text):
			// Mappings with fixed keys are short; a long one is nonsense, and must not be searched pair by pair.
			if i >= 2*len(s.keys)+16 {
				d.errorf(k.at, p.to(k.text), "unknown key, and so are many before it")
				return true
			}
			d.errorf(k.at, p.to(k.text), "unknown key%s", d.suggest(k.text, slices.Values(s.keys)))
		default:
			visit(k, v, p.to(k.text))
		}
	}
	return true
}

// entries calls visit for each pair of a mapping whose keys the user chooses.
func (d *decoder) entries(n *node, p *path, what string, visit func(k key, v *node, p *path)) {
	switch n.kind {
	case nothing:
		return
	case mapping:
	default:
		d.errorf(n.at, p, "expected a mapping from %s, found %s", what, n)
		return
	}
	seen := make(map[string]spot, len(n.keys))
	for i := range n.keys {
		k := n.keys[i]
		if first, ok := seen[k.text]; ok {
			d.errorf(k.at, p.to(k.text), "key is given twice; the first is at %s", d.position(first))
			continue
		}
		seen[k.text] = k.at
		visit(k, &n.items[i], p.to(k.text))
	}
}

// list calls visit for each item of a list.
func (d *decoder) list(n *node, p *path, what string, visit func(i int, v *node, p *path)) {
	switch n.kind {
	case nothing:
		return
	case sequence:
	default:
		d.errorf(n.at, p, "expected a list of %s, found %s", what, n)
		return
	}
	for i := range n.items {
		visit(i, &n.items[i], p.at(i))
	}
}

// required reports that a mapping lacks a key.
func (d *decoder) required(n *node, p *path, key string, has bool) {
	if !has && n.kind != scalar && n.kind != sequence {
		d.errorf(n.at, p, "key %s is missing", key)
	}
}

// text returns the text of a scalar.
func (d *decoder) text(v *node, p *path, what string) (string, bool) {
	if v.kind != scalar || v.text == "" {
		d.errorf(v.at, p, "expected %s, found %s", what, v)
		return "", false
	}
	return v.text, true
}

// word returns a scalar that is one of the words.
func (d *decoder) word(v *node, p *path, words ...string) (string, bool) {
	what := orList(words)
	text, ok := d.text(v, p, what)
	if ok && !slices.Contains(words, text) {
		d.errorf(v.at, p, "expected %s, found %s%s", what, v, d.suggest(text, slices.Values(words)))
		return "", false
	}
	return text, ok
}

// boolean returns a scalar that is true or false, in the spellings of every YAML version.
func (d *decoder) boolean(v *node, p *path) (value, ok bool) {
	if v.kind == scalar && !v.quoted {
		switch strings.ToLower(v.text) {
		case "true", "yes", "on":
			return true, true
		case "false", "no", "off":
			return false, true
		}
	}
	d.errorf(v.at, p, "expected true or false, found %s", v)
	return false, false
}

// number returns a scalar that is a decimal or hexadecimal number from low to high.
func (d *decoder) number(v *node, p *path, low, high uint64) (uint64, bool) {
	if v.kind == scalar && !v.quoted {
		if value, ok := parseNumber(v.text); ok && low <= value && value <= high {
			return value, true
		}
	}
	d.errorf(v.at, p, "expected a number from %d to %d, found %s", low, high, v)
	return 0, false
}

// String describes the node for a message: what was found where something else was expected.
func (n *node) String() string {
	switch n.kind {
	case nothing:
		return "nothing"
	case mapping:
		return "a mapping"
	case sequence:
		return "a list"
	}
	switch {
	case n.text == "":
		return "empty text"
	case n.quoted:
		return fmt.Sprintf("the text %q", clip(n.text))
	}
	return clip(n.text)
}

// orList is `a, b or c`.
func orList(words []string) string {
	if len(words) == 1 {
		return words[0]
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}
