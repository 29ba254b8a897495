package appliance

import (
	"testing"
	"time"
)

// TestIdlerNeverSpinsUnasked: without a spin time it sleeps at once, whatever it has learnt.
func TestIdlerNeverSpinsUnasked(t *testing.T) {
	var i idler
	for now := range int64(1000) {
		if !i.shouldSleep(now) {
			t.Fatalf("spins at %d", now)
		}
		i.slept(1)
	}
}

// TestIdler: it spins after a sleep that spinning would have been as good as, for as long as it may, and not again soon
// once that was in vain.
func TestIdler(t *testing.T) {
	const spin = 20 * time.Microsecond
	i := idler{spin: spin}
	now := int64(1e9)
	if !i.shouldSleep(now) {
		t.Fatal("spins before it has learnt that it pays")
	}
	i.slept(time.Millisecond)
	if !i.shouldSleep(now) {
		t.Fatal("spins after a long sleep")
	}
	i.slept(spin / 2)
	for range 3 { // packets come while it spins: each spin may take its time
		if i.shouldSleep(now) || i.shouldSleep(now+int64(spin)-1) {
			t.Fatal("sleeps although a spin would pay")
		}
		i.busy()
		now += int64(time.Second)
	}
	if i.shouldSleep(now) {
		t.Fatal("sleeps although a spin would pay")
	}
	if !i.shouldSleep(now + int64(spin)) {
		t.Fatal("spins for longer than it may")
	}
	sleeps := 0
	for ; i.shouldSleep(now) && sleeps < 10*sobriety; sleeps++ {
		i.slept(1)
	}
	if sleeps != sobriety+1 { // the last one is what it learns from
		t.Errorf("%d sleeps after a vain spin, expected %d", sleeps, sobriety+1)
	}
}
