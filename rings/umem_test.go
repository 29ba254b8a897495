package rings

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"pgregory.net/rapid"
)

// memoryUMEM is a UMEM that no socket knows.
func memoryUMEM(frames, frameSize int) *UMEM {
	o := UMEMOptions{Frames: frames, FrameSize: frameSize, RingSize: 64}
	return newUMEM(make([]byte, frames*frameSize), &o, func() error { return nil }, "memory")
}

func (c *Census) sum() int {
	n := c.Free + c.Worker
	for _, q := range c.Queue {
		n += q
	}
	return n
}

func TestUMEMOptions(t *testing.T) {
	const frameSize, ringSize = "must be 2048 or 4096", "must be a power of two of at least 64"
	good := UMEMOptions{Frames: 256, FrameSize: 2048, RingSize: 128}
	for _, c := range []struct {
		change func(*UMEMOptions)
		want   string
	}{
		{func(*UMEMOptions) {}, ""},
		{func(o *UMEMOptions) { o.FrameSize = 4096 }, ""},
		{func(o *UMEMOptions) { o.RingSize = 64 }, ""},
		{func(o *UMEMOptions) { o.ZeroCopy, o.HugePages = true, true }, ""},
		{func(o *UMEMOptions) { o.Opener = OpenOwn; o.ZeroCopy = true }, ""},
		{func(o *UMEMOptions) { o.FrameSize = 0 }, "frame size 0: " + frameSize},
		{func(o *UMEMOptions) { o.FrameSize = 2047 }, "frame size 2047: " + frameSize},
		{func(o *UMEMOptions) { o.FrameSize = 8192 }, "frame size 8192: " + frameSize},
		{func(o *UMEMOptions) { o.RingSize = 32 }, "ring size 32: " + ringSize},
		{func(o *UMEMOptions) { o.RingSize = 96 }, "ring size 96: " + ringSize},
		{func(o *UMEMOptions) { o.RingSize = -64 }, "ring size -64: " + ringSize},
		{func(o *UMEMOptions) { o.Frames = 255 }, "255 frames: must be at least twice the ring size"},
		{func(o *UMEMOptions) { o.Opener = OpenLibrary; o.ZeroCopy = true }, "asavie/xdp opens neither zero-copy sockets nor hugepage memory"},
		{func(o *UMEMOptions) { o.Opener = OpenLibrary; o.HugePages = true }, "asavie/xdp opens neither zero-copy sockets nor hugepage memory"},
		{func(o *UMEMOptions) { *o = UMEMOptions{} }, "frame size 0: " + frameSize + "\nring size 0: " + ringSize},
		{func(o *UMEMOptions) { o.FrameSize, o.RingSize, o.Frames = 1, 100, 7 },
			"frame size 1: " + frameSize + "\nring size 100: " + ringSize + "\n7 frames: must be at least twice the ring size"},
	} {
		o := good
		c.change(&o)
		got := ""
		if err := o.check(); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%+v:\ngot  %q\nwant %q", o, got, c.want)
		}
	}
}

func TestFrameSizeFor(t *testing.T) {
	for _, c := range []struct {
		mtu, size int
		err       string
	}{
		{68, 2048, ""}, {1500, 2048, ""}, {1770, 2048, ""}, {1771, 4096, ""}, {3818, 4096, ""},
		{3819, 0, "MTU 3819: frames above 3818 bytes are not supported"},
		{9000, 0, "MTU 9000: frames above 3818 bytes are not supported"},
	} {
		size, err := FrameSizeFor(c.mtu)
		if size != c.size || (err == nil) != (c.err == "") || err != nil && err.Error() != c.err {
			t.Errorf("MTU %d: %d, %v", c.mtu, size, err)
		}
		if err == nil && c.mtu > MaxMTU(size) {
			t.Errorf("MTU %d: frames of %d bytes carry %d", c.mtu, size, MaxMTU(size))
		}
	}
}

// TestUMEMTwin takes and returns chunks at random and compares with sets of addresses.
func TestUMEMTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		frames := rapid.IntRange(1, 40).Draw(t, "frames")
		size := rapid.SampledFrom([]int{2048, 4096}).Draw(t, "size")
		u := memoryUMEM(frames, size)
		held := map[uint64]bool{}
		inQueue := map[uint64]uint8{}
		list := func() (l []uint64) {
			for i := range frames {
				if addr := uint64(i * size); held[addr] {
					l = append(l, addr)
				}
			}
			return l
		}
		t.Repeat(map[string]func(*rapid.T){
			"alloc": func(t *rapid.T) {
				addr, ok := u.Alloc()
				if full := len(held)+len(inQueue) == frames; ok == full {
					t.Fatalf("ok is %v with %d of %d held", ok, len(held)+len(inQueue), frames)
				}
				if !ok {
					return
				}
				if held[addr] || inQueue[addr] != 0 || addr%uint64(size) != 0 || addr >= uint64(frames*size) {
					t.Fatalf("chunk %#x, which is not free", addr)
				}
				held[addr] = true
			},
			"free": func(t *rapid.T) {
				if len(held) == 0 {
					t.Skip()
				}
				addr := rapid.SampledFrom(list()).Draw(t, "chunk")
				u.Free(addr + rapid.Uint64Range(0, uint64(size)-1).Draw(t, "offset"))
				delete(held, addr)
			},
			"give to a queue": func(t *rapid.T) {
				if len(held) == 0 {
					t.Skip()
				}
				addr, id := rapid.SampledFrom(list()).Draw(t, "chunk"), rapid.SampledFrom([]uint8{1, 2, 254}).Draw(t, "queue")
				u.place[addr>>u.shift] = id
				delete(held, addr)
				inQueue[addr] = id
			},
			"reclaim": func(t *rapid.T) {
				id := rapid.SampledFrom([]uint8{1, 2, 254}).Draw(t, "queue")
				u.Reclaim(id)
				for addr, of := range inQueue {
					if of == id {
						delete(inQueue, addr)
					}
				}
			},
			"": func(t *rapid.T) {
				var want Census
				want.Worker, want.Free = len(held), frames-len(held)-len(inQueue)
				for _, id := range inQueue {
					want.Queue[id]++
				}
				if got := u.Census(); got != want || got.sum() != frames || len(u.free) != want.Free {
					t.Fatalf("census: %d free (%d on the stack), %d with the worker, want %d and %d",
						got.Free, len(u.free), got.Worker, want.Free, want.Worker)
				}
			},
		})
	})
}

// TestUMEMPanics: chunks that are not the worker's to give back are a broken invariant.
func TestUMEMPanics(t *testing.T) {
	u := memoryUMEM(4, 2048)
	addr, _ := u.Alloc()
	u.Free(addr + 300)
	wantPanic(t, "free twice", func() { u.Free(addr) })
	wantPanic(t, "free what is free", func() { u.Free(0) })
	wantPanic(t, "free what lies outside", func() { u.Free(4 * 2048) })
	addr, _ = u.Alloc()
	u.place[addr>>u.shift] = 7
	wantPanic(t, "free what a queue has", func() { u.Free(addr) })
	wantPanic(t, "reclaim the free stack", func() { u.Reclaim(placeFree) })
	wantPanic(t, "reclaim the worker's chunks", func() { u.Reclaim(placeWorker) })
	if c := u.Census(); c.Free != 3 || c.Queue[7] != 1 || len(u.free) != 3 {
		t.Errorf("%d free, %d on the stack, %d in the queue", c.Free, len(u.free), c.Queue[7])
	}
}

func TestUMEMBytes(t *testing.T) {
	u := memoryUMEM(4, 2048)
	if u.FrameSize() != 2048 || u.ZeroCopy() {
		t.Errorf("frame size %d, zero-copy %v", u.FrameSize(), u.ZeroCopy())
	}
	f := Frame{Addr: 2*2048 + 256, Len: 60}
	b := u.Bytes(f)
	if len(b) != 60 || cap(b) != 60 || &b[0] != &u.mem[2*2048+256] {
		t.Errorf("bytes: length %d, capacity %d", len(b), cap(b))
	}
	chunk, start := u.Chunk(f)
	if len(chunk) != 2048 || cap(chunk) != 2048 || start != 256 || &chunk[start] != &b[0] {
		t.Errorf("chunk: length %d, capacity %d, start %d", len(chunk), cap(chunk), start)
	}
	last := Frame{Addr: 4*2048 - 1, Len: 1}
	if b := u.Bytes(last); len(b) != 1 || &b[0] != &u.mem[len(u.mem)-1] {
		t.Error("the last byte is another")
	}
	if chunk, start := u.Chunk(last); start != 2047 || &chunk[0] != &u.mem[3*2048] {
		t.Error("the last chunk is another")
	}
	wantPanic(t, "bytes behind the end", func() { u.Bytes(Frame{Addr: 4*2048 - 1, Len: 2}) })
	wantPanic(t, "a chunk behind the end", func() { u.Chunk(Frame{Addr: 4 * 2048}) })
}

// TestRecycle: an identifier is given again only after Recycle, so that a late Reclaim cannot hit a new queue.
func TestRecycle(t *testing.T) {
	u := memoryUMEM(128, 2048)
	u.queues[1] = &Queue{umem: u, ID: 1, fd: -1, Name: "em0", Index: 3}
	if err := u.Close(); err == nil || err.Error() != "close UMEM: queue 3 of em0 is open" {
		t.Errorf("close with a queue open: %v", err)
	}
	u.queues[1], u.closing[1] = nil, true
	if n := u.Queues(); n != 1 {
		t.Errorf("%d queues while one is being closed", n)
	}
	if id, ok := u.identifier(); !ok || id != 2 {
		t.Errorf("identifier %d, %v", id, ok)
	}
	u.Recycle(1)
	if n := u.Queues(); n != 0 {
		t.Errorf("%d queues after the last was recycled", n)
	}
	if id, ok := u.identifier(); !ok || id != 1 {
		t.Errorf("identifier %d, %v", id, ok)
	}
	for id := range u.closing {
		u.closing[id] = true
	}
	if id, ok := u.identifier(); ok {
		t.Errorf("identifier %d though none is left", id)
	}
	check(t, u.Close())
}

// TestMapMemory: huge pages where the machine has them, and a text that says what to do where it has not.
func TestMapMemory(t *testing.T) {
	for _, huge := range []bool{false, true} {
		const size = 3 << 20
		m, pages, err := mapMemory(size, huge)
		check(t, err)
		if len(m) < size {
			t.Errorf("%d bytes", len(m))
		}
		if want := wantPages(t, huge, size); pages != want {
			t.Errorf("huge %v: %q, want %q", huge, pages, want)
		}
		m[0], m[size-1] = 1, 1
		u := UMEM{unmap: func() error { return syscall.Munmap(m) }}
		check(t, u.Close())
	}
}

// wantPages is what memory of a size is said to be backed by on this machine.
func wantPages(tb testing.TB, huge bool, size int) string {
	tb.Helper()
	if !huge {
		return "4 KiB pages"
	}
	const page = 2 << 20
	if freeHugePages(tb) >= (size+page-1)/page {
		return "2 MiB pages"
	}
	return "4 KiB pages (no huge pages free: set vm.nr_hugepages)"
}

func freeHugePages(tb testing.TB) (n int) {
	text, err := os.ReadFile("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages")
	if err != nil {
		return 0 // another architecture, or a kernel without them
	}
	if _, err := fmt.Sscan(strings.TrimSpace(string(text)), &n); err != nil {
		tb.Fatal(err)
	}
	return n
}
