package mgmt

import "weir/policy"

var (
	icmpKeys = section{name: "icmp", keys: []string{"rate", "burst", "per-destination"}}
	rateKeys = section{name: "per-destination", keys: []string{"rate", "burst"}}
)

// icmpRateMax bounds the ICMP errors a second, and in a burst: far beyond what a router should send, and well within what the
// time of a burst is counted in (ns in 64 bits).
const icmpRateMax = 1_000_000

// decodeICMPLimits reads the limits of the ICMP errors that are sent.
func (d *decoder) decodeICMPLimits(n *node, p *path) {
	limits := &d.policy.ICMP
	d.fields(n, p, &icmpKeys, func(k key, v *node, p *path) {
		if k.text != "per-destination" {
			d.decodeRate(&limits.Port, k, v, p)
			return
		}
		d.fields(v, p, &rateKeys, func(k key, v *node, p *path) { d.decodeRate(&limits.Sender, k, v, p) })
	})
}

// decodeRate reads a part of a rate.
func (d *decoder) decodeRate(r *policy.Rate, k key, v *node, p *path) {
	switch k.text {
	case "rate":
		if rate, ok := d.number(v, p, 0, icmpRateMax); ok {
			r.PerSecond = uint32(rate)
		}
	case "burst":
		if burst, ok := d.number(v, p, 1, icmpRateMax); ok {
			r.Burst = uint32(burst)
		}
	}
}
