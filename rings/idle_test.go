package rings

import (
	"testing"
	"time"
)

// TestIdlerNeverSpinsUnasked: without a spin time it sleeps at once, whatever it has learnt.
func TestIdlerNeverSpinsUnasked(t *testing.T) {
	var i Idler
	for now := range int64(1000) {
		if !i.ShouldSleep(now) {
			t.Fatalf("spins at %d", now)
		}
		i.Slept(1)
	}
}

// TestIdler: it spins after a sleep that spinning would have been as good as, for as long as it may, and not again soon
// once that was in vain.
func TestIdler(t *testing.T) {
	const spin = 20 * time.Microsecond
	i := Idler{Spin: spin}
	now := int64(1e9)
	if !i.ShouldSleep(now) {
		t.Fatal("spins before it has learnt that it pays")
	}
	i.Slept(time.Millisecond)
	if !i.ShouldSleep(now) {
		t.Fatal("spins after a long sleep")
	}
	i.Slept(spin / 2)
	for range 3 { // packets come while it spins: each spin may take its time
		if i.ShouldSleep(now) || i.ShouldSleep(now+int64(spin)-1) {
			t.Fatal("sleeps although a spin would pay")
		}
		i.Busy()
		now += int64(time.Second)
	}
	if i.ShouldSleep(now) {
		t.Fatal("sleeps although a spin would pay")
	}
	if !i.ShouldSleep(now + int64(spin)) {
		t.Fatal("spins for longer than it may")
	}
	sleeps := 0
	for ; i.ShouldSleep(now) && sleeps < 10*sobriety; sleeps++ {
		i.Slept(1)
	}
	if sleeps != sobriety+1 { // the last one is what it learns from
		t.Errorf("%d sleeps after a vain spin, expected %d", sleeps, sobriety+1)
	}
}
