package appliance

import (
	"hash/maphash"
	"time"

	"weir/policy"
)

// bucket is a token bucket. The zero bucket is full.
type bucket struct {
	tokens int64 // in ns of waiting: an error costs the rate's interval
	filled int64 // when, ns; 0: never
}

// has fills the bucket and reports whether there is a token in it.
func (b *bucket) has(r policy.Rate, now int64) bool {
	if r.PerSecond == 0 {
		return true
	}
	interval := int64(r.Interval())
	full := int64(r.Burst) * interval
	if b.filled == 0 {
		b.tokens = full
	}
	b.tokens = min(full, b.tokens+now-b.filled)
	b.filled = now
	return b.tokens >= interval
}

// spend takes a token that is there.
func (b *bucket) spend(r policy.Rate) {
	if r.PerSecond != 0 {
		b.tokens -= int64(r.Interval())
	}
}

// errorBuckets limit the ICMP errors and TCP resets about what comes in on each port (RFC 1812 section 4.3.2.8, RFC 4443
// section 2.4 (f)). Linux's limit is for the whole host; ours is by port and worker.
type errorBuckets struct{ buckets [256]bucket }

func (b *errorBuckets) of(port uint16) *bucket { return &b.buckets[port%uint16(len(b.buckets))] }

// senders is what a worker remembers of those that it sent errors to: a table of fixed size, in which a new one takes the
// place of that of its set which was not sent to for the longest time. Who has many addresses can have the others
// forgotten; the limit of the port is there for that.
type senders struct {
	seed maphash.Seed
	sets [1024][4]sender
}

// sender is one of them. The zero sender is nobody.
type sender struct {
	addr      [16]byte
	bucket    bucket
	told      int64 // when the latest redirect was sent, or was due to one who heeds none, ns; 0: never
	redirects uint8 // that it was sent
}

func newSenders() *senders { return &senders{seed: maphash.MakeSeed()} }

// find returns the sender of that address.
func (t *senders) find(addr *[16]byte) *sender {
	set := &t.sets[maphash.Bytes(t.seed, addr[:])%uint64(len(t.sets))]
	oldest := &set[0]
	for i := range set {
		s := &set[i]
		if s.addr == *addr {
			return s
		}
		if max(s.bucket.filled, s.told) < max(oldest.bucket.filled, oldest.told) {
			oldest = s
		}
	}
	*oldest = sender{addr: *addr}
	return oldest
}

// Redirects to one sender, as Linux's (ip_rt_send_redirect in net/ipv4/route.c: ip_rt_redirect_load, _number, _silence):
// each at least twice as long after the one before; a sender that heeds none of nine is left alone until it has
// sent nothing to be redirected for 20 s.
const (
	redirectPause   = 20 * time.Millisecond
	redirectsMax    = 9
	redirectSilence = redirectPause << (redirectsMax + 1)
)

// redirect reports whether the sender may be sent a redirect now, and counts it as sent.
func (s *sender) redirect(now int64) bool {
	if s.told == 0 || now > s.told+int64(redirectSilence) {
		s.redirects = 0
	}
	if s.redirects >= redirectsMax {
		s.told = now
		return false
	}
	if s.redirects > 0 && now <= s.told+int64(redirectPause)<<s.redirects {
		return false
	}
	s.told = now
	s.redirects++
	return true
}
