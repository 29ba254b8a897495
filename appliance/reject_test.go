package appliance

import (
	"net/netip"
	"testing"
	"time"

	"weir/policy"
	"weir/policy/packet"
)

// TestErrorBuckets: a burst of 50, then one a millisecond, for each port by itself.
func TestErrorBuckets(t *testing.T) {
	var b errorBuckets
	count := func(port uint16, now time.Duration) (n int) {
		for b.take(port, int64(now)) {
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

// TestErrorSource: an address of the port that the packet came in on, rather of the sender's network.
func TestErrorSource(t *testing.T) {
	ports := []policy.Port{
		{Addresses: []netip.Prefix{prefix("192.0.2.1/24")}},
		{Addresses: []netip.Prefix{prefix("10.0.0.1/24"), prefix("10.0.1.1/24"), prefix("fd00::1/64"), prefix("fd01::1/64")}},
		{},
	}
	for _, c := range []struct {
		port   uint16
		sender string
		want   string // empty: none
	}{
		{1, "10.0.0.9", "10.0.0.1"}, {1, "10.0.1.9", "10.0.1.1"}, {1, "203.0.113.1", "10.0.0.1"},
		{1, "fd01::9", "fd01::1"}, {1, "2001:db8::1", "fd00::1"}, {0, "10.0.0.9", "192.0.2.1"}, {0, "fd00::9", ""}, {2, "10.0.0.9", ""},
	} {
		sender := addr("%s", c.sender)
		k := packet.Key{Ingress: c.port, Src: sender.As16(), Family: packet.IPv6}
		if sender.Is4() {
			k.Family = packet.IPv4
		}
		got, ok := errorSource(ports, &k)
		if ok != (c.want != "") || ok && got != addr("%s", c.want) {
			t.Errorf("port %d, sender %s: %v %v, expected %q", c.port, c.sender, got, ok, c.want)
		}
	}
}
