package oracle

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"weir/perf/lab"
	"weir/policy"
)

// linux is a kernel that routes, with wires at its ports.
type linux struct {
	*kernel
	*wires
	next  uint32             // number of the next packet
	marks bool               // it gives packets marks by the MAC address that they come from
	spent map[netip.Addr]int // ICMP errors sent, by IPv4 address
}

func newLinux(t testing.TB, l *lab.Lab, name string) *linux {
	t.Helper()
	r := newRouter(t, l, name)
	k := &linux{kernel: newKernel(t, r), wires: openWires(t, r), spent: map[netip.Addr]int{}}
	k.neighbors(t, neighbors)
	k.marks = setMarks(t, r)
	return k
}

// markMAC is the address of the neighbour whose packets get a mark.
func markMAC(mark uint32) []byte {
	return []byte{2, 0xdd, byte(mark >> 24), byte(mark >> 16), byte(mark >> 8), byte(mark)}
}

// setMarks makes the kernel mark what comes in by its source MAC address. It is false where there is no nft.
func setMarks(t testing.TB, r *router) bool {
	t.Helper()
	nft, err := exec.LookPath("nft")
	if err != nil {
		return false
	}
	var elements []string
	for _, mark := range markPool {
		elements = append(elements, fmt.Sprintf("%s : 0x%x", net.HardwareAddr(markMAC(mark)), mark))
	}
	rules := "table inet oracle {\nchain marks {\ntype filter hook prerouting priority mangle\n" +
		"meta mark set ether saddr map { " + strings.Join(elements, ", ") + " }\n}\n}\n"
	p := must[*lab.Process](t)(r.Start(testContext(t), lab.Command{Name: nft, Args: []string{"-f", "-"}, Stdin: strings.NewReader(rules)}))
	if err := p.Wait(); err != nil {
		t.Fatalf("set marks: %v: %s", err, p.Output())
	}
	return true
}

// errorsMost is how many ICMP errors Linux sends to an IPv4 address at once; a second later it sends one more (ip_error in
// net/ipv4/route.c).
const errorsMost = 5

// trial is a packet on its way through a router.
type trial struct {
	*decision
	id    uint32 // no other packet of the run has it
	frame []byte
}

// trials draws packets, and leaves out those that are not compared: what becomes of them is not always over before the
// next configuration.
func (k *linux) trials(t *testing.T, g *generator, d *description, of asks, packets int, counts map[string]int) []*trial {
	t.Helper()
	s := d.compile(t)
	var list []*trial
	for range packets {
		p := g.wireProbe()
		if of == asksWeir || !k.marks {
			p.mark = 0
		}
		c := decide(d, s, &p, p.key(t))
		if why, ok := different(c, of); ok {
			counts["not compared: "+why.name]++
			continue
		}
		if p.src.Is4() && c.v.Action == policy.Reject {
			if k.spent[p.src] == errorsMost {
				counts["not compared: enough errors sent there"]++
				continue
			}
			k.spent[p.src]++
		}
		k.next++
		x := &trial{c, k.next, p.frame(k.next)}
		if of == asksLinux {
			copy(x.frame[6:], markMAC(p.mark))
		}
		list = append(list, x)
	}
	return list
}

// TestLinux sends packets through a kernel that routes.
func TestLinux(t *testing.T) {
	k := newLinux(t, lab.ForTest(t), "linux")
	if !k.marks {
		t.Log("without marks: nft is not installed")
	}
	counts := map[string]int{}
	series(t, 100, 100, func(t *testing.T, number, packets int, r *rand.Rand) {
		g := newWireGenerator(r, number)
		d := g.description(reserve)
		k.configure(t, d)
		list := k.trials(t, g, d, asksLinux, packets, counts)
		seen := k.exchange(t, list)
		for i, x := range list {
			e := x.expect(x.frame)
			if problem := e.disagrees(x.decision, seen[i]); problem != "" {
				t.Errorf("%s\nsent %x\nLinux %v\nweir  %v\n%+v\n%s", problem, x.frame, seen[i], e.frames, *x.p, x.decision)
				return
			}
			counts[x.s.Explain(&x.key).Verdict]++
		}
	})
	t.Logf("decisions: %v", counts)
}
