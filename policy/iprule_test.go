package policy

import (
	"encoding/binary"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"testing"

	"weir/fib"
	linuxlab "weir/perf/lab"
	"weir/perf/versus"
	"weir/policy/packet"
)

var (
	kernelRounds = flag.Int("iprule.rounds", 3, "rounds of the comparison with the kernel's rules")
	kernelPage   = flag.String("iprule.page", "", "file for the results of the comparison with the kernel's rules")
	kernelRules  = flag.Int("iprule.most", 100, "the most rules of the comparison with the kernel's")
)

// kernelPackets are those of a turn, or fewer where the kernel takes long.
const kernelPackets = 1 << 14

// kernelHops are the next hops, each with a table of its own, that rules lead to in turns.
const kernelHops = 16

// kernelCase is rules, as ip-rule(8) has them, in both, and packets of two kinds: that match none, and that match any.
type kernelCase struct {
	rules   []Selector
	snap    *Snapshot
	kernel  *versus.Kernel
	keys    [2][]packet.Key
	packets [2][]versus.Packet
	took    [2]map[string]versus.Spread
}

// TestAgainstIPRule compares Decide with the kernel's walk through the same rules (bpf_fib_lookup), in turns. It fails if one
// packet has two answers, never for its figures. `make bench-iprule` runs it with more rules and rounds.
func TestAgainstIPRule(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("makes network namespaces: run the test as root")
	}
	versus.Pin(t)
	page := versus.NewPage("Rules: weir and the kernel")
	var cases []*kernelCase
	for _, n := range []int{0, 10, 100, 1000, 4000} {
		if n > *kernelRules {
			break
		}
		c := newKernelCase(t, n)
		for kind := range c.keys {
			c.sameAnswers(t, kind)
			c.compare(kind)
		}
		cases = append(cases, c)
	}
	reportKernel(page, cases)
	page.Conditions("make bench-iprule", [2]string{"rules", "a source /24; half also a destination /16, or a protocol and a port; 16 tables with a default route"},
		[2]string{"packets", fmt.Sprintf("%d, of the kernel's down to 1,024", kernelPackets)})
	page.Publish(t, *kernelPage)
}

func newKernelCase(t *testing.T, n int) *kernelCase {
	c := &kernelCase{}
	rng := rand.New(rand.NewPCG(21, uint64(n)))
	within := func(p netip.Prefix) netip.Addr {
		a := p.Addr().As4()
		binary.BigEndian.PutUint32(a[:], binary.BigEndian.Uint32(a[:])|rng.Uint32()>>p.Bits())
		return netip.AddrFrom4(a)
	}
	everywhere := netip.MustParsePrefix("20.0.0.0/7")
	for i := range n {
		s := Selector{From: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 0}), 24)}
		switch i % 4 {
		case 1:
			s.To = netip.PrefixFrom(within(everywhere), 16).Masked()
		case 2:
			port := uint16(1 + rng.IntN(1000))
			s.HasProto, s.Proto, s.Dport = true, []uint8{packet.ProtoTCP, packet.ProtoUDP}[i/4%2], PortMatch{Kind: PortRange, Lo: port, Hi: port + 10}
		}
		c.rules = append(c.rules, s)
	}

	l := &lab{t: t, Policy: Policy{Hostname: "lab"}}
	l.Ports = []Port{{Name: "em0", MTU: 1500, Addresses: []netip.Prefix{netip.MustParsePrefix("100.64.0.125/25")}}}
	l.defaults()
	route := func(table string, p netip.Prefix, hop int) {
		t := l.table(table)
		t.Routes = append(t.Routes, fib.Route{Prefix: p, Hops: []fib.NextHop{{Gateway: netip.AddrFrom4([4]byte{100, 64, 0, byte(1 + hop)}), Weight: 1}}})
	}
	route("main", everywhere, kernelHops)
	for hop := range kernelHops {
		route(fmt.Sprint("t", hop), netip.MustParsePrefix("0.0.0.0/0"), hop)
	}
	c.kernel = versus.NewKernel(t, []netip.Prefix{everywhere}, []int{kernelHops}, kernelPackets)
	for i, s := range c.rules {
		l.rule(uint32(1+i), fmt.Sprint("lookup t", i%kernelHops), s)
		c.kernel.AddRule(linuxlab.Rule{Priority: 1 + i, From: s.From, To: s.To, Protocol: s.Proto, DportMin: s.Dport.Lo, DportMax: s.Dport.Hi}, i%kernelHops)
	}
	c.snap = l.compile()
	if errs := c.snap.Promote(); errs != nil {
		t.Fatal(errs)
	}
	for kind := range c.keys {
		for range kernelPackets {
			p := versus.Packet{Src: within(netip.MustParsePrefix("11.0.0.0/8")), Dst: within(everywhere), Proto: packet.ProtoUDP, Sport: 9, Dport: 2000}
			if kind == 1 && n > 0 {
				s := &c.rules[rng.IntN(n)]
				if p.Src = within(s.From); s.To.IsValid() {
					p.Dst = within(s.To)
				}
				if s.HasProto {
					p.Proto, p.Dport = s.Proto, s.Dport.Lo
				}
			}
			c.packets[kind] = append(c.packets[kind], p)
			c.keys[kind] = append(c.keys[kind], packet.Key{Family: packet.IPv4, Proto: p.Proto, TTL: 64, Length: 64, L4: 34,
				Src: p.Src.As16(), Dst: p.Dst.As16(), SrcPort: p.Sport, DstPort: p.Dport})
		}
	}
	return c
}

// sameAnswers compares the next hop of every packet.
func (c *kernelCase) sameAnswers(t *testing.T, kind int) {
	c.kernel.UsePackets(c.packets[kind])
	c.kernel.Lookup()
	theirs := c.kernel.Answers()
	verdicts := make([]Verdict, kernelPackets)
	c.snap.Decide(c.keys[kind], verdicts, nil)
	differ := 0
	for i, v := range verdicts {
		ours := versus.NoRoute
		if v.Action == Forward {
			ours = int(c.snap.Adjacencies.At(v.Adjacency).Neighbor.Addr.As4()[3]) - 1
		}
		if ours != theirs[i] || kind == 0 && ours != kernelHops || kind == 1 && len(c.rules) > 0 && ours == kernelHops {
			differ++
		}
	}
	if differ > 0 {
		t.Errorf("%d rules: %d of %d answers differ", len(c.rules), differ, kernelPackets)
	}
}

// compare has them take turns, which are long enough that what a hypervisor takes does not make one nothing.
func (c *kernelCase) compare(kind int) {
	c.took[kind] = map[string]versus.Spread{}
	fewer := min(kernelPackets, max(1024, 1<<22/(64+len(c.rules))))
	c.kernel.UsePackets(c.packets[kind][:fewer])
	verdicts, tally := make([]Verdict, kernelPackets), c.snap.NewTally()
	turn := func(who string, packets int, pass func() (ns int64)) {
		const turnTime = 20e6 // ns
		var ns, passes int64
		for ns < turnTime {
			ns += pass()
			passes++
		}
		c.took[kind][who] = append(c.took[kind][who], float64(ns)/float64(passes*int64(packets)))
	}
	for range *kernelRounds {
		turn("weir", kernelPackets, func() int64 {
			began := versus.ThreadTime()
			for i := 0; i < kernelPackets; i += fib.BatchMax {
				c.snap.Decide(c.keys[kind][i:i+fib.BatchMax], verdicts[i:i+fib.BatchMax], tally)
			}
			return versus.ThreadTime() - began
		})
		turn("kernel", fewer, c.kernel.Lookup)
	}
}

// reportKernel writes the tables. Cases begin with the one without rules.
func reportKernel(page *versus.Page, cases []*kernelCase) {
	last := cases[len(cases)-1]
	page.Line("With %d rules of which none matches, the kernel's lookup takes %.0f times as long as weir's decision (median of %d interleaved rounds). "+
		"Both give every packet the same next hop.", len(last.rules), last.took[0]["kernel"].Per(last.took[0]["weir"]).Median(), len(last.took[0]["weir"]))
	page.Line("")
	page.Line("The kernel is asked by `bpf_fib_lookup`, which walks rules, table and neighbours; weir by `Decide`, which checks addresses, counts hits and finds the MTU besides. Without rules both ask the default ones alone.")
	for kind, title := range []string{"no rule matches", "one matches, any"} {
		page.Table(title+": rules", "weir's Decide, ns", "kernel, ns", "kernel / weir")
		for _, c := range cases {
			weir, kernel := c.took[kind]["weir"], c.took[kind]["kernel"]
			page.Row(fmt.Sprint(len(c.rules)), weir.Text("%.0f"), kernel.Text("%.0f"), kernel.Per(weir).Text("%.1f"))
		}
	}
}
