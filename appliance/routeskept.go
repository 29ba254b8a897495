package appliance

import (
	"fmt"

	"go.uber.org/zap"

	"weir/fib"
	"weir/policy"
)

// RunTimeRoutesState is what there is of routes that came at run time.
type RunTimeRoutesState struct {
	Routes int      `json:"routes"`
	Lost   int      `json:"lost,omitempty"` // with the latest commit
	Some   []string `json:"some_lost,omitempty"`
}

// keepRoutes takes the routes that came at run time over into a setup that does not run yet, as far as it has their tables and
// ports, and has no such routes itself. r.mu must be held.
func (r *Router) keepRoutes(s *setup) {
	old := r.running
	if old == nil || old.runTime == 0 {
		return
	}
	c := changing{setup: s}
	var gateways []fib.Neighbor
	for i := range old.gateways() {
		n := old.snap.Adjacencies.At(i).Neighbor
		port, ok := s.snap.PortByName(old.snap.PortName(n.Port))
		if ok && n.Addr.IsValid() {
			gateways = append(gateways, fib.Neighbor{Addr: n.Addr, Port: port})
		}
	}
	s.expect(gateways...)
	for i := range uint16(old.snap.Tables()) {
		for route := range old.snap.Routes(i).All() {
			if route.RunTime {
				change := old.snap.Change(i, route)
				c.keep(&change)
			}
		}
	}
	var unused []fib.Neighbor
	for _, n := range gateways {
		if i, ok := s.base.Find(n); ok && !s.gateway(i) {
			unused = append(unused, n)
		}
	}
	s.base = s.base.Without(unused...)
	s.snap = s.snap.WithAdjacencies(s.base)
}

// expect gives a setup that does not run yet adjacencies of the gateways that it does not have, and returns those.
func (s *setup) expect(list ...fib.Neighbor) (fresh []fib.Neighbor) {
	var set []fib.Adjacency
	for _, n := range list {
		if _, known := s.base.Find(n); !known {
			a := fib.Adjacency{Neighbor: n}
			s.snap.Ports[n.Port].Wire(&a)
			set, fresh = append(set, a), append(fresh, n)
		}
	}
	if len(set) > 0 {
		s.base = s.base.With(set...)
		s.snap = s.snap.WithAdjacencies(s.base)
	}
	return fresh
}

// keep makes a change of a setup that does not run yet, and notes why if it cannot. It returns gateways that are new to it.
func (c *changing) keep(change *policy.RouteChange) (fresh []fib.Neighbor) {
	table, route, err := c.snap.NewRoute(change)
	if err == nil {
		for _, h := range route.Hops {
			if !h.OnLink() {
				fresh = append(fresh, c.expect(fib.Neighbor{Addr: h.Gateway, Port: h.Port})...)
			}
		}
		c.refer(&route)
		err = c.change(change.Op, table, &route, false)
	}
	switch {
	case err == nil, change.Op == policy.DeleteRoute:
		return fresh
	case len(c.lost.some) < lostMax:
		c.lost.some = append(c.lost.some, fmt.Sprintf("%v in table %s: %v", change.Prefix, change.Table, err))
	}
	c.lost.count++
	return fresh
}

// alike makes a change that has been made of the running setup in the prepared one too. r.mu must be held.
func (r *Router) alike(change *policy.RouteChange) {
	c := changing{setup: r.prepared}
	if fresh := c.keep(change); len(fresh) > 0 {
		if err := r.manage(r.prepared, fresh); err != nil {
			r.fail("keep gateways resolved", err)
		}
	}
}

// tellLost logs what a commit has made of routes that came at run time.
func (r *Router) tellLost(s *setup) {
	if s.lost.count > 0 {
		r.log.Warn("routes that came at run time are lost", zap.Int("routes", s.lost.count), zap.Strings("some", s.lost.some))
	}
}

// runTimeRoutes is their state, nil if there are and were none.
func (s *setup) runTimeRoutes() *RunTimeRoutesState {
	if s.runTime == 0 && s.lost.count == 0 {
		return nil
	}
	return &RunTimeRoutesState{Routes: s.runTime, Lost: s.lost.count, Some: s.lost.some}
}
