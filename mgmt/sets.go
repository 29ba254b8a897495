package mgmt

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"weir/policy"
)

// set is a named set for the selectors of statements: prefixes, or numbers and ranges of them. What it holds says
// which selectors can use it.
type set struct {
	at       spot
	p        *path
	prefixes []netip.Prefix
	numbers  []policy.Range
	wrong    bool // it has an error already
	used     bool
}

func (d *decoder) decodeSets(n *node, p *path) {
	d.entries(n, p, "set names to their members", func(k key, v *node, p *path) {
		if wrong := checkName(k.text); wrong != "" {
			d.errorf(k.at, p, "%s", wrong)
			return
		}
		s := &set{at: k.at, p: p}
		d.sets[k.text] = s
		errors := d.found.errors
		d.list(v, p, "prefixes, ports or ranges", func(_ int, v *node, p *path) { d.decodeMember(s, v, p) })
		if d.found.errors == errors && len(s.prefixes)+len(s.numbers) == 0 {
			d.errorf(v.at, p, "a set has at least one member")
		}
		s.wrong = d.found.errors != errors
	})
}

func (d *decoder) decodeMember(s *set, v *node, p *path) {
	const expected = "a prefix, a number or a range such as 8000-8099"
	text, ok := d.text(v, p, expected)
	if !ok {
		return
	}
	if r, wrong := parseRange(text, policy.AllBits); wrong == "" {
		if len(s.prefixes) > 0 {
			d.errorf(v.at, p, "a set has prefixes or numbers, not both: this one begins with %s", s.prefixes[0])
			return
		}
		s.numbers = append(s.numbers, r)
		return
	}
	prefix, wrong := parsePrefix(text)
	switch {
	case strings.HasPrefix(wrong, "expected a prefix such"):
		d.errorf(v.at, p, "expected %s, found %s", expected, v)
	case wrong != "":
		d.errorf(v.at, p, "%s", withFound(wrong, v.String()))
	case len(s.numbers) > 0:
		d.errorf(v.at, p, "a set has prefixes or numbers, not both: this one begins with %s", rangeText(s.numbers[0]))
	default:
		s.prefixes = append(s.prefixes, prefix)
	}
}

// addSet adds the members of a set to a condition that takes prefixes, or numbers up to limit.
func (d *decoder) addSet(c *policy.Condition, name string, limit uint32, v *node, p *path) {
	s, ok := d.sets[name]
	if !ok {
		d.errorf(v.at, p, "no set is called %s%s", clip(name), d.suggest(name, maps.Keys(d.sets)))
		return
	}
	s.used = true
	if s.wrong {
		return
	}
	addresses := c.Field == policy.FieldFrom || c.Field == policy.FieldTo
	switch {
	case addresses && s.prefixes == nil:
		d.errorf(v.at, p, "set %s has numbers; %s takes prefixes", name, c.Field)
		return
	case !addresses && s.numbers == nil:
		d.errorf(v.at, p, "set %s has prefixes; %s takes numbers", name, c.Field)
		return
	}
	if i := slices.IndexFunc(s.numbers, func(r policy.Range) bool { return r.Hi > limit }); i >= 0 {
		d.errorf(v.at, p, "%s of set %s is above %d, the most that %s can be", rangeText(s.numbers[i]), name, limit, c.Field)
		return
	}
	c.Prefixes = append(c.Prefixes, s.prefixes...)
	c.Numbers = append(c.Numbers, s.numbers...)
}

func rangeText(r policy.Range) string {
	if r.Lo == r.Hi {
		return fmt.Sprint(r.Lo)
	}
	return fmt.Sprintf("%d-%d", r.Lo, r.Hi)
}
