package oracle

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"weir/fib"
	"weir/policy"
	"weir/policy/packet"
)

// Rule attributes that x/sys does not have (include/uapi/linux/fib_rules.h).
const (
	fraIPProto       = 22
	fraSportRange    = 23
	fraDportRange    = 24
	fraDSCP          = 25
	fraFlowLabel     = 26
	fraFlowLabelMask = 27
	fraSportMask     = 28
	fraDportMask     = 29
	fraDSCPMask      = 30
)

// Header of a rule, struct fib_rule_hdr, whose layout is that of struct rtmsg: flag and actions.
const (
	ruleInvert = 2 // FIB_RULE_INVERT

	actionTable       = 1 // FR_ACT_TO_TBL
	actionGoto        = 2
	actionNop         = 3
	actionBlackhole   = 6
	actionUnreachable = 7
	actionProhibit    = 8
)

var ruleActions = [...]uint8{
	policy.RuleLookup:      actionTable,
	policy.RuleGoto:        actionGoto,
	policy.RuleNop:         actionNop,
	policy.RuleBlackhole:   actionBlackhole,
	policy.RuleUnreachable: actionUnreachable,
	policy.RuleProhibit:    actionProhibit,
}

var routeTypes = [...]uint8{
	fib.Unicast:     unix.RTN_UNICAST,
	fib.Local:       unix.RTN_LOCAL,
	fib.Throw:       unix.RTN_THROW,
	fib.Blackhole:   unix.RTN_BLACKHOLE,
	fib.Unreachable: unix.RTN_UNREACHABLE,
	fib.Prohibit:    unix.RTN_PROHIBIT,
}

// kernel is the routing of one namespace: rules and tables as a description has them.
type kernel struct {
	*routeSocket
	router  *router
	ifindex []int // by port
	names   []int // port by ifindex
	undo    []message
}

func newKernel(t testing.TB, r *router) *kernel {
	t.Helper()
	check(t, r.EnableForwarding())
	k := &kernel{routeSocket: openRouteSocket(t, r.Host), router: r}
	for i := range ports {
		index := must[int](t)(r.Index(ports[i].Name))
		k.ifindex = append(k.ifindex, index)
		for len(k.names) <= index {
			k.names = append(k.names, -1)
		}
		k.names[index] = i
	}
	for i, r := range policy.DefaultRules(tableLocal, tableMain, tableDefault) {
		for _, f := range families(&r) {
			k.undo = append(k.undo, removeRule(f, []uint32{0, 32766, 32767}[i]))
		}
	}
	return k
}

// configure replaces what was configured before.
func (k *kernel) configure(t testing.TB, d *description) {
	t.Helper()
	k.must(t, k.undo, d)
	k.undo = nil
	k.checkSources(t, d)
	var add []message
	for i := range d.Rules {
		r := &d.Rules[i]
		for _, f := range families(r) {
			add = append(add, k.rule(d, r, f))
			k.undo = append(k.undo, removeRule(f, r.Priority))
		}
	}
	for i := range d.Tables {
		for j := range d.routes(i) {
			r := &d.routes(i)[j]
			add = append(add, k.route(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_ACK, d.Tables[i].ID, r))
			k.undo = append(k.undo, k.route(unix.RTM_DELROUTE, unix.NLM_F_ACK, d.Tables[i].ID, r))
		}
	}
	k.must(t, add, d)
}

// must ends the test if the kernel refuses one of the requests.
func (k *kernel) must(t testing.TB, requests []message, d *description) {
	t.Helper()
	replies, err := k.do(requests)
	check(t, err)
	for i, r := range replies {
		if r.errno != 0 {
			t.Fatalf("kernel refuses request %d of %d: %v (%s)\n%x\n%s", i, len(requests), r.errno, r.why, []byte(requests[i]), d)
		}
	}
}

// familyOf is the kernel's number of a family.
func familyOf(f uint8) uint8 {
	if f == packet.IPv4 {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// removeRule removes the first rule of a priority: the kernel looks only at what a request has.
func removeRule(family uint8, priority uint32) message {
	return newMessage(unix.RTM_DELRULE, unix.NLM_F_ACK, []byte{familyOf(family), 11: 0}).u32(unix.FRA_PRIORITY, priority)
}

func (k *kernel) rule(d *description, r *policy.Rule, family uint8) message {
	s := &r.Match
	var flags uint32
	if r.Not {
		flags |= ruleInvert
	}
	bitsOf := func(p netip.Prefix) uint8 {
		if !p.IsValid() {
			return 0
		}
		return uint8(p.Bits())
	}
	header := []byte{familyOf(family), bitsOf(s.To), bitsOf(s.From), 0, 0, 0, 0, ruleActions[r.Action]}
	if s.HasTOS {
		header[3] = s.TOS
	}
	m := newMessage(unix.RTM_NEWRULE, unix.NLM_F_CREATE|unix.NLM_F_ACK, binary.NativeEndian.AppendUint32(header, flags))
	m = m.u32(unix.FRA_PRIORITY, r.Priority)
	if bitsOf(s.To) != 0 {
		m = m.addr(unix.FRA_DST, s.To.Addr())
	}
	if bitsOf(s.From) != 0 {
		m = m.addr(unix.FRA_SRC, s.From.Addr())
	}
	switch {
	case s.HasIngress && s.IngressLo:
		m = m.text(unix.FRA_IIFNAME, "lo")
	case s.HasIngress:
		m = m.text(unix.FRA_IIFNAME, d.Ports[s.Ingress].Name)
	}
	if s.HasMark {
		m = m.u32(unix.FRA_FWMARK, s.Mark).u32(unix.FRA_FWMASK, s.MarkMask)
	}
	if s.HasDSCP {
		m = m.u8(fraDSCP, s.DSCP)
		if s.DSCPMask != 63 {
			m = m.u8(fraDSCPMask, s.DSCPMask)
		}
	}
	if s.HasProto {
		m = m.u8(fraIPProto, s.Proto)
	}
	m = portRule(m, &s.Sport, fraSportRange, fraSportMask)
	m = portRule(m, &s.Dport, fraDportRange, fraDportMask)
	if s.HasFlow {
		m = m.be32(fraFlowLabel, s.FlowLabel).be32(fraFlowLabelMask, s.FlowMask)
	}
	switch r.Action {
	case policy.RuleGoto:
		m = m.u32(unix.FRA_GOTO, r.Goto)
	case policy.RuleLookup:
		m = m.u32(unix.FRA_TABLE, d.Tables[r.Table].ID)
		if r.SuppressPrefixLength >= 0 {
			m = m.u32(unix.FRA_SUPPRESS_PREFIXLEN, uint32(r.SuppressPrefixLength))
		}
		if r.HasSuppressGroup {
			m = m.u32(unix.FRA_SUPPRESS_IFGROUP, r.SuppressGroup)
		}
	}
	return m
}

func portRule(m message, p *policy.PortMatch, rangeKind, maskKind uint16) message {
	span := func(lo, hi uint16) []byte {
		return binary.NativeEndian.AppendUint16(binary.NativeEndian.AppendUint16(nil, lo), hi)
	}
	switch p.Kind {
	case policy.PortRange:
		return m.bytes(rangeKind, span(p.Lo, p.Hi))
	case policy.PortMask:
		return m.bytes(rangeKind, span(p.Value, p.Value)).u16(maskKind, p.Mask)
	}
	return m
}

// route is a request to add or delete a route. Gateways are said to be on the link, so that no rule or route of the
// configuration has a say in whether they are.
func (k *kernel) route(kind, flags uint16, table uint32, r *fib.Route) message {
	addr := r.Prefix.Addr()
	family := packet.IPv6
	if addr.Is4() {
		family = packet.IPv4
	}
	header := []byte{familyOf(family), uint8(r.Prefix.Bits()), 0, r.TOS, 0, unix.RTPROT_STATIC, unix.RT_SCOPE_UNIVERSE, routeTypes[r.Action], 0, 0, 0, 0}
	oneHop := len(r.Hops) == 1
	if oneHop && !r.Hops[0].OnLink() {
		binary.NativeEndian.PutUint32(header[8:], unix.RTNH_F_ONLINK)
	}
	m := newMessage(kind, flags, header).addr(unix.RTA_DST, addr).u32(unix.RTA_TABLE, table)
	if r.Metric != 0 {
		m = m.u32(unix.RTA_PRIORITY, r.Metric)
	}
	if r.MTU != 0 { // locked, since IPv6 does not heed it otherwise where it forwards
		metrics := message(nil).u32(unix.RTAX_MTU, uint32(r.MTU)).u32(unix.RTAX_LOCK, 1<<unix.RTAX_MTU)
		m = m.bytes(unix.RTA_METRICS, metrics)
	}
	if oneHop {
		h := &r.Hops[0]
		if !h.OnLink() {
			m = m.addr(unix.RTA_GATEWAY, h.Gateway)
		}
		return m.u32(unix.RTA_OIF, uint32(k.ifindex[h.Port]))
	}
	if len(r.Hops) > 1 {
		var list []byte
		for i := range r.Hops {
			list = append(list, k.nextHop(&r.Hops[i])...)
		}
		m = m.bytes(unix.RTA_MULTIPATH, list)
	}
	return m
}

// nextHop is a struct rtnexthop with its attributes.
func (k *kernel) nextHop(h *fib.NextHop) []byte {
	b := message{0, 0, 0, uint8(max(h.Weight, 1) - 1)}
	b = binary.NativeEndian.AppendUint32(b, uint32(k.ifindex[h.Port]))
	if !h.OnLink() {
		b[2] = unix.RTNH_F_ONLINK
		b = b.addr(unix.RTA_GATEWAY, h.Gateway)
	}
	binary.NativeEndian.PutUint16(b, uint16(len(b)))
	return b
}

// neighbors makes permanent entries, one request each.
func (k *kernel) neighbors(t testing.TB, list []policy.StaticNeighbor) {
	t.Helper()
	var requests []message
	for i := range list {
		n := &list[i]
		family := packet.IPv6
		if n.Neighbor.Addr.Is4() {
			family = packet.IPv4
		}
		header := make([]byte, 12) // struct ndmsg
		header[0] = familyOf(family)
		binary.NativeEndian.PutUint32(header[4:], uint32(k.ifindex[n.Neighbor.Port]))
		binary.NativeEndian.PutUint16(header[8:], unix.NUD_PERMANENT)
		requests = append(requests, newMessage(unix.RTM_NEWNEIGH, unix.NLM_F_CREATE|unix.NLM_F_REPLACE|unix.NLM_F_ACK, header).
			addr(unix.NDA_DST, n.Neighbor.Addr).bytes(unix.NDA_LLADDR, n.MAC[:]))
	}
	k.must(t, requests, newDescription(false))
}

// hop is a way out as the kernel tells it.
type hop struct {
	port    int
	gateway netip.Addr
}

// answer is what the kernel decided on a packet: errno, or the route that it found.
type answer struct {
	errno  unix.Errno
	kind   uint8 // RTN_UNICAST …
	table  uint32
	bits   uint8
	tos    uint8
	metric uint32
	hops   []hop
}

// parseRoute reads a struct rtmsg with its attributes.
func (k *kernel) parseRoute(r *reply) answer {
	if r.errno != 0 {
		return answer{errno: r.errno}
	}
	a := answer{bits: r.data[1], tos: r.data[3], table: uint32(r.data[4]), kind: r.data[7]}
	list := attributes(r.data[unix.SizeofRtMsg:])
	word := func(kind uint16) uint32 {
		if b := list[kind]; len(b) == 4 {
			return binary.NativeEndian.Uint32(b)
		}
		return 0
	}
	if list[unix.RTA_TABLE] != nil {
		a.table = word(unix.RTA_TABLE)
	}
	a.metric = word(unix.RTA_PRIORITY)
	add := func(ifindex uint32, gateway []byte) {
		h := hop{port: -1}
		if int(ifindex) < len(k.names) {
			h.port = k.names[ifindex]
		}
		h.gateway, _ = netip.AddrFromSlice(gateway)
		a.hops = append(a.hops, h)
	}
	if list[unix.RTA_OIF] != nil && list[unix.RTA_MULTIPATH] == nil {
		add(word(unix.RTA_OIF), list[unix.RTA_GATEWAY])
	}
	for b := list[unix.RTA_MULTIPATH]; len(b) >= unix.SizeofRtNexthop; {
		length := int(binary.NativeEndian.Uint16(b))
		add(binary.NativeEndian.Uint32(b[4:]), attributes(b[unix.SizeofRtNexthop:length])[unix.RTA_GATEWAY])
		b = b[min(len(b), (length+3)&^3):]
	}
	return a
}

// has reports whether the packet may take this way.
func (a *answer) has(h hop) bool { return slices.Contains(a.hops, h) }

// dscpOf makes a request's byte of a packet's: the kernel refuses ECN bits there.
func dscpOf(tos uint8) uint8 { return tos &^ 3 }
