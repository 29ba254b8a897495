package appliance

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/vishvananda/netlink"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"weir/fib"
	"weir/perf/lab"
	"weir/policy"
)

// kernelFollows makes the kernel of a namespace, in which the caller is, have a policy, and returns what it took.
func kernelFollows(t testing.TB, p *policy.Policy, ifindex ...int) *kernelSync {
	t.Helper()
	want := kernelPolicy{ifindex: ifindex, generation: 1}
	if p != nil {
		p.KernelRoutes = true
		want.linux = must(policy.Compile(p)).Linux()
	}
	socket, err := openRouteSocket()
	need(t, err)
	k := &kernelSync{routeSocket: socket, want: want, routing: new(sync.RWMutex)}
	need(t, k.run(), socket.close())
	return k
}

// kernelHas lists all rules and routes of the namespace but those that the kernel itself made, and ours as such.
func kernelHas(t testing.TB) (list []string) {
	t.Helper()
	s, err := openRouteSocket()
	need(t, err)
	whose := func(protocol uint8) string {
		return map[uint8]string{kernelProtocol: "ours", unix.RTPROT_KERNEL: "kernel"}[protocol]
	}
	for _, f := range ruleFamilies {
		need(t, s.dumpRoutes(f.kernel, 0, 0, func() {}, func(r *kernelRoute, protocol uint8) {
			if protocol != unix.RTPROT_KERNEL && r.kind != unix.RTN_LOCAL && r.kind != unix.RTN_MULTICAST {
				list = append(list, strings.TrimSpace(fmt.Sprintf("%s route %v kind %d mtu %d hops %v", whose(protocol), &r.kernelRouteKey, r.kind, r.mtu, r.hops)))
			}
		}))
		none := func(m message) message { return m }
		need(t, s.dump(unix.RTM_GETRULE, [unix.SizeofRtMsg]byte{f.kernel}, none, func() {}, func(body []byte) error {
			if r, protocol := parseRule(body, f.packet); protocol != unix.RTPROT_KERNEL {
				list = append(list, strings.TrimSpace(fmt.Sprintf("%s rule %+v", whose(protocol), r)))
			}
			return nil
		}))
	}
	need(t, s.close())
	slices.Sort(list)
	return list
}

func ourPart(list []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return !strings.HasPrefix(s, "ours") })
}

// twoTables is a policy with a port em0, two tables and rules of every kind.
func twoTables() *policy.Policy {
	gateway := func(a string) []fib.NextHop { return []fib.NextHop{{Gateway: netip.MustParseAddr(a)}} }
	p := &policy.Policy{
		Ports: []policy.Port{{Name: "em0", Group: 3, GroupName: "g", Addresses: []netip.Prefix{prefix("192.0.2.1/24"), prefix("2001:db8::1/64")}}},
		Tables: []policy.Table{
			{Name: "local", ID: policy.TableLocal}, {Name: "main", ID: policy.TableMain}, {Name: "default", ID: policy.TableDefault},
			{Name: "x", ID: 100, OnMiss: policy.MissProhibit, Routes: []fib.Route{
				{Prefix: prefix("10.0.0.0/8"), Hops: gateway("192.0.2.2")},
				{Prefix: prefix("10.0.0.0/8"), TOS: 0x10, Metric: 7, MTU: 1300, Hops: gateway("192.0.2.3")},
				{Prefix: prefix("2001:db8:1::/48"), MTU: 1300, Hops: gateway("2001:db8::2")},
				{Prefix: prefix("10.1.0.0/16"), Action: fib.Throw},
				{Prefix: prefix("10.2.0.0/16"), Hops: append(gateway("192.0.2.2"), fib.NextHop{Gateway: addr("192.0.2.3"), Weight: 3})},
				{Prefix: prefix("2001:db8:2::/48"), Hops: append(gateway("2001:db8::3"), fib.NextHop{Gateway: addr("2001:db8::2"), Weight: 3})},
			}},
			{Name: "y", ID: 1 << 31, Routes: []fib.Route{{Prefix: prefix("0.0.0.0/0"), Hops: []fib.NextHop{{}}}, {Prefix: prefix("::/0"), Action: fib.Blackhole}}},
		},
	}
	p.Tables[0].Routes, p.Tables[1].Routes = policy.ConnectedRoutes(p.Ports)
	p.Rules = policy.DefaultRules(0, 1, 2)
	rule := func(priority uint32, r policy.Rule, m policy.Selector) {
		r.Name, r.Priority, r.Match = fmt.Sprint("r", len(p.Rules)), priority, m
		r.SuppressPrefixLength--
		p.Rules = append(p.Rules, r)
	}
	rule(100, policy.Rule{Table: 3}, policy.Selector{HasGroup: true, Group: 3, HasMark: true, Mark: 0xff, MarkMask: 0x10})
	rule(100, policy.Rule{Table: 4, SuppressPrefixLength: 1, HasSuppressGroup: true, SuppressGroup: 3}, policy.Selector{From: prefix("10.0.0.0/8"), HasDSCP: true, DSCPMask: 63})
	rule(200, policy.Rule{Action: policy.RuleGoto, Goto: 400, Not: true}, policy.Selector{HasProto: true, Proto: 17, Dport: policy.PortMatch{Kind: policy.PortMask, Value: 8, Mask: 0xfff8}})
	rule(200, policy.Rule{Action: policy.RuleUnreachable}, policy.Selector{HasFlow: true, FlowLabel: 5, FlowMask: 15, To: prefix("2001:db8:9::/48")})
	rule(300, policy.Rule{Action: policy.RuleBlackhole}, policy.Selector{HasIngress: true, HasTOS: true, TOS: 0x10, Sport: policy.PortMatch{Kind: policy.PortRange, Lo: 7, Hi: 9}})
	rule(400, policy.Rule{Table: 3}, policy.Selector{Beyond: []policy.Condition{{Field: policy.FieldTTL, Numbers: []policy.Range{{Lo: 1, Hi: 1, Mask: policy.AllBits}}}}})
	rule(32766, policy.Rule{Action: policy.RuleProhibit}, policy.Selector{HasDSCP: true, DSCP: 40, DSCPMask: 56})
	return p
}

// TestKernelRoutes: the kernel has what it is given and says it back as it was; a second pass changes nothing; what is somebody
// else's stays, and is in nobody's way but its like's.
func TestKernelRoutes(t *testing.T) {
	inNamespace(t, func(link netlink.Link) {
		index := link.Attrs().Index
		need(t, netlink.LinkSetUp(link))
		for _, a := range []string{"192.0.2.1/24", "2001:db8::1/64"} {
			need(t, netlink.AddrAdd(link, must(netlink.ParseAddr(a))))
		}
		foreign := func(prefix string, table, metric int, kind int) *netlink.Route {
			_, dst, err := net.ParseCIDR(prefix)
			need(t, err)
			return &netlink.Route{Dst: dst, Table: table, Priority: metric, Type: kind, Protocol: unix.RTPROT_STATIC}
		}
		theirs := foreign("10.9.0.0/16", 100, 0, unix.RTN_BLACKHOLE)
		need(t, netlink.RouteAdd(theirs))
		rule := netlink.NewRule()
		rule.Priority, rule.Table, rule.Family, rule.Protocol = 100, 100, unix.AF_INET, unix.RTPROT_STATIC
		need(t, netlink.RuleAdd(rule))
		before := kernelHas(t)

		p := twoTables()
		k := kernelFollows(t, p, index)
		if len(k.trouble) > 0 {
			t.Fatalf("trouble: %q", k.trouble)
		}
		all := kernelHas(t)
		ours := ourPart(all)
		if k.routes+k.rules != len(ours) || k.changed != len(ours) || k.rules != 12 || k.routes != 10 {
			t.Errorf("%d routes and %d rules by %d changes; the kernel has\n%s", k.routes, k.rules, k.changed, strings.Join(ours, "\n"))
		}
		if k = kernelFollows(t, p, index); k.changed != 0 || len(k.trouble) > 0 {
			t.Errorf("a second pass changes %d; trouble %q", k.changed, k.trouble)
		}

		// Changed: a rule among two of its priority, a route's gateway, another's type. Gone: a route, a rule. New: a route.
		p.Rules[3].Match.Mark = 0
		p.Tables[3].Routes[0].Hops[0].Gateway = addr("192.0.2.77")
		p.Tables[4].Routes[1].Action = fib.Prohibit
		p.Tables[3].Routes[3] = fib.Route{Prefix: prefix("10.8.0.0/16"), Action: fib.Unreachable}
		p.Rules = slices.Delete(p.Rules, 5, 6) // the goto, and with it where it lands
		// Both rules of priority 100 are made anew in IPv4, the one in IPv6; 200 loses one in each family, and has one left in IPv6.
		if k = kernelFollows(t, p, index); k.changed != 2+2+1+1+4+6 || len(k.trouble) > 0 {
			t.Errorf("%d changes, trouble %q", k.changed, k.trouble)
		}
		if k = kernelFollows(t, p, index); k.changed != 0 {
			t.Errorf("then %d more", k.changed)
		}

		// Somebody else has a route of ours: it is told, and it stays; then it goes.
		conflict := foreign("10.7.0.0/16", 100, 0, unix.RTN_PROHIBIT)
		need(t, netlink.RouteAdd(conflict))
		p.Tables[3].Routes = append(p.Tables[3].Routes, fib.Route{Prefix: prefix("10.7.0.0/16"), Action: fib.Blackhole})
		if k = kernelFollows(t, p, index); len(k.trouble) != 1 || !strings.Contains(k.trouble[0], "10.7.0.0/16 metric 0 table 100: somebody else's is there") {
			t.Errorf("conflict: trouble %q", k.trouble)
		}
		if !slices.ContainsFunc(kernelHas(t), func(s string) bool { return strings.HasPrefix(s, "route 10.7.0.0/16") }) {
			t.Error("somebody else's route is gone")
		}
		need(t, netlink.RouteDel(conflict))
		if k = kernelFollows(t, p, index); k.changed != 1 || len(k.trouble) > 0 {
			t.Errorf("after the conflict %d changes, trouble %q", k.changed, k.trouble)
		}

		// Somebody puts one of theirs in front of one of ours, which then changes.
		need(t, netlink.RouteAppend(foreign("10.7.0.0/16", 100, 0, unix.RTN_PROHIBIT)))
		p.Tables[3].Routes[len(p.Tables[3].Routes)-1].Action = fib.Unreachable
		if k = kernelFollows(t, p, index); len(k.trouble) != 1 || !strings.Contains(k.trouble[0], "somebody else has one beside it") {
			t.Errorf("twin: trouble %q", k.trouble)
		}
		need(t, netlink.RouteDel(foreign("10.7.0.0/16", 100, 0, unix.RTN_PROHIBIT)))

		if k = kernelFollows(t, nil); len(k.trouble) > 0 {
			t.Errorf("removal: trouble %q", k.trouble)
		}
		if after := kernelHas(t); !slices.Equal(after, before) {
			t.Errorf("left behind:\n%s\nbefore:\n%s", strings.Join(after, "\n"), strings.Join(before, "\n"))
		}
	})
}

// TestKernelRoutesCodec: what a rule or a route comes back as is what went out, for those that no kernel here can be asked for.
func TestKernelRoutesCodec(t *testing.T) {
	for _, r := range []policy.LinuxRule{
		{Family: 4, Priority: 1<<32 - 1, Action: policy.RuleProhibit, SuppressPrefixLength: -1},
		{Family: 6, Not: true, From: prefix("::ffff:0:0/96"), To: prefix("fe80::/10"), Ingress: "a.123456789012", Mark: 1 << 31, MarkMask: 1<<32 - 1,
			HasDSCP: true, DSCP: 63, DSCPMask: 63, Proto: 255, Sport: policy.PortMatch{Kind: policy.PortRange, Lo: 1, Hi: 65534},
			Dport: policy.PortMatch{Kind: policy.PortMask, Value: 1 << 15, Mask: 1 << 15}, FlowLabel: 0xfffff, FlowMask: 0xfffff, Table: 1<<32 - 1,
			SuppressPrefixLength: 128, HasSuppressGroup: true},
	} {
		body := appendRule(nil, &r)[unix.NLMSG_HDRLEN:]
		if got, protocol := parseRule(body, r.Family); got != r || protocol != kernelProtocol {
			t.Errorf("%+v came back as %+v of %d", r, got, protocol)
		}
	}
	// A kernel with the short end of a message must not break weir.
	whole := appendRule(nil, &policy.LinuxRule{Family: 4, From: prefix("10.0.0.0/8"), Ingress: "em0", SuppressPrefixLength: -1})
	route := kernelRoute{kernelRouteKey: kernelRouteKey{prefix: prefix("10.0.0.0/8"), table: 7}, kind: unix.RTN_UNICAST,
		hops: []kernelHop{{gateway: addr("192.0.2.2"), ifindex: 3, weight: 4}, {ifindex: 5}}}
	encoded := route.append(nil, 0)
	for end := unix.NLMSG_HDRLEN + unix.SizeofRtMsg; end < max(len(whole), len(encoded)); end++ {
		parseRule(bytes.Clone(whole[unix.NLMSG_HDRLEN:min(end, len(whole))]), 4)
		parseKernelRoute(bytes.Clone(encoded[unix.NLMSG_HDRLEN:min(end, len(encoded))]))
	}
	if got, _ := parseKernelRoute(encoded[unix.NLMSG_HDRLEN:]); !got.equal(&route) {
		t.Errorf("%+v came back as %+v", route, got)
	}
}

// TestKernelRoutesNote: the file is there as long as something of ours may be in the kernel, and a later process finds it.
func TestKernelRoutesNote(t *testing.T) {
	dir := t.TempDir()
	inNamespace(t, func(link netlink.Link) {
		need(t, netlink.LinkSetUp(link))
		k, err := openKernelRoutes(dir, new(sync.RWMutex), zap.NewNop())
		need(t, err)
		need(t, k.close(true)) // its goroutine is in another namespace
		p := twoTables()
		p.KernelRoutes = true
		want := kernelPolicy{linux: must(policy.Compile(p)).Linux(), ifindex: []int{link.Attrs().Index}, generation: 1}
		state, err := k.sync(want)
		if err != nil || len(state.Trouble) > 0 || k.left {
			t.Fatalf("%+v, %v, left by another: %v", state, err, k.left)
		}
		later, err := openKernelRoutes(dir, new(sync.RWMutex), zap.NewNop())
		need(t, err)
		if !later.left {
			t.Error("a later process does not find what this one left")
		}
		need(t, later.close(false))
		if left := ourPart(kernelHas(t)); len(left) > 0 {
			t.Errorf("left in the kernel: %q", left)
		}
		if files, _ := filepath.Glob(filepath.Join(dir, "*")); len(files) > 0 {
			t.Errorf("files left: %q", files)
		}
	})
}

// BenchmarkKernelRoutes gives the kernel 100,000 routes, looks whether they are there, and takes them away.
func BenchmarkKernelRoutes(b *testing.B) {
	const routes = 100_000
	l := lab.ForTest(b)
	host, err := l.Host("a")
	need(b, err)
	other, err := l.Host("b")
	need(b, err)
	_, err = l.Link(host, "em0", other, "em0", lab.LinkOptions{})
	need(b, err)
	p := twoTables()
	p.Tables[4].Routes = nil
	for i := range routes / 2 {
		p.Tables[4].Routes = append(p.Tables[4].Routes,
			fib.Route{Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{20, byte(i >> 16), byte(i >> 8), byte(i)}), 32), Hops: []fib.NextHop{{Gateway: addr("192.0.2.2")}}},
			fib.Route{Prefix: netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 0x01, 0xd, 0xb8, 7, byte(i >> 16), byte(i >> 8), byte(i)}), 64), Hops: []fib.NextHop{{Gateway: addr("2001:db8::2")}}})
	}
	need(b, host.Do(func() error {
		link, err := netlink.LinkByName("em0")
		if err != nil {
			return err
		}
		step := func(name string, p *policy.Policy) {
			start := b.Elapsed()
			k := kernelFollows(b, p, link.Attrs().Index)
			if len(k.trouble) > 0 {
				b.Fatal(k.trouble)
			}
			b.ReportMetric((b.Elapsed() - start).Seconds(), name+"-s")
		}
		for b.Loop() {
			step("add", p)
			step("same", p)
			step("remove", nil)
		}
		return nil
	}))
}

// TestKernelRoutesOldKernel: a kernel that overlooks a condition makes another rule of it, which goes again and is told.
func TestKernelRoutesOldKernel(t *testing.T) {
	inNamespace(t, func(netlink.Link) {
		meant := policy.LinuxRule{Family: 4, Priority: 100, HasDSCP: true, DSCP: 46, DSCPMask: 63, Action: policy.RuleProhibit, SuppressPrefixLength: -1}
		fine := policy.LinuxRule{Family: 4, Priority: 200, Action: policy.RuleNop, SuppressPrefixLength: -1}
		overlooked := meant
		overlooked.HasDSCP, overlooked.DSCP, overlooked.DSCPMask = false, 0, 0
		made := []policy.LinuxRule{overlooked, fine}
		socket, err := openRouteSocket()
		need(t, err)
		k := &kernelSync{routeSocket: socket, rules: 2}
		refused, err := k.do(len(made), func(m message, i int) message { return appendRule(m, &made[i]) })
		if err != nil || len(refused) > 0 {
			t.Fatal(refused, err)
		}
		need(t, k.verify([]policy.LinuxRule{meant, fine}, false))
		have, err := k.dumpRules()
		need(t, err, socket.close())
		if len(have) != 1 || have[0] != fine || k.rules != 1 || len(k.trouble) != 1 || !strings.HasPrefix(k.trouble[0], "rule 100: this kernel makes another one of it") {
			t.Errorf("the kernel has %+v, counted %d, trouble %q", have, k.rules, k.trouble)
		}
	})
}
