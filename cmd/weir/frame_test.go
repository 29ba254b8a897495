package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"weir/perf/lab"
	"weir/policy/packet"
)

// spec describes a packet to be built. Zero values: TTL 64, UDP, 32 bytes of payload.
type spec struct {
	src, dst     netip.Addr
	tags         []uint16 // VLAN identifiers, outer first
	proto        layers.IPProtocol
	sport, dport uint16
	icmp         uint16 // type and code; 0: an echo request
	reply        bool   // an echo reply of IPv4, whose type and code are 0
	flags        *uint8 // of TCP; nil: SYN
	seq, ack     uint32 // of TCP
	tos, ttl     uint8
	flow         uint32 // IPv6 flow label
	df           bool
	fragment     packet.Fragment
	id           uint32 // in the payload, behind the magic
	payload      int    // bytes, at least 12
	options      []layers.IPv4Option
}

// magic is in the payload of every packet of a spec, and in errors that quote enough of it.
var magic = []byte("weirtest")

// idOf finds the id of the spec that a frame was built of, or that it quotes.
func idOf(frame []byte) (uint32, bool) {
	i := bytes.Index(frame, magic)
	if i < 0 || len(frame) < i+len(magic)+4 {
		return 0, false
	}
	return binary.BigEndian.Uint32(frame[i+len(magic):]), true
}

// frame builds the Ethernet frame of a spec, from the host of an end to its port of the router.
func (e *end) frame(s spec) []byte { return build(e.n.t, e.mac(), e.portMAC(), s) }

// build builds the frame of a spec.
func build(t testing.TB, from, to net.HardwareAddr, s spec) []byte {
	t.Helper()
	if s.ttl == 0 {
		s.ttl = 64
	}
	if s.proto == 0 {
		s.proto = layers.IPProtocolUDP
	}
	payload := make([]byte, max(s.payload, len(magic)+4, 32*min(1, 1-min(1, s.payload))))
	copy(payload, magic)
	binary.BigEndian.PutUint32(payload[len(magic):], s.id)

	types := []layers.EthernetType{}
	for range s.tags {
		types = append(types, layers.EthernetTypeDot1Q)
	}
	last := layers.EthernetTypeIPv6
	if s.src.Is4() {
		last = layers.EthernetTypeIPv4
	}
	types = append(types, last)
	stack := []gopacket.SerializableLayer{&layers.Ethernet{SrcMAC: from, DstMAC: to, EthernetType: types[0]}}
	for i, id := range s.tags {
		stack = append(stack, &layers.Dot1Q{VLANIdentifier: id, Type: types[i+1]})
	}
	var network gopacket.NetworkLayer
	if s.src.Is4() {
		ip := &layers.IPv4{Version: 4, TOS: s.tos, TTL: s.ttl, Protocol: s.proto, Id: uint16(s.id), SrcIP: s.src.AsSlice(), DstIP: s.dst.AsSlice(), Options: s.options}
		if s.df {
			ip.Flags |= layers.IPv4DontFragment
		}
		switch s.fragment {
		case packet.FragmentFirst:
			ip.Flags |= layers.IPv4MoreFragments
		case packet.FragmentLater:
			ip.FragOffset = 100
		}
		network = ip
		stack = append(stack, ip)
	} else {
		ip := &layers.IPv6{Version: 6, TrafficClass: s.tos, HopLimit: s.ttl, NextHeader: s.proto, FlowLabel: s.flow, SrcIP: s.src.AsSlice(), DstIP: s.dst.AsSlice()}
		network = ip
		stack = append(stack, ip)
		if s.fragment != packet.FragmentNone {
			ip.NextHeader = layers.IPProtocolIPv6Fragment
			header := make([]byte, 8)
			header[0] = byte(s.proto)
			binary.BigEndian.PutUint16(header[2:], 1)
			if s.fragment == packet.FragmentLater {
				binary.BigEndian.PutUint16(header[2:], 100<<3)
			}
			binary.BigEndian.PutUint32(header[4:], s.id)
			stack = append(stack, gopacket.Payload(header))
		}
	}
	switch {
	case s.fragment == packet.FragmentLater: // no L4 header
	case s.proto == layers.IPProtocolUDP:
		udp := &layers.UDP{SrcPort: layers.UDPPort(s.sport), DstPort: layers.UDPPort(s.dport)}
		need(t, udp.SetNetworkLayerForChecksum(network))
		stack = append(stack, udp)
	case s.proto == layers.IPProtocolTCP:
		tcp := &layers.TCP{SrcPort: layers.TCPPort(s.sport), DstPort: layers.TCPPort(s.dport), Seq: s.seq, Ack: s.ack, Window: 1000}
		flags := uint8(2) // SYN
		if s.flags != nil {
			flags = *s.flags
		}
		for bit, flag := range []*bool{&tcp.FIN, &tcp.SYN, &tcp.RST, &tcp.PSH, &tcp.ACK, &tcp.URG, &tcp.ECE, &tcp.CWR} {
			*flag = flags>>bit&1 != 0
		}
		need(t, tcp.SetNetworkLayerForChecksum(network))
		stack = append(stack, tcp)
	case s.proto == layers.IPProtocolICMPv4:
		kind := layers.CreateICMPv4TypeCode(layers.ICMPv4TypeEchoRequest, 0)
		if s.icmp != 0 || s.reply {
			kind = layers.ICMPv4TypeCode(s.icmp)
		}
		stack = append(stack, &layers.ICMPv4{TypeCode: kind, Id: 1, Seq: uint16(s.id)})
	case s.proto == layers.IPProtocolICMPv6:
		kind := layers.CreateICMPv6TypeCode(layers.ICMPv6TypeEchoRequest, 0)
		if s.icmp != 0 {
			kind = layers.ICMPv6TypeCode(s.icmp)
		}
		icmp := &layers.ICMPv6{TypeCode: kind}
		need(t, icmp.SetNetworkLayerForChecksum(network))
		stack = append(stack, icmp, gopacket.Payload{0, 1, 0, 2})
	}
	stack = append(stack, gopacket.Payload(payload))
	buffer := gopacket.NewSerializeBuffer()
	need(t, gopacket.SerializeLayers(buffer, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, stack...))
	return bytes.Clone(buffer.Bytes())
}

// capture collects the frames that arrive at a host.
type capture struct {
	socket *lab.FrameSocket

	mu      sync.Mutex
	frames  []lab.Frame
	changed chan struct{} // closed and replaced with every frame
}

// watch opens a socket on the host's interface for sending, and collects what arrives there from now on.
func (e *end) watch() *capture {
	e.n.t.Helper()
	if e.frames != nil {
		return e.frames
	}
	c := &capture{socket: must[*lab.FrameSocket](e.n.t)(e.OpenFrames(hostPort)), changed: make(chan struct{})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			f, err := c.socket.Receive(context.Background())
			if err != nil {
				return
			}
			c.mu.Lock()
			c.frames = append(c.frames, f)
			close(c.changed)
			c.changed = make(chan struct{})
			c.mu.Unlock()
		}
	}()
	e.n.t.Cleanup(func() {
		_ = c.socket.Close()
		<-done
	})
	e.frames = c
	return c
}

// send puts frames on the host's wire.
func (e *end) send(frames ...[]byte) {
	e.n.t.Helper()
	c := e.watch()
	ctx := testContext(e.n.t)
	for _, f := range frames {
		need(e.n.t, c.socket.Send(ctx, f))
	}
}

// sent sends the packets of specs.
func (e *end) sent(specs ...spec) {
	e.n.t.Helper()
	for _, s := range specs {
		e.send(e.frame(s))
	}
}

// all returns what has arrived so far.
func (c *capture) all() []lab.Frame {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.frames[:len(c.frames):len(c.frames)]
}

// await returns the first frame, from the first on, that the condition holds for.
func (c *capture) await(t *testing.T, what string, condition func(frame []byte) bool) []byte {
	t.Helper()
	ctx := testContext(t)
	for seen := 0; ; {
		c.mu.Lock()
		frames, changed := c.frames, c.changed
		c.mu.Unlock()
		for ; seen < len(frames); seen++ {
			if condition(frames[seen].Data) {
				return frames[seen].Data
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatalf("no %s among %d frames", what, len(frames))
		}
	}
}

// is returns the condition that a frame is, or quotes, the packet with the id.
func is(id uint32) func([]byte) bool {
	return func(frame []byte) bool {
		got, ok := idOf(frame)
		return ok && got == id
	}
}

// having counts the frames that have the id.
func (c *capture) having(id uint32) (n int) {
	for _, f := range c.all() {
		if is(id)(f.Data) {
			n++
		}
	}
	return n
}

// settle waits until the router is at rest and everything that it sent has been collected: a packet of each family
// that is sent last to each watching host has arrived there, by the same queues.
func (n *network) settle(w *weir) {
	n.t.Helper()
	w.rest()
	for _, to := range n.ends {
		if to.frames == nil {
			continue
		}
		from := n.ends[0]
		if from == to {
			from = n.ends[1]
		}
		sentinel++
		s := spec{src: from.addr4(), dst: to.addr4(), id: sentinel, proto: 253} // RFC 3692: nobody answers with a port unreachable
		from.send(from.frame(s))
		to.frames.await(n.t, fmt.Sprintf("last packet from %s to %s", from.port, to.port), func(f []byte) bool {
			id, ok := idOf(f)
			return ok && id == s.id
		})
	}
}

var sentinel uint32 = 0xf0000000

// parsed is the Key of a captured frame.
func parsed(t *testing.T, frame []byte) packet.Key {
	t.Helper()
	var k packet.Key
	if reason := packet.Parse(frame, &k); reason != packet.None {
		t.Fatalf("frame %x does not parse: %v", frame, reason)
	}
	return k
}
