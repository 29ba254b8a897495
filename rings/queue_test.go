package rings

import (
	"testing"

	"golang.org/x/sys/unix"
)

// memoryKernel is the other side of a queue whose rings are in ordinary memory.
type memoryKernel struct {
	fill *consumer[uint64]
	rx   *producer[unix.XDPDesc]
	tx   *consumer[unix.XDPDesc]
	comp *producer[uint64]

	fillFlags, txFlags *uint32
}

// memoryQueue makes a queue without a socket; system calls on it fail.
func memoryQueue(u *UMEM, ringSize int) (*Queue, *memoryKernel) {
	fill, kfill, fillMemory := newRing[uint64](ringSize, 0)
	tx, ktx, txMemory := newRing[unix.XDPDesc](ringSize, 0)
	krx, rx, _ := newRing[unix.XDPDesc](ringSize, 0)
	kcomp, comp, _ := newRing[uint64](ringSize, 0)
	q := &Queue{umem: u, fd: -1, ID: 1, Name: "memory", fill: *fill, tx: *tx, rx: *rx, comp: *comp}
	return q, &memoryKernel{kfill, krx, ktx, kcomp, &fillMemory.flags, &txMemory.flags}
}

// receive makes up to n packets arrive, at the headroom that the kernel leaves.
func (k *memoryKernel) receive(n uint32) uint32 {
	n = min(k.fill.available(n), k.rx.room(n))
	for i := range n {
		k.rx.put(i, unix.XDPDesc{Addr: k.fill.get(i) + unix.XDP_PACKET_HEADROOM, Len: 60})
	}
	k.fill.release(n)
	k.rx.publish(n)
	return n
}

// transmit sends up to n packets.
func (k *memoryKernel) transmit(n uint32) uint32 {
	n = min(k.tx.available(n), k.comp.room(n))
	for i := range n {
		k.comp.put(i, k.tx.get(i).Addr)
	}
	k.tx.release(n)
	k.comp.publish(n)
	return n
}

// TestRefillByBatches: the fill ring is written when a batch fits, and a small one before it is empty.
func TestRefillByBatches(t *testing.T) {
	for _, c := range []struct{ ring, least int }{{512, 64}, {128, 64}, {64, 32}} {
		u := memoryUMEM(2*c.ring, 2048)
		q, k := memoryQueue(u, c.ring)
		q.Refill()
		if got := k.receive(uint32(c.least - 1)); int(got) != c.least-1 {
			t.Fatalf("ring of %d: %d received", c.ring, got)
		}
		q.Refill()
		wantCensus(t, u, c.ring, 0)
		k.receive(1)
		q.Refill()
		wantCensus(t, u, c.ring-c.least, 0)
		if s := q.Stats(); s.Kicks != 0 {
			t.Errorf("ring of %d: %d kicks though the kernel asks for none", c.ring, s.Kicks)
		}
	}
}

// TestWakeups: the kernel is told of what is in a ring if it asks, and only when something is.
func TestWakeups(t *testing.T) {
	u := memoryUMEM(256, 2048)
	q, k := memoryQueue(u, 64)
	addr, _ := u.Alloc()
	*k.fillFlags, *k.txFlags = unix.XDP_RING_NEED_WAKEUP, unix.XDP_RING_NEED_WAKEUP
	kicks := func(what string, want uint64) {
		t.Helper()
		if got := q.Stats().Kicks; got != want {
			t.Errorf("%s: %d kicks, want %d", what, got, want)
		}
	}
	q.Refill()
	kicks("a filled ring", 1)
	q.Refill()
	kicks("nothing to fill", 1)
	q.Kick()
	kicks("nothing to send", 1)
	q.Transmit([]Frame{{Addr: addr, Len: 60}})
	q.Kick()
	kicks("a packet", 2)
	*k.txFlags = 0
	q.Kick()
	kicks("the kernel does not ask", 2)
	*k.txFlags = unix.XDP_RING_NEED_WAKEUP
	k.transmit(1)
	q.Kick()
	kicks("sent, not completed", 2)
	if n := q.Complete(); n != 1 || q.Pending() != 0 {
		t.Errorf("%d completed, %d pending", n, q.Pending())
	}
	if e := q.Stats().Errno; e["other"] != 2 || len(e) != 1 { // EBADF, there being no socket
		t.Errorf("errnos: %v", e)
	}
}

// TestErrnoNames: each answer of the kernel has a counter, and what is none has one too.
func TestErrnoNames(t *testing.T) {
	q := &Queue{}
	for i, e := range answers {
		for range i + 1 {
			q.count(e)
		}
	}
	q.count(unix.EPERM)
	want := map[string]uint64{"EAGAIN": 1, "EBUSY": 2, "ENOBUFS": 3, "ENETDOWN": 4, "ENXIO": 5, "EINTR": 6, "other": 8}
	got := q.Stats().Errno
	if len(got) != len(want) {
		t.Errorf("%v", got)
	}
	for name, n := range want {
		if got[name] != n {
			t.Errorf("%s: %d, want %d", name, got[name], n)
		}
	}
}
