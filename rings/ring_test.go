package rings

import (
	"math"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// ringMemory is what the two sides of a ring share.
type ringMemory[T uint64 | unix.XDPDesc] struct {
	prod, cons, flags uint32
	desc              []T
}

// newRing makes a ring in ordinary memory whose indices begin at start, and both its sides.
func newRing[T uint64 | unix.XDPDesc](size int, start uint32) (*producer[T], *consumer[T], *ringMemory[T]) {
	m := &ringMemory[T]{prod: start, cons: start, desc: make([]T, size)}
	p := &producer[T]{prod: &m.prod, cons: &m.cons, flags: &m.flags, desc: m.desc, next: start, seen: start}
	c := &consumer[T]{prod: &m.prod, cons: &m.cons, desc: m.desc, next: start, seen: start}
	return p, c, m
}

// TestRingTwin drives a ring from both sides and compares it with a slice. Most runs begin shortly before the indices
// wrap around.
func TestRingTwin(t *testing.T) {
	t.Run("addresses", func(t *testing.T) {
		twinRing(t, func(n uint64) uint64 { return n })
	})
	t.Run("descriptors", func(t *testing.T) {
		twinRing(t, func(n uint64) unix.XDPDesc {
			return unix.XDPDesc{Addr: n, Len: uint32(n) ^ 0x5555, Options: uint32(n) + 7}
		})
	})
}

func twinRing[T uint64 | unix.XDPDesc](t *testing.T, value func(uint64) T) {
	rapid.Check(t, func(t *rapid.T) {
		size := uint32(1) << rapid.IntRange(0, 6).Draw(t, "size")
		start := rapid.OneOf(rapid.Uint32Range(math.MaxUint32-100, math.MaxUint32), rapid.Uint32()).Draw(t, "start")
		p, c, _ := newRing[T](int(size), start)
		var queue []T // the twin
		var unpublished []T
		written := uint64(0)
		t.Repeat(map[string]func(*rapid.T){
			"room": func(t *rapid.T) {
				free := size - uint32(len(queue))
				want := rapid.Uint32Range(0, size+1).Draw(t, "want")
				got := p.room(want)
				if got > free || got < min(want, free) {
					t.Fatalf("room(%d) = %d of %d free", want, got, free)
				}
			},
			"put": func(t *rapid.T) {
				n := rapid.Uint32Range(0, p.room(size)).Draw(t, "n")
				unpublished = unpublished[:0]
				for i := range n {
					written++
					p.put(i, value(written))
					unpublished = append(unpublished, value(written))
				}
				if got := c.available(size); got != uint32(len(queue)) {
					t.Fatalf("%d available before publish, want %d", got, len(queue))
				}
				p.publish(n)
				queue = append(queue, unpublished...)
			},
			"take": func(t *rapid.T) {
				most := rapid.Uint32Range(0, size+1).Draw(t, "max")
				n := c.available(most)
				if want := min(most, uint32(len(queue))); n != want {
					t.Fatalf("available(%d) = %d, want %d", most, n, want)
				}
				n = rapid.Uint32Range(0, n).Draw(t, "n")
				for i := range n {
					if got := c.get(i); got != queue[i] {
						t.Fatalf("entry %d is %v, want %v", i, got, queue[i])
					}
				}
				c.release(n)
				queue = queue[n:]
			},
			"drained": func(t *rapid.T) {
				if got, want := p.drained(), len(queue) == 0; got != want {
					t.Fatalf("drained is %v with %d entries", got, len(queue))
				}
			},
		})
	})
}

// TestRingConcurrent has one goroutine write what another reads, as the kernel and a worker do. With -race it is also
// the proof that the two index words order all other accesses.
func TestRingConcurrent(t *testing.T) {
	const entries, size = 1_000_000, 64
	p, c, _ := newRing[unix.XDPDesc](size, math.MaxUint32-entries/2)
	go func() {
		for n := uint64(0); n < entries; {
			room := min(p.room(uint32(n%17)+1), uint32(entries-n))
			if room == 0 {
				runtime.Gosched()
				continue
			}
			for i := range room {
				p.put(i, unix.XDPDesc{Addr: n + uint64(i), Len: uint32(n) + i})
			}
			p.publish(room)
			n += uint64(room)
		}
	}()
	for n := uint64(0); n < entries; {
		got := c.available(uint32(n%23) + 1)
		if got == 0 {
			runtime.Gosched()
			continue
		}
		for i := range got {
			want := n + uint64(i)
			if d := c.get(i); d.Addr != want || d.Len != uint32(want) {
				t.Fatalf("entry %d is %+v", want, d)
			}
		}
		c.release(got)
		n += uint64(got)
	}
	if n := c.available(size); n != 0 {
		t.Errorf("%d entries more than were written", n)
	}
	if !p.drained() {
		t.Error("the producer does not see that all was read")
	}
}

// TestRingCaching: the shared index is looked at only where the cached one does not promise enough.
func TestRingCaching(t *testing.T) {
	p, c, m := newRing[uint64](8, 0)
	p.publish(4)
	c.available(8)
	m.cons, m.prod = 3, 6 // the other side moves on
	if got := p.room(4); got != 4 {
		t.Errorf("room(4) = %d: it looked although 4 were known to be free", got)
	}
	if got := p.room(5); got != 7 {
		t.Errorf("room(5) = %d, want 7", got)
	}
	if got := c.available(4); got != 4 {
		t.Errorf("available(4) = %d", got)
	}
	if c.seen != 4 {
		t.Error("available looked although 4 were known")
	}
	if got := c.available(5); got != 5 {
		t.Errorf("available(5) = %d", got)
	}
}

func TestNeedWakeup(t *testing.T) {
	p, _, m := newRing[uint64](8, 0)
	if p.needWakeup() {
		t.Error("without a flag")
	}
	m.flags = unix.XDP_RING_NEED_WAKEUP
	if !p.needWakeup() {
		t.Error("with the flag")
	}
	m.flags = ^uint32(unix.XDP_RING_NEED_WAKEUP)
	if p.needWakeup() {
		t.Error("with every other flag")
	}
}
