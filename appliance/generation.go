package appliance

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"weir/policy"
	"weir/rings"
)

// generation is everything that workers read, published by one atomic store and never changed afterwards. A
// neighbour that resolves makes a new one, as a commit does; what did not change is shared.
type generation struct {
	epoch   uint64 // counts publications; a worker reports the one it runs
	snap    *policy.Snapshot
	lanes   []lane          // by worker
	tallies []*policy.Tally // by worker, which writes it until it leaves for a generation with another one
	links   []netip.Addr    // link-local IPv6 address by logical port, the zero Addr where there is none; may be shorter than the ports
	taps    [][]tap         // by worker; nil: nobody captures
}

// linkLocal is the router's own on a logical port, as the kernel has it.
func (g *generation) linkLocal(port uint16) netip.Addr {
	if int(port) < len(g.links) {
		return g.links[port]
	}
	return netip.Addr{}
}

// lane is one worker's way through the ports.
type lane struct {
	in      []ingress      // the queues it receives from
	out     []*rings.Queue // the queue it transmits on, by device index
	retired []retired      // queues that are closed since the generation before: take their chunks back
	stop    bool
}

type ingress struct {
	queue  *rings.Queue
	device uint16
	drops  *dropCounters // of the device; the worker writes
}

type retired struct {
	umem *rings.UMEM
	id   uint8
}

// publish makes g the running generation and returns its epoch. r.mu must be held.
func (r *Router) publish(g *generation) uint64 {
	r.epoch++
	g.epoch = r.epoch
	g.taps = r.taps(g.snap)
	r.published.Store(g)
	for _, w := range r.workers {
		w.poller.Wake()
	}
	return g.epoch
}

// awaitTime is how long workers may take to see a new generation. One that forwards does so within a batch, one that
// sleeps is woken; whoever takes seconds is stuck.
const awaitTime = 2 * time.Second

// await returns once every worker has left all generations before epoch. After that nobody reads them.
func (r *Router) await(ctx context.Context, epoch uint64) error {
	ctx, cancel := context.WithTimeout(ctx, awaitTime)
	defer cancel()
	for _, w := range r.workers {
		for w.seen.Load() < epoch {
			select {
			case <-w.adopted:
			case <-w.done:
				return fmt.Errorf("worker %d has ended", w.id)
			case <-ctx.Done():
				return fmt.Errorf("worker%s not seen generation %d within %v", r.laggards(epoch), epoch, awaitTime)
			}
		}
	}
	return nil
}

func (r *Router) laggards(epoch uint64) string {
	var late []string
	for _, w := range r.workers {
		if w.seen.Load() < epoch {
			late = append(late, fmt.Sprint(w.id))
		}
	}
	if len(late) == 1 {
		return " " + late[0] + " has"
	}
	return "s " + strings.Join(late, ", ") + " have"
}
