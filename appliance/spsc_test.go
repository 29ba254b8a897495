package appliance

import (
	"testing"
)

// TestSPSC: everything arrives once and in order, through a queue that is full most of the time; with -race, writing a
// slot and reading it never overlap.
func TestSPSC(t *testing.T) {
	q := newSPSC[[4]int](8)
	const total = 200_000
	go func() {
		for n := 0; n < total; {
			s := q.slot()
			if s == nil {
				continue
			}
			*s = [4]int{n, n, n, n}
			q.commit()
			n++
		}
	}()
	for next := 0; next < total; {
		<-q.bell // whoever has heard it finds all that was put before it was rung
		q.drain(func(v *[4]int) {
			if *v != [4]int{next, next, next, next} {
				t.Fatalf("got %v, expected %d", *v, next)
			}
			next++
		})
	}
	if len(q.bell) > 0 {
		<-q.bell
	}
	q.drain(func(v *[4]int) { t.Errorf("too much: %v", *v) })
}

// TestSPSCFull: a full queue refuses, and has room again once it was drained; also where the indexes overflow.
func TestSPSCFull(t *testing.T) {
	q := newSPSC[int](4)
	q.head.Store(^uint32(0) - 5)
	q.tail.Store(^uint32(0) - 5)
	for range 5 {
		put := 0
		for s := q.slot(); s != nil; s = q.slot() {
			*s = put
			q.commit()
			put++
		}
		if put != 4 {
			t.Fatalf("room for %d of 4", put)
		}
		got := 0
		q.drain(func(v *int) {
			if *v != got {
				t.Errorf("got %d, expected %d", *v, got)
			}
			got++
		})
		if got != 4 {
			t.Fatalf("drained %d", got)
		}
	}
}

func BenchmarkSPSC(b *testing.B) {
	q := newSPSC[int](256)
	take := func(*int) {}
	b.ReportAllocs()
	for b.Loop() {
		*q.slot() = 1
		q.commit()
		q.drain(take)
	}
}
