package fib

import (
	"maps"
	"net/netip"
	"slices"
)

// NeighborState is what is known of a neighbour's MAC address.
type NeighborState uint8

// Neighbour states.
const (
	Incomplete NeighborState = iota // no answer yet: packets wait
	Resolved                        // DstMAC is valid
	Failed                          // no answer: host unreachable
)

// Adjacency is what a frame to one neighbour looks like on the wire. Packets refer to it by index.
type Adjacency struct {
	Neighbor Neighbor
	Device   uint16 // index of the netdev whose queues transmit (a VLAN's is that of its parent)
	MTU      uint16 // bytes of the IP packet
	DstMAC   [6]byte
	SrcMAC   [6]byte
	VLAN     [2]uint16 // VLAN identifiers to push, outer first
	Tags     uint8     // how many
	Service  bool      // the outer one is an S-TAG (0x88a8)
	State    NeighborState
	Static   bool // from the configuration: never resolved, never failed
	Lost     bool // has failed, and has not answered since: multipath routes do without it
}

// Neighbor identifies a host on a link: a logical port, and an address there.
type Neighbor struct {
	Addr netip.Addr
	Port uint16
}

// Adjacencies is the set of known neighbours, and knows which ports' links are down. A value is immutable: readers use it
// without a lock, and a change makes a new one (With) that shares nothing that is written later. An index, once given,
// stays with its neighbour in every later version.
type Adjacencies struct {
	list   []Adjacency
	index  map[Neighbor]uint32
	vacant []uint32 // indexes of neighbours that were taken out

	down     []uint64 // bit p: port p's link is down; without trailing zeros
	impaired bool     // a port is down, or a neighbour lost
}

// Len is one more than the largest index. An index that no neighbour has, since it was taken out, holds the zero
// Adjacency, whose neighbour's address is invalid.
func (a *Adjacencies) Len() int { return len(a.list) }

// Known is the number of neighbours.
func (a *Adjacencies) Known() int { return len(a.index) }

// At returns adjacency i, which must be below Len. The result must not be written to.
func (a *Adjacencies) At(i uint32) *Adjacency { return &a.list[i] }

// Find returns the index of the neighbour's adjacency.
func (a *Adjacencies) Find(n Neighbor) (uint32, bool) {
	i, ok := a.index[n]
	return i, ok
}

// With returns a copy in which each given adjacency replaces the one of the same neighbour, or is added.
func (a *Adjacencies) With(changes ...Adjacency) *Adjacencies {
	next := a.clone()
	for _, c := range changes {
		i, ok := next.index[c.Neighbor]
		if !ok {
			i = next.vacancy()
			next.index[c.Neighbor] = i
		}
		next.list[i] = c
	}
	next.examine()
	return next
}

// Without returns a copy that does not know the given neighbours. Their indexes may go to others, so that no route may
// refer to them.
func (a *Adjacencies) Without(gone ...Neighbor) *Adjacencies {
	next := a.clone()
	for _, n := range gone {
		if i, ok := next.index[n]; ok {
			delete(next.index, n)
			next.list[i] = Adjacency{}
			next.vacant = append(next.vacant, i)
		}
	}
	next.examine()
	return next
}

func (a *Adjacencies) clone() *Adjacencies {
	if a == nil {
		return &Adjacencies{index: make(map[Neighbor]uint32)}
	}
	next := &Adjacencies{list: slices.Clone(a.list), index: maps.Clone(a.index), vacant: slices.Clone(a.vacant), down: a.down}
	if next.index == nil {
		next.index = make(map[Neighbor]uint32)
	}
	return next
}

// vacancy returns an index that no neighbour has.
func (a *Adjacencies) vacancy() uint32 {
	if last := len(a.vacant) - 1; last >= 0 {
		i := a.vacant[last]
		a.vacant = a.vacant[:last]
		return i
	}
	a.list = append(a.list, Adjacency{})
	return uint32(len(a.list) - 1)
}
