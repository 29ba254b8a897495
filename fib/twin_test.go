package fib

import (
	"net/netip"
	"slices"
)

// twin is the slow and obvious table: a list of routes, and a lookup that looks at all of them.
type twin []Route

func (w *twin) insert(r Route) {
	w.delete(r.Prefix, r.TOS, r.Metric)
	*w = append(*w, r)
}

func (w *twin) delete(p netip.Prefix, tos uint8, metric uint32) bool {
	n := len(*w)
	*w = slices.DeleteFunc(*w, func(r Route) bool {
		return r.Prefix.Masked() == p.Masked() && r.TOS == tos && r.Metric == metric
	})
	return len(*w) < n
}

// lookup returns the best route among those with a prefix shorter than bits.
func (w twin) lookup(addr netip.Addr, tos uint8, bits int) (best Route, ok bool) {
	for _, r := range w {
		if !r.Prefix.Contains(addr) || r.Prefix.Bits() >= bits || r.TOS != 0 && r.TOS != tos&0x1c {
			continue
		}
		if !ok || better(r, best) {
			best, ok = r, true
		}
	}
	return best, ok
}

// better reports whether a goes before b, two routes that both match.
func better(a, b Route) bool {
	if a.Prefix.Bits() != b.Prefix.Bits() {
		return a.Prefix.Bits() > b.Prefix.Bits()
	}
	if (a.TOS != 0) != (b.TOS != 0) {
		return a.TOS != 0
	}
	return a.Metric < b.Metric
}
