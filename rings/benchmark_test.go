package rings

import (
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// BenchmarkQueue is the cost of the rings alone: one batch received, transmitted, completed and refilled, by memory that
// no kernel looks at. The kernel's part is four stores of an index.
func BenchmarkQueue(b *testing.B) {
	const ring, frames = 2048, 8192
	u := memoryUMEM(frames, 2048)
	q, k := memoryQueue(u, ring)
	q.Refill()
	// Chunks return in the order in which they left, so that the entries that the kernel would write are always the same.
	for i := range uint32(ring) {
		addr := k.fill.get(i)
		k.rx.put(i, unix.XDPDesc{Addr: addr + unix.XDP_PACKET_HEADROOM, Len: 60})
		k.comp.put(i, addr+unix.XDP_PACKET_HEADROOM)
	}
	var batch Batch
	b.ReportAllocs()
	for b.Loop() {
		atomic.StoreUint32(k.fill.cons, q.fill.next-ring+BatchSize)
		k.rx.publish(BatchSize)
		n := q.Receive(&batch)
		q.Transmit(batch.Frames[:n])
		atomic.StoreUint32(k.tx.cons, q.tx.next)
		k.comp.publish(BatchSize)
		q.Complete()
		q.Refill()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/BatchSize, "ns/frame")
	if q.Pending() != 0 || q.Stats().Received != q.Stats().Completed {
		b.Fatalf("%+v, %d pending", q.Stats(), q.Pending())
	}
	wantCensus(b, u, frames-ring, 0)
}

// BenchmarkIdle is what a worker pays for each queue that has nothing to do.
func BenchmarkIdle(b *testing.B) {
	q, _ := memoryQueue(memoryUMEM(4096, 2048), 2048)
	q.Refill()
	var batch Batch
	b.ReportAllocs()
	for b.Loop() {
		q.Complete()
		q.Refill()
		q.Receive(&batch)
		q.Kick()
	}
}
