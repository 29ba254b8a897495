package fib

import "slices"

// condition is whether a next hop can be used, from worst to best.
type condition uint8

const (
	unusable condition = iota // its port is down
	lost                      // its neighbour has failed, and has not answered since
	usable
)

// condition of a next hop. No adjacencies at all is as good as all in order.
func (a *Adjacencies) condition(h *NextHop) condition {
	switch {
	case a == nil || !a.impaired:
		return usable
	case a.Down(h.Port):
		return unusable
	case !h.OnLink() && a.list[h.Adjacency].Lost:
		return lost
	}
	return usable
}

// LinksDown reports whether any port's link is down. If not, every route stands.
func (a *Adjacencies) LinksDown() bool { return len(a.down) > 0 }

// Down reports whether the port's link is down.
func (a *Adjacencies) Down(port uint16) bool {
	word := int(port / 64)
	return word < len(a.down) && a.down[word]>>(port%64)&1 != 0
}

// Stands reports whether a unicast route has a next hop whose port is not down.
func (a *Adjacencies) Stands(r *Route) bool {
	for i := range r.Hops {
		if !a.Down(r.Hops[i].Port) {
			return true
		}
	}
	return false
}

// WithDown returns a copy in which the given ports are down, and no others.
func (a *Adjacencies) WithDown(ports ...uint16) *Adjacencies {
	next := a.clone()
	next.down = nil
	for _, p := range ports {
		for len(next.down) <= int(p/64) {
			next.down = append(next.down, 0)
		}
		next.down[p/64] |= 1 << (p % 64)
	}
	next.examine()
	return next
}

// examine finds out whether anything is amiss.
func (a *Adjacencies) examine() {
	a.impaired = a.LinksDown() || slices.ContainsFunc(a.list, func(x Adjacency) bool { return x.Lost })
}
