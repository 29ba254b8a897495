package appliance

import (
	"context"
	"sync"
	"time"

	"weir/policy"
)

// tallies are the hits of a policy's items. Workers count in plain memory, each in a tally of its own that comes with the
// generation; to be read, a tally is taken from its worker by a generation with a fresh one. So counting costs the
// packet path nothing but the increments, and reading costs a publication.
type tallies struct {
	snap  *policy.Snapshot
	total *policy.Tally   // of what workers have given back, for snap
	inUse []*policy.Tally // by worker
	spare []*policy.Tally // by worker: empty ones for the next exchange, or nil
	taken []takenTally
}

// takenTally is one that its worker leaves with an epoch, and until then may write.
type takenTally struct {
	snap   *policy.Snapshot
	tally  *policy.Tally
	worker *Worker
	epoch  uint64
}

// fresh has tallies for each worker to start a generation of the snapshot with, and is called before it is
// published: with it the ones before are taken.
func (t *tallies) fresh(snap *policy.Snapshot, workers []*Worker, epoch uint64) []*policy.Tally {
	for i, tally := range t.inUse {
		t.taken = append(t.taken, takenTally{t.snap, tally, workers[i], epoch})
	}
	if t.snap != nil && t.snap.Generation != snap.Generation {
		t.spare = nil
	}
	next := t.spare
	t.spare = nil
	if next == nil {
		for range workers {
			next = append(next, snap.NewTally())
		}
	}
	t.inUse = next
	return next
}

// move makes snap the one that hits are counted for. What its items had before, by their names, they keep.
func (t *tallies) move(snap *policy.Snapshot) {
	total := snap.NewTally()
	if t.snap != nil {
		snap.Inherit(total, t.snap, t.total)
	}
	t.snap, t.total = snap, total
}

// collect adds up the tallies that their workers have left. One whose worker is late stays for the next time.
func (t *tallies) collect() {
	late := t.taken[:0]
	var spare []*policy.Tally
	for _, k := range t.taken {
		switch {
		case k.worker.seen.Load() < k.epoch:
			late = append(late, k)
		case k.snap.Generation != t.snap.Generation:
			t.snap.Inherit(t.total, k.snap, k.tally)
		default:
			t.total.Add(k.tally)
			k.tally.Clear()
			spare = append(spare, k.tally)
		}
	}
	clear(t.taken[len(late):])
	t.taken = late
	if len(spare) == len(t.inUse) {
		t.spare = spare
	}
}

// Hits are what the items of the running policy have seen since the router started, or since they came into the
// configuration; a commit that keeps an item by name keeps its hits.
type Hits struct {
	Snapshot *policy.Snapshot // nil: nothing runs yet
	Tally    *policy.Tally    // a copy; its clock is Time's
	Late     error            // which workers have not answered in time, so that their latest packets are missing

	routing *sync.RWMutex // keeps the tables as they are
}

// Time is when a packet came, by Hits.Last of its Tally.
func (Hits) Time(last int64) time.Time { return epochStart.Add(time.Duration(last)) }

// Hits asks the workers what they have counted. A worker that does not answer is waited for 2 s at most.
func (r *Router) Hits(ctx context.Context) Hits {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.running == nil || r.closed {
		return Hits{}
	}
	var late error
	if r.tallies.collect(); len(r.tallies.taken) > 0 { // a worker is stuck: nothing is gained by giving it more tallies
		late = r.await(ctx, r.epoch)
	} else {
		g := *r.published.Load()
		g.tallies = r.tallies.fresh(r.running.snap, r.workers, r.epoch+1)
		late = r.await(ctx, r.publish(&g))
	}
	r.tallies.collect()
	h := Hits{Snapshot: r.running.snap, Tally: r.running.snap.NewTally(), Late: late, routing: &r.routing}
	h.Tally.Add(r.tallies.total)
	return h
}
