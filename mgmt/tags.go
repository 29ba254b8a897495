package mgmt

import (
	"maps"
	"math"
)

// decodeTags reads names for marks.
func (d *decoder) decodeTags(n *node, p *path) {
	d.entries(n, p, "tag names to marks", func(k key, v *node, p *path) {
		if wrong := checkName(k.text); wrong != "" {
			d.errorf(k.at, p, "%s", wrong)
			return
		}
		if mark, ok := d.mark(v, p); ok {
			if mark.mask == 0 {
				d.errorf(v.at, p, "mask 0 marks nothing")
				return
			}
			d.marks[k.text] = mark
			d.tags[k.text] = &named{at: k.at, p: p}
		}
	})
}

// tag resolves the name of a mark.
func (d *decoder) tag(v *node, p *path) (masked, bool) {
	text, ok := d.text(v, p, "the name of a tag")
	if !ok {
		return masked{}, false
	}
	mark, ok := d.marks[text]
	use(d.tags, text)
	if !ok {
		d.errorf(v.at, p, "no tag is called %s%s", clip(text), d.suggest(text, maps.Keys(d.marks)))
	}
	return mark, ok
}

// mark reads the mark of a rule, where Linux reads 0 in another way.
func (d *decoder) mark(v *node, p *path) (masked, bool) {
	m, explicit, ok := d.plainMark(v, p)
	if ok && m.value == 0 && !explicit {
		d.warnf(v.at, p, "0 means unmarked packets here, but every packet in Linux; 0/0xffffffff says the former in both")
	}
	return m, ok
}

// plainMark reads VALUE or VALUE/MASK of a firewall mark.
func (d *decoder) plainMark(v *node, p *path) (m masked, explicit, ok bool) {
	text, ok := d.text(v, p, "a mark such as 0x10/0xff")
	if !ok {
		return masked{}, false, false
	}
	m, explicit, wrong := parseMasked(text, math.MaxUint32)
	switch {
	case wrong != "":
		d.errorf(v.at, p, "%s, found %s", wrong, v)
		return masked{}, false, false
	case m.value&^m.mask != 0 && m.mask != 0:
		d.warnf(v.at, p, "bits %#x of the value are outside of the mask and do not count", m.value&^m.mask)
	}
	return m, explicit, true
}
