package appliance

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"go.uber.org/zap"

	"weir/fib"
	"weir/policy"
)

// Routes change at run time beside the configuration's own. They are in the running snapshot's tables, which workers read
// meanwhile (package fib has how), and Prepare takes them over to the next snapshot. A slice of changes costs two looks at
// every worker at most: one before routes speak of gateways that are new, one after, when what was there before can be used
// again.

// routesSlice is how many changes are made in one go, under the router's lock.
const routesSlice = 1024

// runTimeRoutesMax bounds the routes that come at run time: the Internet's, four times over.
const runTimeRoutesMax = 4 << 20

// RefusedRoute is a change that was not made.
type RefusedRoute struct {
	Index int // among the changes
	Err   error
}

// Reasons to refuse a change.
var (
	errNotRunning   = errors.New("change routes: nothing runs")
	errConfigured   = errors.New("the route is the configuration's: change it there")
	errRouteExists  = errors.New("the table has such a route: replace it")
	errNoSuchRoute  = errors.New("the table has no such route")
	errManyRoutes   = fmt.Errorf("more than %d routes at run time", runTimeRoutesMax)
	errManyGateways = errors.New("neighbour table full")
)

// turning is what waits for the workers to leave what they may have read.
type turning struct {
	epoch    uint64
	tables   []*fib.Table
	gateways []uint32 // adjacencies that routes may not refer to any more
}

// lostRoutes are those that came at run time and are not in the snapshot that a commit brought.
type lostRoutes struct {
	count int
	some  []string // with the reason; at most lostMax
}

const lostMax = 10

// newSetup begins a setup for a snapshot that has been compiled.
func newSetup(snap *policy.Snapshot) *setup {
	return &setup{snap: snap, base: snap.Adjacencies, fixed: uint32(snap.Adjacencies.Len()), users: make(map[uint32]int)}
}

// ChangeRoutes makes changes one after the other, and returns those that it refused. When it returns every packet goes by
// the tables as they are then; meanwhile each goes by what a table was before a change or after it. The error says why
// there are changes that it did not get to.
func (r *Router) ChangeRoutes(changes []policy.RouteChange) (refused []RefusedRoute, err error) {
	for from := 0; from < len(changes); from += routesSlice {
		some, err := r.changeSlice(changes[from:min(len(changes), from+routesSlice)])
		for _, f := range some {
			refused = append(refused, RefusedRoute{from + f.Index, f.Err})
		}
		if err != nil {
			return refused, err
		}
	}
	return refused, nil
}

func (r *Router) changeSlice(changes []policy.RouteChange) (refused []RefusedRoute, err error) {
	for r.mu.Lock(); !r.routing.TryLock(); r.mu.Lock() {
		r.mu.Unlock() // whoever lists a million routes holds up nobody else
		r.routing.Lock()
		//lint:ignore SA2001 it has waited
		r.routing.Unlock()
	}
	defer r.mu.Unlock()
	defer r.routing.Unlock()
	s := r.running
	if s == nil || r.closed {
		return nil, errNotRunning
	}
	if err := r.settle(); err != nil {
		return nil, err
	}
	c := changing{setup: s, routes: make([]fib.Route, len(changes)), tables: make([]uint16, len(changes)), errs: make([]error, len(changes))}
	for i := range changes {
		c.tables[i], c.routes[i], c.errs[i] = s.snap.NewRoute(&changes[i])
	}
	if err := r.meetGateways(&c); err != nil {
		return nil, err
	}
	for i := range changes {
		if c.errs[i] == nil {
			if len(c.gateways) > 0 {
				s.refer(&c.routes[i])
			}
			c.errs[i] = c.change(changes[i].Op, c.tables[i], &c.routes[i], true)
		}
		if c.errs[i] != nil {
			refused = append(refused, RefusedRoute{i, c.errs[i]})
		} else if r.prepared != nil {
			r.alike(&changes[i])
		}
	}
	return refused, r.turn(&c)
}

// changing is a slice of changes on its way into a setup.
type changing struct {
	*setup
	routes   []fib.Route // by change
	tables   []uint16    // likewise
	errs     []error     // likewise
	touched  []uint16    // tables
	gateways []uint32    // adjacencies whose users may have gone
}

// meetGateways makes adjacencies of the gateways that are new, before a route refers to them. r.mu must be held.
func (r *Router) meetGateways(c *changing) error {
	s, all := c.setup, c.snap.Adjacencies
	var fresh []fib.Adjacency
	var unmanaged []fib.Neighbor
	met := make(map[fib.Neighbor]bool)
	for i := range c.routes {
		for j := range c.routes[i].Hops {
			h := &c.routes[i].Hops[j]
			n := fib.Neighbor{Addr: h.Gateway, Port: h.Port}
			if h.OnLink() || met[n] {
				continue
			}
			at, known := all.Find(n)
			h.Adjacency = at
			if known && s.gateway(at) {
				continue
			}
			if !known && all.Known()+len(fresh) >= adjacenciesMax {
				c.errs[i] = errManyGateways
				continue
			}
			met[n] = true
			unmanaged = append(unmanaged, n)
			if !known {
				a := s.link(n)
				if e, ok := r.neighbors.entries[kernelNeighbor{n.Addr, s.ifindex[n.Port]}]; ok {
					a = s.adjacency(n, e)
				}
				a.Lost = all.Down(n.Port)
				fresh = append(fresh, a)
			}
		}
	}
	if len(unmanaged) == 0 {
		return nil
	}
	if len(fresh) > 0 {
		r.republish(s, all.With(fresh...))
		if err := r.await(context.Background(), r.epoch); err != nil {
			return fmt.Errorf("change routes: %w", err)
		}
	}
	if err := r.manage(s, unmanaged); err != nil {
		r.fail("keep gateways resolved", err) // as any host, then
	}
	for _, n := range unmanaged {
		at, _ := s.snap.Adjacencies.Find(n)
		c.gateways = append(c.gateways, at) // in case no route comes to use it
		if s.snap.Adjacencies.At(at).State != fib.Resolved {
			go r.ask(n)
		}
	}
	return nil
}

// refer tells a route's next hops what their gateways' adjacencies are, which there must be.
func (s *setup) refer(r *fib.Route) {
	for i := range r.Hops {
		if h := &r.Hops[i]; !h.OnLink() {
			h.Adjacency, _ = s.snap.Adjacencies.Find(fib.Neighbor{Addr: h.Gateway, Port: h.Port})
		}
	}
}

// change makes one change of a table, which workers read if it is live.
func (c *changing) change(op policy.RouteOp, table uint16, route *fib.Route, live bool) error {
	t := c.snap.Routes(table)
	old, exists := t.Get(route.Prefix, route.TOS, route.Metric)
	switch {
	case exists && !old.RunTime:
		return errConfigured
	case exists && op == policy.AddRoute:
		return errRouteExists
	case !exists && op == policy.DeleteRoute:
		return errNoSuchRoute
	case !exists && c.runTime >= runTimeRoutesMax:
		return errManyRoutes
	}
	if live {
		t.Share()
	}
	if exists {
		c.count(old, -1)
	}
	if op == policy.DeleteRoute {
		t.Delete(route.Prefix, route.TOS, route.Metric)
	} else {
		c.count(route, 1)
		t.Insert(*route)
	}
	if !slices.Contains(c.touched, table) {
		c.touched = append(c.touched, table)
	}
	return nil
}

// count adds a route to those that came at run time, or takes it away.
func (c *changing) count(r *fib.Route, n int) {
	c.runTime += n
	for i := range r.Hops {
		h := &r.Hops[i]
		if h.OnLink() || h.Adjacency < c.fixed {
			continue
		}
		if c.users[h.Adjacency] += n; c.users[h.Adjacency] == 0 {
			delete(c.users, h.Adjacency)
			c.gateways = append(c.gateways, h.Adjacency)
		}
	}
}

// turn gives the workers what has changed, and waits until they have left what was before. r.mu must be held.
func (r *Router) turn(c *changing) error {
	s := c.setup
	r.turning.gateways = c.gateways
	for _, i := range c.touched {
		snap, err := s.snap.Reshape(i)
		if err != nil {
			r.log.Warn("table without array forms", zap.Error(err)) // its lookups are slower, and right
		}
		s.snap = snap
		t := s.snap.Routes(i)
		t.Turn()
		r.turning.tables = append(r.turning.tables, t)
	}
	if len(c.touched) == 0 {
		return r.settle()
	}
	g := *r.published.Load()
	g.snap = s.snap
	r.turning.epoch = r.publish(&g)
	return r.settle()
}

// settle ends what turn has begun. r.mu must be held.
func (r *Router) settle() error {
	if len(r.turning.tables) > 0 {
		if err := r.await(context.Background(), r.turning.epoch); err != nil {
			return fmt.Errorf("change routes: %w", err)
		}
	}
	for _, t := range r.turning.tables {
		t.Reclaim()
	}
	gateways := r.turning.gateways
	r.turning = turning{}
	if len(gateways) > 0 {
		r.leaveGateways(r.running, gateways)
	}
	return nil
}

// leaveGateways lets go of adjacencies that no route refers to any more, as far as nobody does. r.mu must be held.
func (r *Router) leaveGateways(s *setup, list []uint32) {
	left := make(map[setting]bool)
	var gone []fib.Neighbor
	for _, i := range list {
		n := s.snap.Adjacencies.At(i).Neighbor
		if s.gateway(i) || !n.Addr.IsValid() {
			continue
		}
		left[s.managed(n)] = true
		if e, known := r.neighbors.entries[kernelNeighbor{n.Addr, s.ifindex[n.Port]}]; !known || e.known() != fib.Resolved {
			gone = append(gone, n)
		}
	}
	if len(left) == 0 {
		return
	}
	is := func(t setting) bool { return left[t] }
	s.desired = slices.DeleteFunc(s.desired, is)
	if err := r.settings.undo(is); err != nil {
		r.fail("leave gateways", err)
	}
	if len(gone) > 0 {
		r.republish(s, s.snap.Adjacencies.Without(gone...))
	}
}
