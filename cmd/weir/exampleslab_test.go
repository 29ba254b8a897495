package main

import (
	"fmt"
	"maps"
	"net/netip"
	"path/filepath"
	"testing"

	"github.com/gopacket/gopacket/layers"

	"weir/policy"
	"weir/policy/packet"
)

// stage is the laboratory of an example: a host behind each netdev, which has the addresses of the gateways there and
// of those who send and receive on the link.
type stage struct {
	*network
	example
	rest string // of the configuration: neighbours that cannot be resolved here
}

// newStage builds the laboratory that an example needs.
func newStage(t *testing.T, x example) *stage {
	var ends []endOptions
	for _, p := range x.Policy.Ports {
		if p.VLAN == 0 {
			ends = append(ends, endOptions{name: p.Name, bare: true})
		}
	}
	s := &stage{network: newNetworkOf(t, ends...), example: x}
	on := make([]map[netip.Addr]bool, len(x.Policy.Ports))
	for i := range on {
		on[i] = make(map[netip.Addr]bool)
	}
	for _, table := range x.Policy.Tables {
		for _, route := range table.Routes {
			for _, hop := range route.Hops {
				if hop.Gateway.IsValid() {
					on[hop.Port][hop.Gateway] = true
				}
			}
		}
	}
	for _, e := range x.list {
		k := must[packet.Key](t)(x.Snapshot.ParsePacket(e.packet))
		for port := range on {
			for _, p := range x.Policy.Ports[port].Addresses {
				if port == int(k.Ingress) && p.Contains(k.SrcAddr()) {
					on[port][k.SrcAddr()] = true
				}
				if x.Policy.Ports[port].Name == e.port && p.Contains(k.DstAddr()) {
					on[port][k.DstAddr()] = true
				}
			}
		}
	}
	for port, addrs := range on {
		for addr := range addrs {
			s.settleIn(uint16(port), addr)
		}
	}
	if s.rest != "" {
		s.rest = "\nneighbors:\n" + s.rest
	}
	for _, e := range s.ends {
		e.watch()
	}
	return s
}

// settleIn gives the host behind a port an address. Behind a VLAN the router is told of the host's MAC address: this
// kernel's own 802.1Q may be missing, and then nobody answers ARP there.
func (s *stage) settleIn(port uint16, addr netip.Addr) {
	s.t.Helper()
	p, e := &s.Policy.Ports[port], s.endOf(port)
	if p.VLAN != 0 {
		s.rest += fmt.Sprintf("  - {address: %q, port: %s, mac: %q}\n", addr, p.Name, e.mac())
		return
	}
	for _, subnet := range p.Addresses {
		if subnet.Contains(addr) {
			need(s.t, e.AddAddress(hostPort, netip.PrefixFrom(addr, subnet.Bits()).String()))
			return
		}
	}
	s.t.Fatalf("%s is not in a subnet of %s", addr, p.Name)
}

// endOf is the host behind a port.
func (s *stage) endOf(port uint16) *end {
	for i := range s.Policy.Ports {
		if p := &s.Policy.Ports[i]; p.VLAN == 0 && p.Device == s.Policy.Ports[port].Device {
			return s.end(p.Name)
		}
	}
	s.t.Fatalf("port %d has no device", port)
	return nil
}

// spec is a frame's, for the packet of an expectation.
func (s *stage) spec(k *packet.Key, id uint32) spec {
	o := spec{
		src: k.SrcAddr(), dst: k.DstAddr(), proto: layers.IPProtocol(k.Proto), sport: k.SrcPort, dport: k.DstPort, tos: k.TOS, ttl: k.TTL,
		flow: k.FlowLabel, df: k.DontFragment, fragment: k.Fragment, flags: &k.TCPFlags, id: id,
	}
	header := 20
	if k.Family == packet.IPv6 {
		header = 40
	}
	switch {
	case k.Fragment == packet.FragmentLater:
	case k.Proto == packet.ProtoICMP || k.Proto == packet.ProtoICMPv6:
		o.icmp = uint16(k.ICMPType)<<8 | uint16(k.ICMPCode)
		o.reply = o.icmp == 0
		header += 8
	case k.Proto == packet.ProtoUDP:
		header += 8
	case k.Proto == packet.ProtoTCP:
		header += 20
	}
	o.payload = int(k.Length) - header
	if vlan := s.Policy.Ports[k.Ingress].VLAN; vlan != 0 {
		o.tags = []uint16{vlan}
	}
	return o
}

// frame builds the packet of an expectation, and checks that the router will see in it what explain was told.
func (s *stage) frame(k *packet.Key, id uint32) []byte {
	s.t.Helper()
	frame := s.endOf(k.Ingress).frame(s.spec(k, id))
	got, want := parsed(s.t, frame), *k
	got.Ingress, got.L4, got.Tags, got.VLAN = k.Ingress, 0, 0, [2]uint16{}
	if got != want {
		s.t.Fatalf("the frame is %+v, expected %+v", got, want)
	}
	return frame
}

// answer tells the packets that answer the packet k, whose id they have if they are ICMP errors: a reset, or one of
// those.
func answers(k *packet.Key, decision *policy.Explanation, id uint32) func(frame []byte) bool {
	return func(frame []byte) bool {
		var got packet.Key
		if packet.Parse(frame, &got) != packet.None || got.Dst != k.Src {
			return false
		}
		if decision.Reset {
			return got.Proto == packet.ProtoTCP && got.TCPFlags&packet.TCPReset != 0 && got.Src == k.Dst && got.SrcPort == k.DstPort && got.DstPort == k.SrcPort
		}
		return is(id)(frame) && got.ICMPType == decision.ICMP.Type && got.ICMPCode == decision.ICMP.Code && got.Src != k.Dst
	}
}

// leaves tells the frames that are the packet k, on its way out as decided.
func (s *stage) leaves(k *packet.Key, decision *policy.Explanation, id uint32) func(frame []byte) bool {
	vlan := uint16(0)
	for _, p := range s.Policy.Ports {
		if p.Name == decision.Port {
			vlan = p.VLAN
		}
	}
	return func(frame []byte) bool {
		if !is(id)(frame) {
			return false
		}
		got := parsed(s.t, frame)
		return got.Src == k.Src && got.Dst == k.Dst && got.VLAN[0] == vlan && got.TOS == decision.TOS && got.TTL == k.TTL-1
	}
}

// TestExamplesOnTheWire sends the packets of every example through weir, which runs it: each leaves where it should, or
// comes to the right end, and the router has counted just that.
func TestExamplesOnTheWire(t *testing.T) {
	for _, file := range exampleFiles(t) {
		t.Run(filepath.Base(file), func(t *testing.T) {
			s := newStage(t, loadExample(t, file))
			w := s.start(string(s.Text) + s.rest)
			drops, generated := make(map[string]uint64), uint64(0)
			seen := make(map[uint32]int) // how often each packet, or an error about it, must be seen
			for i := range s.list {
				e, id := &s.list[i], uint32(i)
				k := must[packet.Key](t)(s.Snapshot.ParsePacket(e.packet))
				decision := s.Snapshot.Explain(&k)
				if err := e.differs(decision); err != nil {
					t.Fatalf("line %d: %v", e.line, err)
				}
				from := s.endOf(k.Ingress)
				from.send(s.frame(&k, id))
				what := fmt.Sprintf("outcome of line %d: %s", e.line, e.text)
				if decision.Reason != "" {
					drops[decision.Reason]++
				}
				switch {
				case decision.Verdict == "forward":
					s.endOf(s.port(decision.Port)).frames.await(t, what, s.leaves(&k, &decision, id))
					seen[id] = 1
				case decision.Reset:
					from.frames.await(t, what, answers(&k, &decision, id))
					generated++
				case decision.ICMP != nil:
					from.frames.await(t, what, answers(&k, &decision, id))
					generated++
					seen[id] = 1
				case decision.Verdict != "drop" && decision.Verdict != "blackhole":
					t.Errorf("line %d: no wire can show %s", e.line, decision.Verdict)
				}
			}
			state := w.rest()
			if !maps.Equal(state.Totals.Drops, drops) || state.Totals.Generated != generated {
				t.Errorf("dropped %v, sent %d errors; expected %v and %d", state.Totals.Drops, state.Totals.Generated, drops, generated)
			}
			for i, e := range s.list {
				id, n := uint32(i), 0
				for _, end := range s.ends {
					n += end.frames.having(id)
				}
				if n != seen[id] {
					t.Errorf("line %d: seen %d times, expected %d: %s", e.line, n, seen[id], e.text)
				}
			}
		})
	}
}

// port is the index of a port.
func (s *stage) port(name string) uint16 {
	for i, p := range s.Policy.Ports {
		if p.Name == name {
			return uint16(i)
		}
	}
	s.t.Fatalf("no port %s", name)
	return 0
}
