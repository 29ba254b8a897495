package ssh

import (
	"hash/maphash"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// admission decides which connections may try to authenticate. A source has a bounded rate and a bounded number of them; when
// all places are taken, the newcomer gets the place of the one that has been silent longest, and where none is silent, of one
// drawn by lot. So somebody who fills the places and never authenticates loses them, and who authenticates at once is rarely the
// one drawn.
type admission struct {
	limits Limits
	seed   maphash.Seed

	mu       sync.Mutex
	waiting  []*waiting
	order    uint64 // of the last one
	bySource map[netip.Prefix]int
	rates    [ratesMax]bucket
	refused  uint64 // since it was last asked
}

// ratesMax is how many sources are told apart, by a hash.
const ratesMax = 4096

// bucket is a token bucket that fills by itself.
type bucket struct {
	tokens float64
	at     time.Time // zero: full
}

// waiting is a connection that is not authenticated yet.
type waiting struct {
	net.Conn
	source netip.Prefix
	order  uint64      // of arrival
	heard  atomic.Bool // it has sent something
	index  int         // in admission.waiting; -1: it has left
}

// Read notes that the client says something.
func (w *waiting) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	if n > 0 && !w.heard.Load() {
		w.heard.Store(true)
	}
	return n, err
}

func newAdmission(limits Limits) *admission {
	return &admission{limits: limits, seed: maphash.MakeSeed(), bySource: map[netip.Prefix]int{}}
}

// sourceOf is what counts as one source: an IPv4 address, or an IPv6 network of 64 bits.
func sourceOf(address net.Addr) netip.Prefix {
	at, err := netip.ParseAddrPort(address.String())
	if err != nil {
		return netip.Prefix{}
	}
	addr := at.Addr().Unmap().WithZone("")
	bits := 64
	if addr.Is4() {
		bits = 32
	}
	return netip.PrefixFrom(addr, bits).Masked()
}

// enter gives a connection a place, or refuses it. Call leave when it is authenticated or closed.
func (a *admission) enter(connection net.Conn) (w *waiting, ok bool) {
	w = &waiting{Conn: connection, source: sourceOf(connection.RemoteAddr())}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.bySource[w.source] >= a.limits.WaitingPerSource || !a.spend(w.source, time.Now()) {
		a.refused++
		return nil, false
	}
	if len(a.waiting) >= a.limits.Waiting {
		drawn := a.draw()
		a.remove(drawn)
		drawn.Close()
		a.refused++
	}
	a.order++
	w.order, w.index = a.order, len(a.waiting)
	a.waiting = append(a.waiting, w)
	a.bySource[w.source]++
	return w, true
}

// draw returns the one whose place a newcomer gets.
func (a *admission) draw() (drawn *waiting) {
	for _, w := range a.waiting {
		if !w.heard.Load() && (drawn == nil || w.order < drawn.order) {
			drawn = w
		}
	}
	if drawn == nil {
		drawn = a.waiting[rand.IntN(len(a.waiting))]
	}
	return drawn
}

// spend takes a token of the source's.
func (a *admission) spend(source netip.Prefix, now time.Time) bool {
	b := &a.rates[maphash.Comparable(a.seed, source)%ratesMax]
	if b.at.IsZero() {
		b.tokens = a.limits.Burst
	} else {
		b.tokens = min(a.limits.Burst, b.tokens+a.limits.Rate*now.Sub(b.at).Seconds())
	}
	b.at = now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

func (a *admission) leave(w *waiting) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.remove(w)
}

func (a *admission) remove(w *waiting) {
	if w.index < 0 {
		return
	}
	last := a.waiting[len(a.waiting)-1]
	last.index = w.index
	a.waiting[w.index] = last
	a.waiting = a.waiting[:len(a.waiting)-1]
	w.index = -1
	if a.bySource[w.source]--; a.bySource[w.source] == 0 {
		delete(a.bySource, w.source)
	}
}

// closeAll ends all that wait.
func (a *admission) closeAll() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, w := range a.waiting {
		w.Close()
	}
}

// takeRefused returns how many connections were refused, or lost their place, since it was last called.
func (a *admission) takeRefused() (n uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	n, a.refused = a.refused, 0
	return n
}
