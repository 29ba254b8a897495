package oracle

import (
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"weir/policy"
	"weir/policy/packet"
)

// checkSources gives some ports of a configuration reverse-path checks.
func (g *generator) checkSources(d *description) {
	for i := range d.Ports {
		d.Ports[i].ReversePath = pick(g, policy.ReverseOff, policy.ReverseLoose, policy.ReverseStrict)
		d.Ports[i].SourceMark = g.one(2)
	}
}

// reversePathSysctls are the kernel's settings for a port's check. Values are those of net.ipv4.conf.*.rp_filter, for which
// the largest of the port's and that of all ports counts; the latter is 0 here.
func reversePathSysctls(p *policy.Port) [2][2]string {
	filter := [...]string{policy.ReverseOff: "0", policy.ReverseStrict: "1", policy.ReverseLoose: "2"}
	mark := "0"
	if p.SourceMark {
		mark = "1"
	}
	conf := "net/ipv4/conf/" + p.Name + "/"
	return [2][2]string{{conf + "rp_filter", filter[p.ReversePath]}, {conf + "src_valid_mark", mark}}
}

// checkSources makes the kernel do the checks of a configuration.
func (k *kernel) checkSources(t testing.TB, d *description) {
	t.Helper()
	for i := range d.Ports {
		for _, s := range reversePathSysctls(&d.Ports[i]) {
			check(t, k.router.SetSysctl(s[0], s[1]))
		}
	}
}

// compareWaysBack asks the kernel for the way back of each IPv6 packet whose source weir checks, since it does not check it
// itself, and holds weir's check to the answer.
func (k *kernel) compareWaysBack(t *testing.T, d *description, s *policy.Snapshot, probes []probe, counts map[string]int) {
	t.Helper()
	unchecked := *d // with the same links down
	unchecked.Ports = ports
	plain := unchecked.compile(t)
	var asked []*decision
	var requests []message
	for i := range probes {
		p := &probes[i]
		there := decide(&unchecked, plain, p, p.key(t))
		c := decide(d, s, p, p.key(t))
		if p.src.Is4() || p.src.IsLinkLocalUnicast() || !c.checked() || there.v.Port == policy.None {
			if c.v.Reason == packet.ReversePath && !p.src.Is4() {
				t.Errorf("a source is checked that should not be\n%s", c)
			}
			continue
		}
		back := *p
		back.src, back.dst, back.sport, back.dport = p.dst, p.src, p.dport, p.sport
		back.ingress, back.mark = int(there.v.Port), 0
		if d.Ports[p.ingress].SourceMark {
			back.mark = p.mark
		}
		if x, ok := different(decide(&unchecked, plain, &back, back.key(t)), asksKernel); ok {
			counts["way back not compared: "+x.name]++
			continue
		}
		asked = append(asked, c)
		requests = append(requests, k.getRoute(&back))
	}
	replies, err := k.do(requests)
	check(t, err)
	for i, c := range asked {
		got := k.parseRoute(&replies[i])
		fits := got.errno == 0 && got.kind == unix.RTN_UNICAST
		if c.d.Ports[c.p.ingress].ReversePath == policy.ReverseStrict {
			by := false
			for _, h := range got.hops {
				by = by || h.port == c.p.ingress
			}
			fits = fits && by
		}
		if fits == (c.v.Reason == packet.ReversePath) {
			t.Errorf("the kernel's way back: %+v (%s)\n%s", got, replies[i].why, c)
			return
		}
		counts["way back fits: "+strconv.FormatBool(fits)]++
	}
}
