package lab

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestPing(t *testing.T) {
	r := newRouted(t)
	ctx := testContext(t)
	r.families(t, func(t *testing.T, client, router, server netip.Addr) {
		heard := must[*ICMPListener](t)(r.server.ListenICMP(server.Is6()))
		echo := must[Echo](t)(r.client.Ping(ctx, PingOptions{To: server, Seq: 7, IPOptions: IPOptions{Source: client, TOS: 0x48}}))
		if echo.Error != nil || echo.From != server || echo.TTL != 63 || echo.RTT <= 0 || echo.TOS != 0x48 {
			t.Errorf("echo %+v", echo)
		}
		for {
			m := must[ICMP](t)(heard.Next(ctx))
			if m.ID() != echo.ID {
				continue // neighbour discovery
			}
			if m.From != client || m.To != server || m.TTL != 63 || m.TOS != 0x48 || m.Seq() != 7 {
				t.Errorf("heard %+v", m)
			}
			break
		}

		// TTL 1 ends at the router; type 11 (IPv6: 3), code 0.
		echo = must[Echo](t)(r.client.Ping(ctx, PingOptions{To: server, IPOptions: IPOptions{TTL: 1}}))
		want := uint8(ICMPTimeExceeded)
		if server.Is6() {
			want = ICMPv6TimeExceeded
		}
		if e := echo.Error; e == nil || e.Type != want || e.Code != 0 || e.From != router || e.Quoted.From != client {
			t.Errorf("TTL 1: %+v", echo)
		}

		// A prohibited destination: 3/13 (IPv6: 1/1). From another source: the kernel counts errors per source.
		source := netip.MustParseAddr("192.0.2.11")
		to, prohibited := "198.51.100.99/32", netip.MustParseAddr("198.51.100.99")
		wantType, wantCode := uint8(ICMPUnreachable), uint8(13)
		if server.Is6() {
			to, prohibited = "2001:db8:2::99/128", netip.MustParseAddr("2001:db8:2::99")
			wantType, wantCode = ICMPv6Unreachable, 1
			source = netip.MustParseAddr("2001:db8:1::11")
		}
		check(t, r.client.AddAddress("eth0", netip.PrefixFrom(source, source.BitLen()).String()))
		check(t, r.router.AddRoute(Route{To: to, Type: "prohibit"}))
		echo = must[Echo](t)(r.client.Ping(ctx, PingOptions{To: prohibited, IPOptions: IPOptions{Source: source}}))
		if e := echo.Error; e == nil || e.Type != wantType || e.Code != wantCode {
			t.Errorf("prohibited: %v", e)
		}
		check(t, r.router.RemoveRoute(Route{To: to, Type: "prohibit"}), r.router.AddRoute(Route{To: to, Type: "blackhole"}))
		if _, err := r.client.Ping(ctx, PingOptions{To: prohibited, Timeout: 50 * time.Millisecond}); !errors.Is(err, ErrNoAnswer) {
			t.Errorf("blackhole: %v", err)
		}

		// Too big for the far link, and not to be fragmented.
		check(t, r.router.SetMTU("em1", 1400))
		echo = must[Echo](t)(r.client.Ping(ctx, PingOptions{To: server, Size: 1420, IPOptions: IPOptions{DontFragment: true}}))
		if e := echo.Error; e == nil || e.MTU() != 1400 {
			t.Errorf("too big: %+v", e)
		}
		check(t, r.router.SetMTU("em1", 1500))
	})
}

func TestTCP(t *testing.T) {
	r := newRouted(t)
	ctx := testContext(t)
	r.families(t, func(t *testing.T, client, router, server netip.Addr) {
		s := must[*TCPServer](t)(r.server.ListenTCP(netip.AddrPortFrom(server, 5001)))
		const length = 8<<20 + 13
		result := must[TCPResult](t)(r.client.SendTCP(ctx, TCPOptions{
			To: s.Address(), Bytes: length, SourcePort: 40000, IPOptions: IPOptions{Source: client, TOS: 0x20},
		}))
		if result.Server != "server" || result.Bytes != length || result.BitsPerSecond() <= 0 {
			t.Errorf("result %+v", result)
		}
		got := <-s.Received()
		if got.Err != nil || got.Bytes != length || got.From != netip.AddrPortFrom(client, 40000) {
			t.Errorf("received %+v", got)
		}
		t.Logf("%.2f Gbit/s", result.BitsPerSecond()/1e9)
		if _, err := r.client.SendTCP(ctx, TCPOptions{To: netip.AddrPortFrom(server, 1), Bytes: 1}); !errors.Is(err, unix.ECONNREFUSED) {
			t.Errorf("closed port: %v", err)
		}
		check(t, s.Close(), s.Close())
	})
}

func TestTCPNoticesDamage(t *testing.T) {
	const length = 3 * tcpBlock
	stream := make([]byte, tcpHeaderBytes+length)
	binary.BigEndian.PutUint64(stream, 42)
	binary.BigEndian.PutUint64(stream[8:], length)
	newContent(42).fill(stream[tcpHeaderBytes:])
	if n, _, err := receiveContent(bytes.NewReader(stream)); err != nil || n != length {
		t.Fatalf("intact: %d, %v", n, err)
	}
	for _, at := range []int{0, 1, tcpBlock - 1, tcpBlock, length - 1} {
		damaged := append([]byte(nil), stream...)
		damaged[tcpHeaderBytes+at] ^= 1
		if _, difference, err := receiveContent(bytes.NewReader(damaged)); !errors.Is(err, ErrContent) || difference != int64(at) {
			t.Errorf("damage at %d: found at %d, %v", at, difference, err)
		}
	}
	if _, _, err := receiveContent(bytes.NewReader(stream[:len(stream)-5])); err == nil || errors.Is(err, ErrContent) {
		t.Errorf("cut short: %v", err)
	}
}

func TestUDP(t *testing.T) {
	r := newRouted(t)
	ctx := testContext(t)
	r.families(t, func(t *testing.T, client, router, server netip.Addr) {
		receiver := must[*UDPReceiver](t)(r.server.ListenUDP(netip.AddrPortFrom(server, 0)))
		sent := must[UDPSent](t)(r.client.SendUDP(ctx, UDPOptions{
			To: receiver.Address(), Flow: 10, Flows: 3, SourcePort: 41000, Count: 10000, Rate: 50000, Size: 200,
			IPOptions: IPOptions{TOS: 0xb8, TTL: 9, Source: client},
		}))
		check(t, receiver.WaitCount(ctx, 10000))
		report := receiver.Report()
		if !report.Exact(sent) || report.Overrun != 0 || len(report.Flows) != 3 {
			t.Errorf("sent %+v, received %+v", sent, report)
		}
		f := report.Flows[11]
		if f.From != netip.AddrPortFrom(client, 41001) || f.TTL != 8 || f.TOS != 0xb8 || f.Unique != 3333 {
			t.Errorf("flow 11: %+v", f)
		}
		if sent.Duration < 199*time.Millisecond { // 10,000 packets at 50,000/s, never faster
			t.Errorf("took %v", sent.Duration)
		}
		check(t, receiver.Close())
	})
}

// TestUDPFaults injects a stream frame by frame, with faults, and the receiver must find every one.
func TestUDPFaults(t *testing.T) {
	r := newRouted(t)
	ctx := testContext(t)
	receiver := must[*UDPReceiver](t)(r.server.ListenUDP(netip.AddrPortFrom(server4, 5002)))
	frames := must[*FrameSocket](t)(r.client.OpenFrames("eth0"))
	capture := must[*FrameSocket](t)(r.router.OpenFrames("em0"))
	must[UDPSent](t)(r.client.SendUDP(ctx, UDPOptions{To: receiver.Address(), Flow: 1, Count: 1, Size: 64}))
	template := must[Frame](t)(capture.Await(ctx, func(f Frame) bool {
		_, _, _, ok := parseDatagram(f.Data[min(42, len(f.Data)):])
		return ok
	}))
	check(t, VerifyChecksums(template.Data))
	if !template.Finished {
		t.Error("the checksum was left to the hardware")
	}

	send := func(flow uint32, seq uint64, damage bool) {
		frame := append([]byte(nil), template.Data...)
		putDatagram(frame[42:], flow, seq)
		if damage {
			frame[42+30] ^= 1
		}
		frame[40], frame[41] = 0, 0 // no checksum
		check(t, frames.Send(ctx, frame))
	}
	for _, seq := range []uint64{0, 1, 3, 2, 5, 5, 9, 4, 3} { // lost 6 7 8; 2 and 4 late; 5 and 3 twice
		send(2, seq, seq == 9)
	}
	foreign := append([]byte(nil), template.Data...)
	foreign[42], foreign[40], foreign[41] = 0, 0, 0
	check(t, frames.Send(ctx, foreign), receiver.WaitCount(ctx, 11))
	report := receiver.Report()
	got := report.Flows[2]
	got.From, got.TTL, got.TOS = netip.AddrPort{}, 0, 0
	want := FlowReport{Received: 9, Unique: 7, Duplicated: 2, Reordered: 2, Damaged: 1, Gaps: 3, Highest: 9}
	if got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if report.Foreign != 1 || got.Lost(12) != 5 || report.Exact(UDPSent{Packets: 9, Flows: map[uint32]uint64{2: 7}}) {
		t.Errorf("report %+v", report)
	}

	// A wrong checksum must not pass VerifyChecksums, nor the receiver.
	bad := append([]byte(nil), template.Data...)
	bad[60] ^= 4
	if err := VerifyChecksums(bad); !errors.Is(err, ErrChecksum) {
		t.Errorf("damaged frame: %v", err)
	}
	bad = append([]byte(nil), template.Data...)
	bad[22]-- // TTL
	if err := VerifyChecksums(bad); !errors.Is(err, ErrChecksum) {
		t.Errorf("damaged header: %v", err)
	}
	check(t, frames.Send(ctx, append([]byte(nil), template.Data...)), receiver.WaitCount(ctx, 12))
}

// TestUDPLoss sends more than a receiver's path lets through, and the numbers must add up.
func TestUDPLoss(t *testing.T) {
	r := newRouted(t)
	ctx := testContext(t)
	receiver := must[*UDPReceiver](t)(r.server.ListenUDP(netip.AddrPortFrom(server4, 5003)))
	first := must[UDPSent](t)(r.client.SendUDP(ctx, UDPOptions{To: receiver.Address(), Count: 100, Rate: 10000}))
	check(t, receiver.WaitCount(ctx, 100))
	check(t, r.router.AddRoute(Route{To: "198.51.100.10/32", Type: "blackhole"}))
	second := must[UDPSent](t)(r.client.SendUDP(ctx, UDPOptions{To: receiver.Address(), Flow: 1, Count: 50, Rate: 10000}))
	check(t, receiver.WaitQuiet(ctx, 20*time.Millisecond))
	report := receiver.Report()
	if report.Lost(first) != 0 || report.Lost(second) != 50 {
		t.Errorf("lost %d and %d", report.Lost(first), report.Lost(second))
	}
}

// BenchmarkUDP reports the rate of one sending thread, and what of it arrived.
func BenchmarkUDP(b *testing.B) {
	l := ForTest(b)
	a, err := l.Host("a")
	if err != nil {
		b.Fatal(err)
	}
	c, err := l.Host("b")
	if err != nil {
		b.Fatal(err)
	}
	if _, err := l.Link(a, "eth0", c, "eth0", LinkOptions{AddressesA: []string{"192.0.2.1/24"}, AddressesB: []string{"192.0.2.2/24"}}); err != nil {
		b.Fatal(err)
	}
	receiver, err := c.ListenUDP(netip.MustParseAddrPort("192.0.2.2:5000"))
	if err != nil {
		b.Fatal(err)
	}
	for _, rate := range []float64{50000, 100000, 200000, 0} {
		name := "free"
		if rate > 0 {
			name = time.Duration(float64(time.Second) / rate).String()
		}
		b.Run(name, func(b *testing.B) {
			var flow uint32
			for b.Loop() {
				flow++
				before := receiver.Report()
				sent, err := a.SendUDP(b.Context(), UDPOptions{To: receiver.Address(), Rate: rate, Flow: flow, Duration: 2 * time.Second})
				if err != nil {
					b.Fatal(err)
				}
				if err := receiver.WaitQuiet(b.Context(), 50*time.Millisecond); err != nil {
					b.Fatal(err)
				}
				after := receiver.Report()
				b.ReportMetric(sent.Rate(), "sent/s")
				b.ReportMetric(float64(after.Lost(sent)), "lost")
				b.ReportMetric(float64(after.Overrun-before.Overrun), "overrun")
			}
		})
	}
}
