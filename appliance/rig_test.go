package appliance

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"go.uber.org/zap"

	"weir/fib"
	"weir/perf/lab"
	"weir/policy"
	"weir/rings"
)

// TestMain fails the run if anything is left when all tests are over.
func TestMain(m *testing.M) {
	code := m.Run()
	if left, err := lab.Leftovers(); os.Geteuid() == 0 && (err != nil || len(left) > 0) {
		fmt.Fprintln(os.Stderr, "left over:", left, err)
		code = 1
	}
	os.Exit(code)
}

// rig is a worker whose rings are real, driven by the test by hand: nobody else runs it. Port i is em0, em1, …, and has
// 10.0.i.1/24 and fd00:0:0:i::1/64; the host behind it, .2 and ::2, is known.
type rig struct {
	t       testing.TB
	lab     *lab.Lab
	host    *lab.Host // the router's
	router  *Router
	w       *Worker
	setup   *setup
	devices []*device
	umems   []*rings.UMEM
	hosts   []*lab.Host
	wires   []*lab.FrameSocket // the hosts' ends
	macs    [][6]byte          // of the hosts
	ports   [][6]byte          // MACs of the router's ports
}

const rigRing = 512

func need(t testing.TB, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func addr(format string, args ...any) netip.Addr {
	return netip.MustParseAddr(fmt.Sprintf(format, args...))
}
func prefix(text string) netip.Prefix { return netip.MustParsePrefix(text) }

// newRig builds it. All ports share one UMEM, or, apart, each has its own.
func newRig(t testing.TB, ports int, apart bool, change func(*policy.Policy)) *rig {
	t.Helper()
	g := &rig{t: t, lab: lab.ForTest(t)}
	var err error
	if g.host, err = g.lab.Host("router"); err != nil {
		t.Fatal(err)
	}
	p := &policy.Policy{ICMP: policy.DefaultICMPLimits}
	for i := range ports {
		h, err := g.lab.Host(fmt.Sprintf("h%d", i))
		need(t, err)
		port := fmt.Sprintf("em%d", i)
		_, err = g.lab.Link(h, "eth0", g.host, port, lab.LinkOptions{NoMerge: true})
		need(t, err)
		wire, err := h.OpenFrames("eth0")
		need(t, err)
		mac, err := h.MAC("eth0")
		need(t, err)
		portMAC, err := g.host.MAC(port)
		need(t, err)
		g.hosts, g.wires, g.macs, g.ports = append(g.hosts, h), append(g.wires, wire), append(g.macs, [6]byte(mac)), append(g.ports, [6]byte(portMAC))
		p.Ports = append(p.Ports, policy.Port{Name: port, Device: uint16(i), MTU: 1500, Mode: "copy",
			Addresses: []netip.Prefix{netip.PrefixFrom(addr("10.0.%d.1", i), 24), netip.PrefixFrom(addr("fd00:0:0:%d::1", i), 64)}})
		for _, a := range []netip.Addr{addr("10.0.%d.2", i), addr("fd00:0:0:%d::2", i)} {
			p.Neighbors = append(p.Neighbors, policy.StaticNeighbor{Neighbor: fib.Neighbor{Addr: a, Port: uint16(i)}, MAC: g.macs[i]})
		}
	}
	local, main := policy.ConnectedRoutes(p.Ports)
	p.Tables = []policy.Table{{Name: "local", ID: policy.TableLocal, Routes: local}, {Name: "main", ID: policy.TableMain, Routes: main}, {Name: "default", ID: policy.TableDefault}}
	p.Rules = policy.DefaultRules(0, 1, 2)
	if change != nil {
		change(p)
	}
	snap, err := policy.Compile(p)
	need(t, err)

	g.router = &Router{log: zap.NewNop(), options: Options{RingSize: rigRing}}
	g.router.neighbors.init()
	if g.w, err = newWorker(g.router, 0, 0); err != nil {
		t.Fatal(err)
	}
	g.router.workers = []*Worker{g.w}
	need(t, g.host.Do(func() error { return g.open(apart) }))
	t.Cleanup(g.close)
	g.setup = newSetup(snap)
	g.setup.devices = g.devices
	for _, port := range snap.Ports {
		g.setup.ifindex = append(g.setup.ifindex, g.devices[port.Device].port.Ifindex)
	}
	g.setup.snap = snap.WithAdjacencies(g.router.resolve(g.setup))
	g.router.running = g.setup
	g.publish()
	need(t, g.router.start(g.setup))
	return g
}

// open opens the rings.
func (g *rig) open(apart bool) error {
	var err error
	if g.router.steer, err = rings.NewSwitch(); err != nil {
		return err
	}
	for i := range g.wires {
		port, err := g.router.steer.OpenPort(fmt.Sprintf("em%d", i), rings.Copy)
		if err != nil {
			return err
		}
		var q *rings.Queue
		if i == 0 || apart {
			var u *rings.UMEM
			o := rings.UMEMOptions{Frames: 8 * rigRing, FrameSize: 2048, RingSize: rigRing}
			if u, q, err = port.OpenUMEM(0, o); err == nil {
				g.umems = append(g.umems, u)
			}
		} else {
			q, err = port.OpenQueue(0, g.umems[0])
		}
		if err != nil {
			return err
		}
		g.devices = append(g.devices, &device{port: port, mode: "copy", queues: []*rings.Queue{q}})
	}
	return nil
}

func (g *rig) close() {
	for _, d := range g.devices {
		err := d.stop()
		need(g.t, err, d.port.CloseQueue(d.queues[0]), d.port.Close())
	}
	for _, u := range g.umems {
		need(g.t, u.Close())
	}
	need(g.t, g.w.poller.Close(), g.router.steer.Close())
}

// publish makes the setup's snapshot the worker's.
func (g *rig) publish() {
	t := &g.router.tallies
	if t.snap == nil {
		t.move(g.setup.snap)
	}
	tallies := t.fresh(g.setup.snap, g.router.workers, g.router.epoch+1)
	g.router.publish(&generation{snap: g.setup.snap, lanes: g.router.lanes(g.setup, nil), tallies: tallies})
	if !g.w.follow() {
		g.t.Fatal("the worker stops")
	}
}

// inject sends frames from the host of a port.
func (g *rig) inject(port int, frames ...[]byte) {
	g.t.Helper()
	for _, f := range frames {
		need(g.t, g.wires[port].Send(context.Background(), f))
	}
}

// forward runs the worker until it has taken n packets from a port.
func (g *rig) forward(port, n int) {
	g.t.Helper()
	in := &g.w.lane.in[port]
	for deadline := time.Now().Add(10 * time.Second); n > 0; {
		n -= g.w.forward(in)
		if time.Now().After(deadline) {
			g.t.Fatalf("%d packets did not come", n)
		}
	}
}

// packetOf describes a UDP packet, or another.
type packetOf struct {
	src, dst string
	ttl      uint8 // 0: 64
	size     int   // of the payload; 0: 32
	df       bool
	tag      uint16
	inner    uint16 // a second one
	breakSum bool
	options  []layers.IPv4Option
}

// frame builds the frame that the host of a port sends to its port.
func (g *rig) frame(port int, p packetOf) []byte {
	g.t.Helper()
	if p.ttl == 0 {
		p.ttl = 64
	}
	if p.size == 0 {
		p.size = 32
	}
	src, dst := netip.MustParseAddr(p.src), netip.MustParseAddr(p.dst)
	eth := &layers.Ethernet{SrcMAC: g.macs[port][:], DstMAC: g.ports[port][:], EthernetType: layers.EthernetTypeIPv4}
	udp := &layers.UDP{SrcPort: 1000, DstPort: 2000}
	var ip gopacket.SerializableLayer
	if src.Is4() {
		h := &layers.IPv4{Version: 4, TTL: p.ttl, Protocol: layers.IPProtocolUDP, SrcIP: src.AsSlice(), DstIP: dst.AsSlice(), Options: p.options}
		if p.df {
			h.Flags = layers.IPv4DontFragment
		}
		need(g.t, udp.SetNetworkLayerForChecksum(h))
		ip = h
	} else {
		eth.EthernetType = layers.EthernetTypeIPv6
		h := &layers.IPv6{Version: 6, HopLimit: p.ttl, NextHeader: layers.IPProtocolUDP, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
		need(g.t, udp.SetNetworkLayerForChecksum(h))
		ip = h
	}
	stack := []gopacket.SerializableLayer{eth}
	if p.tag != 0 {
		stack = append(stack, &layers.Dot1Q{VLANIdentifier: p.tag, Type: eth.EthernetType})
		eth.EthernetType = layers.EthernetTypeDot1Q
	}
	if p.inner != 0 {
		outer := stack[1].(*layers.Dot1Q)
		stack = append(stack, &layers.Dot1Q{VLANIdentifier: p.inner, Type: outer.Type})
		outer.Type = layers.EthernetTypeDot1Q
	}
	payload := make([]byte, p.size)
	for i := range payload {
		payload[i] = byte(i)
	}
	b := gopacket.NewSerializeBuffer()
	need(g.t, gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, append(stack, ip, udp, gopacket.Payload(payload))...))
	f := append([]byte(nil), b.Bytes()...)
	if p.breakSum {
		f[24] ^= 0xff
	}
	return f
}

// balance is how many packets the worker cannot account for.
func (g *rig) balance() int64 {
	c := &g.w.count
	n := int64(c.generated.Load()+c.fragments.Load()) - int64(c.punted.Load()+c.cut.Load()) - c.waiting.Load()
	for i := range c.drops {
		n -= int64(c.drops[i].Load())
	}
	for _, d := range g.devices {
		s := d.queues[0].Stats()
		n += int64(s.Received) - int64(s.Transmitted)
	}
	return n
}

// census checks that every chunk is in one place, and that the worker holds those alone that wait.
func (g *rig) census() {
	g.t.Helper()
	held := 0
	for _, u := range g.umems {
		c := u.Census()
		sum := c.Free + c.Worker
		for _, n := range c.Queue {
			sum += n
		}
		if sum != 8*rigRing {
			g.t.Errorf("%d chunks of %d: %+v", sum, 8*rigRing, c)
		}
		held += c.Worker
	}
	if waiting := g.w.count.waiting.Load(); int64(held) != waiting {
		g.t.Errorf("the worker holds %d chunks, %d packets wait", held, waiting)
	}
}
