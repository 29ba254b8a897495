package policy

import (
	"net/netip"

	"weir/fib"
)

// standing passes over unicast routes that go out by ports whose links are all down, as if they were not in the table: to the
// next metric of the prefix, or else to a shorter prefix. Linux does so if it is told to ignore routes with linkdown; here
// it is what a route with a higher metric, or a default route, is there for.
//
// A neighbour that does not answer does not make a route fall. Among several the others are used (fib.Route.Hop), and of one
// alone the sender is told that the host is unreachable, as in Linux.
func (s *Snapshot) standing(tab *table, tree *fib.Tree, r *fib.Route, ok bool, addr netip.Addr, tos uint8, t *Trace) (*fib.Route, bool) {
	for ok && r.Action == fib.Unicast && !s.Adjacencies.Stands(r) {
		t.fallen(s, tab, r)
		r, ok = tree.After(r, addr, tos)
	}
	return r, ok
}
