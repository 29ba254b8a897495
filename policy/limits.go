package policy

import "time"

// ICMPLimits bound the ICMP errors that a worker sends (RFC 1812 section 4.3.2.8, RFC 4443 section 2.4 (f)).
type ICMPLimits struct {
	Port   Rate // about what comes in on one port
	Sender Rate // to one sender, but for those about the MTU, which path MTU discovery needs
}

// Rate is a token bucket. The zero Rate is no limit.
type Rate struct {
	PerSecond uint32 // 0: no limit
	Burst     uint32
}

// DefaultICMPLimits are Linux's: for the whole host 1,000 a second in bursts of 50 (net.ipv4.icmp_msgs_per_sec, icmp_msgs_burst),
// and to one sender one a second in bursts of 6 (net.ipv4.icmp_ratelimit, XRLIM_BURST_FACTOR).
var DefaultICMPLimits = ICMPLimits{Port: Rate{1000, 50}, Sender: Rate{1, 6}}

// Interval is the time that a token takes to come.
func (r Rate) Interval() time.Duration { return time.Second / time.Duration(r.PerSecond) }
