package fib

import (
	"hash/maphash"
	"slices"
	"sync/atomic"
)

// Answer is what the longest prefix of an address comes to. Routes that differ in their prefix alone, not in its length,
// share one. It is immutable but for up, and the table's own: nothing of it is in the routing information base.
type Answer struct {
	route  Route   // the only one that a lookup can come to; not valid where routes are
	routes []Route // of one prefix, in the order in which a lookup tries them, where TOS decides
	up     atomic.Pointer[Answer]
	upward bool // up is kept: the next shorter prefix, for a lookup that passes this one over

	users int // leaves; the writer's
	hash  uint64
	next  uint32 // in the bucket of answers.byHash; 0 ends it
}

// Route is the answer for a packet with the TOS byte, ok is false if there is none.
func (a *Answer) Route(tos uint8) (r *Route, ok bool) {
	if a == nil {
		return nil, false
	}
	if a.routes == nil {
		return &a.route, true
	}
	return a.choose(tos)
}

func (a *Answer) choose(tos uint8) (*Route, bool) {
	for ; a != nil; a = a.up.Load() {
		if a.routes == nil {
			return &a.route, true
		}
		for i := range a.routes {
			if r := &a.routes[i]; r.TOS == 0 || r.TOS == tos&tosMask {
				return r, true
			}
		}
	}
	return nil, false
}

// Shorter is the answer of the next shorter prefix, for a route that resumes there.
func (a *Answer) Shorter() *Answer { return a.up.Load() }

// answers numbers the answers of a table. 0 is none.
type answers struct {
	list   atomic.Pointer[[]*Answer] // by number; readers load it after the number
	byHash map[uint64]uint32         // the first of a bucket
	pool   pool
	seed   maphash.Seed
	upward int // answers that know their up
}

func newAnswers() *answers {
	a := &answers{byHash: make(map[uint64]uint32), seed: maphash.MakeSeed()}
	a.pool = pool{next: 1, limit: entryID}
	list := make([]*Answer, 1, 64)
	a.list.Store(&list)
	return a
}

func (a *answers) at(id uint32) *Answer { return (*a.list.Load())[id] }

// needsUp reports whether a lookup can pass over the routes of a prefix.
func needsUp(routes []Route) bool {
	return slices.ContainsFunc(routes, func(r Route) bool { return r.TOS != 0 || r.Action == Lookup && r.Resume })
}

// find numbers the answer that the routes of a leaf make, and counts the leaf as its user.
func (a *answers) find(routes []Route) (id uint32, ok bool) {
	up := needsUp(routes)
	if up {
		return a.add(&Answer{upward: true, users: 1}, routes)
	}
	h := a.hashOf(&routes[0])
	for id := a.byHash[h]; id != 0; id = a.at(id).next {
		if x := a.at(id); sameAnswer(&x.route, &routes[0]) {
			x.users++
			return id, true
		}
	}
	return a.add(&Answer{users: 1, hash: h}, routes)
}

// same is the answer that a route without a TOS comes to, or nil if there is none yet.
func (a *answers) same(r *Route) *Answer {
	for id := a.byHash[a.hashOf(r)]; id != 0; {
		x := a.at(id)
		if sameAnswer(&x.route, r) {
			return x
		}
		id = x.next
	}
	return nil
}

func (a *answers) add(x *Answer, routes []Route) (id uint32, ok bool) {
	if id, ok = a.pool.take(); !ok {
		return 0, false
	}
	if routes[0].TOS != 0 {
		x.routes = slices.Clone(routes)
	} else {
		x.route = routes[0]
	}
	if x.upward {
		a.upward++
	} else {
		x.next = a.byHash[x.hash]
		a.byHash[x.hash] = id
	}
	list := *a.list.Load()
	if int(id) < len(list) {
		list[id] = x
		return id, true
	}
	list = append(list, x)
	a.list.Store(&list)
	return id, true
}

// drop ends one leaf's use of an answer.
func (a *answers) drop(id uint32) {
	x := a.at(id)
	if x.users--; x.users > 0 {
		return
	}
	if x.upward {
		a.upward--
	} else if a.byHash[x.hash] == id {
		if a.byHash[x.hash] = x.next; x.next == 0 {
			delete(a.byHash, x.hash)
		}
	} else {
		before := a.at(a.byHash[x.hash])
		for before.next != id {
			before = a.at(before.next)
		}
		before.next = x.next
	}
	a.pool.give(id)
}

// sameAnswer reports whether two routes come to the same for every address.
func sameAnswer(a, b *Route) bool {
	return a.Prefix.Bits() == b.Prefix.Bits() && a.Prefix.Addr().Is4() == b.Prefix.Addr().Is4() && a.TOS == b.TOS && a.Metric == b.Metric && a.MTU == b.MTU &&
		a.Action == b.Action && a.Target == b.Target && a.Resume == b.Resume && a.Counter == b.Counter && slices.Equal(a.Hops, b.Hops)
}

func (a *answers) hashOf(r *Route) uint64 {
	type fixed struct {
		bits, action, tos uint8
		resume, four      bool
		metric, counter   uint32
		mtu, target       uint16
		hops              int
	}
	h := maphash.Comparable(a.seed, fixed{uint8(r.Prefix.Bits()), uint8(r.Action), r.TOS, r.Resume, r.Prefix.Addr().Is4(), r.Metric, r.Counter, r.MTU, r.Target, len(r.Hops)})
	for i := range r.Hops {
		h = h*0x9e3779b97f4a7c15 ^ maphash.Comparable(a.seed, r.Hops[i])
	}
	return h
}
