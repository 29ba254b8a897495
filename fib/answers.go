package fib

import (
	"hash/maphash"
	"slices"
	"sync/atomic"
)

// Answer is what the longest prefix of an address comes to. Routes that differ in their prefix alone, not in its length,
// share one. It is immutable but for the writer's part, and the table's own: nothing of it is in the routing information base.
type Answer struct {
	route  Route   // the first of the prefix, where it is for every TOS; else not valid
	routes []Route // of one prefix, in the order in which a lookup tries them, where TOS decides

	users int // leaves; the writer's
	hash  uint64
	next  uint32 // in the bucket of answers.byHash; 0 ends it
}

// Route is the answer for a packet with the TOS byte, nil if there is none. It is not final if all routes of the prefix
// ask for another TOS: a shorter prefix may have one then, which the tree knows.
func (a *Answer) Route(tos uint8) (r *Route, final bool) {
	switch {
	case a == nil:
		return nil, true
	case a.routes == nil:
		return &a.route, true
	}
	for i := range a.routes {
		if r := &a.routes[i]; r.TOS == 0 || r.TOS == tos&tosMask {
			return r, true
		}
	}
	return nil, false
}

// answers numbers the answers of a table. 0 is none.
type answers struct {
	list   atomic.Pointer[[]*Answer] // by number; readers load it after the number
	byHash map[uint64]uint32         // the first of a bucket
	pool   pool
	seed   maphash.Seed
}

func newAnswers() *answers {
	a := &answers{byHash: make(map[uint64]uint32), seed: maphash.MakeSeed()}
	a.pool = pool{next: 1, limit: entryID}
	list := make([]*Answer, 1, 64)
	a.list.Store(&list)
	return a
}

func (a *answers) at(id uint32) *Answer { return (*a.list.Load())[id] }

// find numbers the answer that the routes of a leaf make, and counts the leaf as its user.
func (a *answers) find(routes []Route) (id uint32, ok bool) {
	if routes[0].TOS != 0 {
		return a.add(&Answer{routes: slices.Clone(routes), users: 1})
	}
	h := a.hashOf(&routes[0])
	for id := a.byHash[h]; id != 0; id = a.at(id).next {
		if x := a.at(id); sameAnswer(&x.route, &routes[0]) {
			x.users++
			return id, true
		}
	}
	x := &Answer{route: routes[0], users: 1, hash: h, next: a.byHash[h]}
	if id, ok = a.add(x); ok {
		a.byHash[h] = id
	}
	return id, ok
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

func (a *answers) add(x *Answer) (id uint32, ok bool) {
	if id, ok = a.pool.take(); !ok {
		return 0, false
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
	if x.routes != nil {
		a.pool.give(id)
		return
	}
	if a.byHash[x.hash] == id {
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
