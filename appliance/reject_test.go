package appliance

import (
	"testing"
	"time"

	"weir/policy"
)

// TestErrorBuckets: a burst of 50, then one a millisecond, for each port by itself.
func TestErrorBuckets(t *testing.T) {
	var b errorBuckets
	count := func(port uint16, now time.Duration) (n int) {
		for b.of(port).has(policy.DefaultICMPLimits.Port, int64(now)) {
			b.of(port).spend(policy.DefaultICMPLimits.Port)
			n++
		}
		return n
	}
	for _, c := range []struct {
		port uint16
		at   time.Duration
		want int
	}{
		{0, time.Hour, 50}, {0, time.Hour, 0}, {0, time.Hour + 999*time.Microsecond, 0}, {0, time.Hour + time.Millisecond, 1},
		{1, time.Hour, 50}, {0, time.Hour + 11*time.Millisecond, 10}, {0, 2 * time.Hour, 50}, {1, time.Hour + 5500*time.Microsecond, 5},
		{1, time.Hour + 6*time.Millisecond, 1},
	} {
		if got := count(c.port, c.at); got != c.want {
			t.Errorf("port %d at %v: %d errors, expected %d", c.port, c.at, got, c.want)
		}
	}
}

// TestSenders: each sender has a limit of its own, a burst of 6 and then one a second. The table is of fixed size: a new
// one takes the place of whoever was not sent to for the longest time.
func TestSenders(t *testing.T) {
	table := newSenders()
	rate := policy.DefaultICMPLimits.Sender
	count := func(address string, now time.Duration) (n int) {
		a := addr("%s", address).As16()
		for s := table.find(&a); s.bucket.has(rate, int64(now)); n++ {
			s.bucket.spend(rate)
		}
		return n
	}
	for _, c := range []struct {
		sender string
		at     time.Duration
		want   int
	}{
		{"10.0.0.1", time.Hour, 6}, {"10.0.0.1", time.Hour, 0}, {"10.0.0.2", time.Hour, 6}, {"fd00::1", time.Hour, 6},
		{"10.0.0.1", time.Hour + 999*time.Millisecond, 0}, {"10.0.0.1", time.Hour + time.Second, 1},
		{"10.0.0.1", time.Hour + 3500*time.Millisecond, 2}, {"10.0.0.1", time.Hour + time.Minute, 6},
	} {
		if got := count(c.sender, c.at); got != c.want {
			t.Errorf("sender %s at %v: %d errors, expected %d", c.sender, c.at, got, c.want)
		}
	}
	if s := (policy.Rate{}); !(&bucket{}).has(s, 1) {
		t.Error("no limit has no token")
	}

	// Many others: the table keeps the latest of each set, and the one that is always in use.
	kept := addr("10.0.0.1").As16()
	now := int64(2 * time.Hour)
	for i := range 100_000 {
		now++
		a := addr("172.%d.%d.%d", 16+i>>16, i>>8&255, i&255).As16()
		table.find(&a).bucket.has(rate, now)
		if s := table.find(&kept); i > 0 && s.bucket.filled != now-1 {
			t.Fatalf("after %d others it is forgotten", i)
		}
		table.find(&kept).bucket.has(rate, now)
	}
	if n := testing.AllocsPerRun(100, func() { now++; table.find(&kept).bucket.has(rate, now) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestRedirectPauses: a sender that heeds none is sent nine, ever more seldom, and no more until it has been silent.
func TestRedirectPauses(t *testing.T) {
	var s sender
	now, last, sent := int64(time.Hour), int64(0), 0
	for range 60_000 { // a minute, packet by packet
		now += int64(time.Millisecond)
		if s.redirect(now) {
			if pause := int64(redirectPause) << sent; sent > 0 && now-last <= pause {
				t.Errorf("redirect %d comes %v after the one before", sent, time.Duration(now-last))
			}
			last, sent = now, sent+1
		}
	}
	if sent != redirectsMax {
		t.Errorf("%d redirects, expected %d", sent, redirectsMax)
	}
	if now += int64(redirectSilence) + 1; !s.redirect(now) || s.redirect(now) {
		t.Error("after the silence: not one")
	}
}
