package appliance

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"weir/fib"
)

// adjacenciesMax bounds the neighbours that workers know, so that a scan of a large connected network cannot exhaust
// memory; the kernel's own table is smaller (net.ipv4.neigh.default.gc_thresh3, 1,024 unless set).
const adjacenciesMax = 16384

// The kernel resolves neighbours, weir listens: one ARP and ND implementation in the machine is enough, and the kernel's
// is the one that also answers for the router's own addresses. The workers ask for what they miss, the kernel is told
// to use it (NTF_USE), probes, and reports by netlink what became of it.

// incompleteMax bounds, for each family, the neighbours that the kernel is asked to resolve at once. Its table holds 1,024
// (gc_thresh3), none of which it gives up while it probes; gateways need no leave.
const incompleteMax = 512

// keepMax is how long a neighbour in use keeps its MAC address when the kernel has forgotten it: until it has asked again.
const keepMax = 4 * time.Second

// neighborTable mirrors the kernel's neighbour tables.
type neighborTable struct {
	entries    map[kernelNeighbor]neighborEntry
	incomplete map[bool]int               // how many of the entries are, by whether they are IPv4
	asked      map[fib.Neighbor]time.Time // when the kernel was last asked; entries go after askAgain
	kept       map[fib.Neighbor]time.Time // in use, and forgotten by the kernel then
	lost       gatewayLog
}

type kernelNeighbor struct {
	addr    netip.Addr
	ifindex int
}

// clockTick is the unit of time in the kernel's messages (USER_HZ, 100 a second on all that weir runs on).
const clockTick = 10 * time.Millisecond

type neighborEntry struct {
	mac   [6]byte
	state int       // NUD_*
	since time.Time // when the kernel told of it
}

func (t *neighborTable) init() {
	t.entries = make(map[kernelNeighbor]neighborEntry)
	t.asked = make(map[fib.Neighbor]time.Time)
	t.kept = make(map[fib.Neighbor]time.Time)
	t.incomplete = make(map[bool]int)
}

// resolvedStates are those in which the kernel would send to the MAC address that it has.
const resolvedStates = netlink.NUD_REACHABLE | netlink.NUD_STALE | netlink.NUD_DELAY | netlink.NUD_PROBE | netlink.NUD_PERMANENT | netlink.NUD_NOARP

func (e neighborEntry) known() fib.NeighborState {
	switch {
	case e.state&resolvedStates != 0:
		return fib.Resolved
	case e.state&netlink.NUD_FAILED != 0:
		return fib.Failed
	}
	return fib.Incomplete
}

// lost reports whether multipath routes must do without a gateway. One that was lost stays so until it answers, however
// often it is asked for in between.
func (e neighborEntry) lost(was bool) bool {
	state := e.known()
	return state == fib.Failed || state == fib.Incomplete && was
}

// learn takes in what the kernel says of a neighbour, and returns whether anything of use changed.
func (t *neighborTable) learn(n *netlink.Neigh, gone bool) (kernelNeighbor, bool) {
	addr, ok := netip.AddrFromSlice(n.IP)
	if !ok || addr.IsMulticast() || n.Family != unix.AF_INET && n.Family != unix.AF_INET6 {
		return kernelNeighbor{}, false
	}
	key := kernelNeighbor{addr.Unmap(), n.LinkIndex}
	old, had := t.entries[key]
	if old.state&netlink.NUD_INCOMPLETE != 0 {
		t.incomplete[key.addr.Is4()]--
	}
	if gone {
		delete(t.entries, key)
		return key, had
	}
	e := neighborEntry{state: n.State, since: time.Now().Add(-time.Duration(n.Updated) * clockTick)}
	copy(e.mac[:], n.HardwareAddr)
	if e.state&netlink.NUD_INCOMPLETE != 0 {
		t.incomplete[key.addr.Is4()]++
	}
	t.entries[key] = e
	return key, !had || old.known() != e.known() || old.mac != e.mac
}

// watchNeighbors mirrors the kernel's neighbours until the context ends or netlink fails.
func (r *Router) watchNeighbors(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	updates := make(chan netlink.NeighUpdate, 1024)
	var failure error
	err := netlink.NeighSubscribeWithOptions(updates, ctx.Done(), netlink.NeighSubscribeOptions{
		ReceiveBufferSize: 1 << 20, ReceiveBufferForceSize: true,
		ErrorCallback: func(err error) { failure = err }, // called before updates is closed
	})
	if err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	if err := r.relearn(); err != nil {
		return err
	}
	refresh := time.NewTicker(time.Second)
	defer refresh.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err() // not when updates is closed: that takes one more message from the kernel
		case <-refresh.C:
			r.refresh()
		case u, ok := <-updates:
			if !ok {
				return fmt.Errorf("receive: %w", failure)
			}
			r.mu.Lock()
			changed := make(map[kernelNeighbor]bool)
			for { // whatever has come in the meantime makes one new generation, not many
				if key, ok := r.neighbors.learn(&u.Neigh, u.Type == unix.RTM_DELNEIGH); ok {
					changed[key] = true
				}
				if len(updates) == 0 {
					break
				}
				u = <-updates
			}
			r.neighborsChanged(changed)
			r.mu.Unlock()
		}
	}
}

// relearn reads the kernel's whole table.
func (r *Router) relearn() error {
	var all []netlink.Neigh
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		list, err := netlink.NeighList(0, family)
		if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) { // what was missed comes as an update
			return fmt.Errorf("list: %w", err)
		}
		all = append(all, list...)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	changed := make(map[kernelNeighbor]bool)
	for key := range r.neighbors.entries {
		changed[key] = true
	}
	clear(r.neighbors.entries)
	clear(r.neighbors.incomplete)
	for i := range all {
		if key, ok := r.neighbors.learn(&all[i], false); ok {
			changed[key] = true
		}
	}
	r.neighborsChanged(changed)
	return nil
}

// neighborsChanged publishes the adjacencies of neighbours that changed. r.mu must be held.
func (r *Router) neighborsChanged(changed map[kernelNeighbor]bool) {
	s := r.running
	if s == nil || len(changed) == 0 {
		return
	}
	var set []fib.Adjacency
	var gone []fib.Neighbor
	full := false
	for key := range changed {
		for port, ifindex := range s.ifindex {
			if ifindex != key.ifindex {
				continue
			}
			n := fib.Neighbor{Addr: key.addr, Port: uint16(port)}
			i, known := s.snap.Adjacencies.Find(n)
			e, exists := r.neighbors.entries[key]
			if known && s.snap.Adjacencies.At(i).Static {
				r.misfit = r.misfit || !exists
				continue
			}
			gateway := known && s.gateway(i)
			lost := gateway && s.snap.Adjacencies.At(i).Lost
			switch {
			case known && r.keeps(s, i, e):
			case exists && !known && s.snap.Adjacencies.Known()+len(set) >= adjacenciesMax:
				full = true
			case exists && (known || e.known() != fib.Incomplete):
				a := s.adjacency(n, e)
				a.Lost = gateway && e.lost(lost)
				set = append(set, a)
			case !exists && gateway:
				a := s.link(n)
				a.Lost = lost
				set = append(set, a)
			case !exists && known:
				gone = append(gone, n)
			}
		}
	}
	if full {
		r.log.Warn("neighbour table full", zap.Int("neighbours", adjacenciesMax))
	}
	if len(set)+len(gone) > 0 {
		r.republish(s, s.snap.Adjacencies.Without(gone...).With(set...))
	}
}

// keeps reports whether a resolved neighbour stays what it is although the kernel does not know it any more: its table was
// full, or flushed by hand, while packets go there. They need not wait while the kernel asks anew. Where the link is down
// it has been forgotten for good reason.
func (r *Router) keeps(s *setup, i uint32, e neighborEntry) bool {
	a := s.snap.Adjacencies.At(i)
	since, kept := r.neighbors.kept[a.Neighbor]
	if e.known() != fib.Incomplete || a.State != fib.Resolved || s.snap.Adjacencies.Down(a.Neighbor.Port) || !kept && !r.inUse(i) || kept && time.Since(since) > keepMax {
		delete(r.neighbors.kept, a.Neighbor)
		return false
	}
	if !kept {
		r.neighbors.kept[a.Neighbor] = time.Now()
	}
	return true
}

// inUse reports whether a worker has sent to an adjacency within the last seconds.
func (r *Router) inUse(i uint32) bool {
	now := uint32(monotonic() / int64(time.Second))
	return slices.ContainsFunc(r.workers, func(w *Worker) bool { return now-w.used[i%adjacenciesMax].Load() <= 2 })
}

// republish makes a new generation that differs in its adjacencies. r.mu must be held.
func (r *Router) republish(s *setup, a *fib.Adjacencies) {
	s.snap = s.snap.WithAdjacencies(a)
	g := *r.published.Load()
	g.snap = s.snap
	r.publish(&g)
}

// adjacency is a neighbour's, in the state that the kernel has it in.
func (s *setup) adjacency(n fib.Neighbor, e neighborEntry) fib.Adjacency {
	a := s.link(n)
	a.State = e.known()
	a.DstMAC = e.mac
	return a
}

// link is an adjacency without what is known of the neighbour: all that follows from its port.
func (s *setup) link(n fib.Neighbor) fib.Adjacency {
	p := &s.snap.Ports[n.Port]
	a := fib.Adjacency{Neighbor: n, SrcMAC: [6]byte(s.devices[p.Device].port.MAC)}
	p.Wire(&a)
	return a
}

// resolve completes the snapshot's adjacencies with what is known now: the static ones and the gateways, which it lists,
// and all other neighbours that the kernel has resolved. r.mu must be held.
func (r *Router) resolve(s *setup) *fib.Adjacencies {
	all := s.snap.Adjacencies
	var set []fib.Adjacency
	for i := range uint32(all.Len()) {
		was := all.At(i)
		if !was.Neighbor.Addr.IsValid() {
			continue // vacant
		}
		a := s.link(was.Neighbor)
		key := kernelNeighbor{was.Neighbor.Addr, s.ifindex[was.Neighbor.Port]}
		if was.Static {
			a.Static, a.DstMAC, a.State = true, was.DstMAC, fib.Resolved
		} else if e, ok := r.neighbors.entries[key]; ok {
			a = s.adjacency(was.Neighbor, e)
			a.Lost = e.lost(r.wasLost(key))
		} else {
			a.Lost = r.wasLost(key)
		}
		set = append(set, a)
	}
	for key, e := range r.neighbors.entries {
		for port, ifindex := range s.ifindex {
			n := fib.Neighbor{Addr: key.addr, Port: uint16(port)}
			if _, listed := all.Find(n); ifindex == key.ifindex && !listed && e.known() == fib.Resolved {
				set = append(set, s.adjacency(n, e))
			}
		}
	}
	return all.With(set...)
}

// wasLost reports whether the running setup has lost a neighbour. r.mu must be held.
func (r *Router) wasLost(key kernelNeighbor) bool {
	s := r.running
	if s == nil {
		return false
	}
	for port, ifindex := range s.ifindex {
		if ifindex == key.ifindex {
			if i, ok := s.snap.Adjacencies.Find(fib.Neighbor{Addr: key.addr, Port: uint16(port)}); ok {
				return s.snap.Adjacencies.At(i).Lost
			}
		}
	}
	return false
}

// lostGateways are those that multipath routes do without until they answer, and that can be asked.
func (s *setup) lostGateways() (list []fib.Neighbor) {
	all := s.snap.Adjacencies
	for i := range s.gateways() {
		if a := all.At(i); a.Lost && !all.Down(a.Neighbor.Port) {
			list = append(list, a.Neighbor)
		}
	}
	return list
}

// resolveFor passes a worker's requests on to the kernel.
func (r *Router) resolveFor(ctx context.Context, w *Worker) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.requests.bell:
			w.requests.drain(func(n *fib.Neighbor) { r.ask(*n) })
		}
	}
}

// ask makes the kernel resolve a neighbour, or probe one that it has not heard of for a while; at most once a second
// for each.
func (r *Router) ask(n fib.Neighbor) {
	r.mu.Lock()
	s := r.running
	if s == nil || int(n.Port) >= len(s.ifindex) || time.Since(r.neighbors.asked[n]) < askAgain {
		r.mu.Unlock()
		return
	}
	if len(r.neighbors.asked) < adjacenciesMax {
		r.neighbors.asked[n] = time.Now()
	}
	ifindex := s.ifindex[n.Port]
	_, had := r.neighbors.entries[kernelNeighbor{n.Addr, ifindex}]
	i, listed := s.snap.Adjacencies.Find(n)
	gateway := listed && s.gateway(i) && !s.snap.Adjacencies.At(i).Static
	crowded := !had && !gateway && r.neighbors.incomplete[n.Addr.Is4()] >= incompleteMax
	r.mu.Unlock()
	if ifindex == 0 || crowded {
		return // ifindex 0: a VLAN that the kernel does not have: its neighbours are static
	}
	err := use(n.Addr, ifindex, gateway)
	if err != nil {
		r.log.Debug("kernel does not resolve", zap.Stringer("neighbour", n.Addr), zap.Error(err))
	}
}

// askForGateways resolves the gateways of all routes before the first packet needs them. r.mu must be held.
func (r *Router) askForGateways(s *setup) {
	all := s.snap.Adjacencies
	for i := range s.gateways() {
		if a := all.At(i); a.State != fib.Resolved {
			n := a.Neighbor
			go r.ask(n)
		}
	}
}

// refresh has the kernel probe neighbours that it holds for stale, or has forgotten, although packets went to them within
// the last seconds: it does not see those packets, and would never notice that the neighbour is gone. Gateways that it
// has forgotten it is asked for anew, and those that are lost, which get no packets that would ask for them.
func (r *Router) refresh() {
	r.mu.Lock()
	for n, at := range r.neighbors.asked {
		if time.Since(at) > askAgain {
			delete(r.neighbors.asked, n)
		}
	}
	s := r.running
	if s == nil {
		r.mu.Unlock()
		return
	}
	forgotten := make(map[kernelNeighbor]bool)
	for n, since := range r.neighbors.kept {
		if int(n.Port) >= len(s.ifindex) {
			delete(r.neighbors.kept, n)
		} else if time.Since(since) > keepMax {
			forgotten[kernelNeighbor{n.Addr, s.ifindex[n.Port]}] = true
		}
	}
	r.neighborsChanged(forgotten)
	r.tellGateways(s)
	due := s.lostGateways()
	all := s.snap.Adjacencies
	for i := range uint32(all.Len()) {
		n := all.At(i).Neighbor // of a vacant index: none, which has no entry
		if !n.Addr.IsValid() || all.At(i).Static {
			continue
		}
		e, exists := r.neighbors.entries[kernelNeighbor{n.Addr, s.ifindex[n.Port]}]
		switch {
		case !exists && s.gateway(i), !exists && r.inUse(i), e.state&netlink.NUD_STALE != 0 && r.inUse(i):
			due = append(due, n)
		}
	}
	r.mu.Unlock()
	for _, n := range due {
		r.ask(n)
	}
}

// ownChanged follows the kernel's addresses.
func (r *Router) ownChanged(addrs []netip.Addr) {
	err := r.steer.SetOwn(addrs)
	r.mu.Lock()
	if err != nil {
		r.fail("follow own addresses", err)
	}
	r.misfit = true // one that the configuration gives may be gone
	r.mu.Unlock()
	r.refit()
}
