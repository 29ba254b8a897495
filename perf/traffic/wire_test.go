package traffic

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"weir/perf/lab"
)

// TestMain fails the run if anything is left when all tests are over.
func TestMain(m *testing.M) {
	code := m.Run()
	if os.Geteuid() == 0 {
		if left, err := lab.Leftovers(); err != nil || len(left) > 0 {
			fmt.Fprintln(os.Stderr, "left over:", left, err)
			code = 1
		}
	}
	os.Exit(code)
}

func check(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		check(t, err)
		return v
	}
}

// wire is two hosts with nothing between them.
type wire struct {
	near, far         *lab.Host
	nearPort, farPort Port
	link              Link
}

func newWire(t *testing.T, o lab.LinkOptions) *wire {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("makes network namespaces: run the test as root")
	}
	l := lab.ForTest(t)
	host := must[*lab.Host](t)
	w := &wire{near: host(l.Host("near")), far: host(l.Host("far"))}
	o.NoMerge = true
	must[*lab.Link](t)(l.Link(w.near, "eth0", w.far, "eth0", o))
	port := func(h *lab.Host) Port {
		p := Port{Name: "eth0", Do: h.Do}
		var err error
		p.Index, err = h.Index("eth0")
		check(t, err)
		p.MAC, err = h.MAC("eth0")
		check(t, err)
		return p
	}
	w.nearPort, w.farPort = port(w.near), port(w.far)
	w.link = Link{w.nearPort.MAC, w.farPort.MAC}
	return w
}

func streams(t *testing.T, texts ...string) (list []Stream) {
	t.Helper()
	for _, text := range texts {
		list = append(list, must[Stream](t)(ParseStream(text)))
	}
	return list
}

// senders are all there are.
func senders(t *testing.T, f func(t *testing.T, open func(Port, *Plan) (Sender, error))) {
	t.Run("live", func(t *testing.T) {
		f(t, func(p Port, plan *Plan) (Sender, error) { return NewLive(p, plan) })
	})
	t.Run("xsk", func(t *testing.T) {
		f(t, func(p Port, plan *Plan) (Sender, error) { return NewXSK(p, plan, XSKOptions{Queues: 2}) })
	})
}

var allKinds = []string{
	"name=udp from=10.0.0.2 to=198.51.100.0/24 sport=1000-1999 dport=7000 flows=100 weight=3 size=64x7,570x4,1518x1",
	"name=tcp from=10.0.0.2-10.0.0.9 to=203.0.113.7 proto=tcp dport=80-90 flows=20 dscp=46 size=71",
	"name=icmp from=10.1.0.0/30 to=203.0.113.7 proto=icmp size=128 vlan=100",
	"name=udp6 from=2001:db8::2 to=2001:db8:1::/64 flows=50 choice=zipf:1.2 size=79 weight=2",
	"name=tcp6 from=2001:db8::2 to=2001:db8:1::-2001:db8:2::5 proto=tcp flows=7 size=1400 vlan=7 dscp=10",
	"name=icmp6 from=2001:db8::2 to=2001:db8:1::9 proto=icmp size=111",
}

// TestFrames looks at every frame on the wire: sound checksums, the size that was asked for, within the ranges, in the shares of the
// weights.
func TestFrames(t *testing.T) {
	senders(t, func(t *testing.T, open func(Port, *Plan) (Sender, error)) {
		w := newWire(t, lab.LinkOptions{Queues: 2})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		list := streams(t, allKinds...)
		plan := must[*Plan](t)(NewPlan(list, w.link, nil))
		frames := must[*lab.FrameSocket](t)(w.far.OpenFrames("eth0"))
		s := must[Sender](t)(open(w.nearPort, plan))
		defer func() { check(t, s.Close()) }()
		const count = 3000
		run := Run{Start: Ahead(), Phases: []Phase{{Rate: 10_000, Duration: time.Second}}, Limit: count}
		sent := must[Sent](t)(s.Send(ctx, &run))
		if sent.Packets != count {
			t.Fatalf("sent %d", sent.Packets)
		}
		seen := make(map[int]int)
		sizes := make([]map[int]int, len(list))
		for i := range sizes {
			sizes[i] = make(map[int]int)
		}
		tuples := make(map[int]map[string]bool)
		bytes := uint64(0)
		ours := func(f lab.Frame) bool {
			return len(f.Data) > 14 && gopacket.NewPacket(f.Data, layers.LayerTypeEthernet, gopacket.NoCopy).NetworkLayer() != nil && [6]byte(f.Data[:6]) == [6]byte(w.link.Destination)
		}
		for range sent.Packets {
			f := must[lab.Frame](t)(frames.Await(ctx, ours))
			check(t, lab.VerifyChecksums(f.Data))
			p := gopacket.NewPacket(f.Data, layers.LayerTypeEthernet, gopacket.NoCopy)
			if failure := p.ErrorLayer(); failure != nil {
				t.Fatalf("%v\n%x", failure.Error(), f.Data)
			}
			i := kindOf(t, p)
			stream := &list[i]
			bytes += uint64(wireSize(stream, len(f.Data)))
			sizes[i][wireSize(stream, len(f.Data))+fcsLen]++
			seen[i]++
			if tuples[i] == nil {
				tuples[i] = make(map[string]bool)
			}
			key := p.NetworkLayer().NetworkFlow().String()
			if tl := p.TransportLayer(); tl != nil {
				key += tl.TransportFlow().String()
			}
			tuples[i][key] = true
			checkRanges(t, stream, p)
		}
		weights := 0
		for i := range list {
			weights += list[i].Weight
		}
		for i := range list {
			if want := count * list[i].Weight / weights; seen[i] < want-5 || seen[i] > want+5 {
				t.Errorf("stream %s has %d of %d packets, expected %d", list[i].Name, seen[i], count, want)
			}
			for _, size := range list[i].Sizes { // in turn, though several queues each have turns of their own
				share := 0
				for _, other := range list[i].Sizes {
					if other == size {
						share++
					}
				}
				if want := seen[i] * share / len(list[i].Sizes); sizes[i][size] < want*8/10 || sizes[i][size] > want*12/10+1 {
					t.Errorf("stream %s has %d frames of %d bytes, expected %d", list[i].Name, sizes[i][size], size, want)
				}
			}
			if n := len(tuples[i]); n > list[i].Flows || n < list[i].Flows*8/10 {
				t.Errorf("stream %s has %d flows, expected %d", list[i].Name, n, list[i].Flows)
			}
		}
		if sent.Bytes != bytes {
			t.Errorf("sent %d bytes, seen %d", sent.Bytes, bytes)
		}
	})
}

// wireSize is how long a frame was that a socket has: it takes a tag out of the frame.
func wireSize(s *Stream, length int) int {
	if s.VLAN != 0 && !slices.Contains(s.Sizes, length+fcsLen) {
		return length + 4
	}
	return length
}

// kindOf is which of allKinds a packet is of.
func kindOf(t *testing.T, p gopacket.Packet) int {
	t.Helper()
	six := p.Layer(layers.LayerTypeIPv6) != nil
	switch {
	case p.Layer(layers.LayerTypeUDP) != nil && !six:
		return 0
	case p.Layer(layers.LayerTypeTCP) != nil && !six:
		return 1
	case p.Layer(layers.LayerTypeICMPv4) != nil:
		return 2
	case p.Layer(layers.LayerTypeUDP) != nil:
		return 3
	case p.Layer(layers.LayerTypeTCP) != nil:
		return 4
	case p.Layer(layers.LayerTypeICMPv6) != nil:
		return 5
	}
	t.Fatalf("a packet of no stream: %v", p)
	return 0
}

// checkRanges holds addresses, ports and DSCP to the stream's.
func checkRanges(t *testing.T, s *Stream, p gopacket.Packet) {
	t.Helper()
	flow := p.NetworkLayer().NetworkFlow()
	src, _ := netip.AddrFromSlice(flow.Src().Raw())
	dst, _ := netip.AddrFromSlice(flow.Dst().Raw())
	if src.Less(s.From.First) || s.From.Last.Less(src) || dst.Less(s.To.First) || s.To.Last.Less(dst) {
		t.Fatalf("stream %s: from %s to %s", s.Name, src, dst)
	}
	var dscp uint8
	switch ip := p.NetworkLayer().(type) {
	case *layers.IPv4:
		dscp = ip.TOS >> 2
	case *layers.IPv6:
		dscp = ip.TrafficClass >> 2
	}
	if dscp != s.DSCP {
		t.Fatalf("stream %s: DSCP %d", s.Name, dscp)
	}
	var sport, dport uint16
	switch l := p.TransportLayer().(type) {
	case *layers.UDP:
		sport, dport = uint16(l.SrcPort), uint16(l.DstPort)
	case *layers.TCP:
		sport, dport = uint16(l.SrcPort), uint16(l.DstPort)
	default:
		return
	}
	if sport < s.SrcPort[0] || sport > s.SrcPort[1] || dport < s.DstPort[0] || dport > s.DstPort[1] {
		t.Fatalf("stream %s: ports %d and %d", s.Name, sport, dport)
	}
}

// TestWire measures a wire: nothing is lost, doubled or out of order, in several phases at exact numbers, and the frames of others are
// told from ours. What is measured adds up.
func TestWire(t *testing.T) {
	senders(t, func(t *testing.T, open func(Port, *Plan) (Sender, error)) {
		w := newWire(t, lab.LinkOptions{Queues: 2, AddressesA: []string{"10.9.0.1/24"}, AddressesB: []string{"10.9.0.2/24"}})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		plan := must[*Plan](t)(NewPlan(streams(t, allKinds...), w.link, nil))
		r := must[*Receiver](t)(NewReceiver(w.farPort, plan))
		defer func() { check(t, r.Close()) }()
		s := must[Sender](t)(open(w.nearPort, plan))
		defer func() { check(t, s.Close()) }()
		ping := func() { // frames of others go on to the kernel
			t.Helper()
			if echo := must[lab.Echo](t)(w.near.Ping(ctx, lab.PingOptions{To: netip.MustParseAddr("10.9.0.2")})); echo.Error != nil {
				t.Errorf("ping: %v", echo.Error)
			}
		}
		ping()
		for i, c := range []struct {
			phases []Phase
			limit  uint64
			want   uint64
		}{
			{[]Phase{{Rate: 10_000, Duration: 300 * time.Millisecond}}, 0, 3000},
			{[]Phase{{Rate: 100_000, Duration: 200 * time.Millisecond}}, 0, 20_000},
			{[]Phase{{Rate: 20_000, Duration: 100 * time.Millisecond}, {Rate: 5_000, Duration: 200 * time.Millisecond}, {Rate: 50_000, Duration: 20 * time.Millisecond}}, 0, 2000 + 1000 + 1000},
			{[]Phase{{Rate: 1000, Duration: time.Second}}, 17, 17},
			{[]Phase{{Duration: 50 * time.Millisecond}}, 0, 0},
		} {
			result := must[Result](t)(r.Measure(ctx, s, Run{Phases: c.phases, Limit: c.limit}, 200*time.Millisecond, false))
			// A busy machine takes the sender off its core: what it is too late for it does not send, and says so.
			late := uint64(0)
			if result.Skipped > 0 {
				late = uint64(result.Skipped.Seconds()*100_000) + 1
			}
			if c.want > 0 && (result.Packets > c.want+uint64(len(c.phases)) || result.Packets+late+uint64(len(c.phases)) < c.want) {
				t.Errorf("run %d: sent %d, expected %d (%v skipped)", i, result.Packets, c.want, result.Skipped)
			}
			if result.Packets == 0 || result.Received != result.Packets || result.Again > 0 || result.Reordered > 0 || result.Corrupt > 0 || result.Old > 0 || result.LastLost > 0 {
				t.Errorf("run %d: sent %d, received %d, again %d, reordered %d, corrupt %d, old %d, last lost %v", i, result.Packets, result.Received,
					result.Again, result.Reordered, result.Corrupt, result.Old, result.LastLost)
			}
			if uint64(result.Latency.Count()) != result.Received || result.Latency.Quantile(1) > time.Second || result.Latency.Quantile(0) == 0 {
				t.Errorf("run %d: %d latencies, %v to %v", i, result.Latency.Count(), result.Latency.Quantile(0), result.Latency.Quantile(1))
			}
			perStream, bytes := uint64(0), uint64(0)
			for _, st := range result.Streams {
				perStream += st.Received
				bytes += st.Bytes
			}
			series, inSeries := result.Series(50), uint64(0)
			for _, one := range series {
				if one.Sent != one.Received {
					t.Errorf("run %d, at %v: %d sent, %d received", i, one.At, one.Sent, one.Received)
				}
				inSeries += one.Sent
			}
			if perStream != result.Received || bytes != result.Bytes || inSeries != result.Packets || len(series) > 50 {
				t.Errorf("run %d: %d by stream, %d in %d intervals, %d bytes of %d", i, perStream, inSeries, len(series), bytes, result.Bytes)
			}
			rate := float64(result.Packets) / result.Time.Seconds()
			t.Logf("run %d: %d packets, %.0f/s, latency %v to %v, late at most %v, skipped %v, silence %v", i, result.Packets, rate,
				result.Latency.Quantile(0), result.Latency.Quantile(1), result.Late.Quantile(1), result.Skipped, result.Silence.Length())
		}
		ping()
	})
}
