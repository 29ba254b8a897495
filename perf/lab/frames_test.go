package lab

import (
	"bytes"
	"net/netip"
	"testing"
)

// broadcast is a frame that no stack answers: an experimental EtherType.
func broadcast(tags ...byte) []byte {
	f := append(bytes.Repeat([]byte{0xff}, 6), 2, 0, 0, 0, 0, 1)
	f = append(f, tags...)
	f = append(f, 0x88, 0xb5)
	for i := range 80 {
		f = append(f, byte(i))
	}
	return f
}

// TestFrames: what one end sends is what the other captures, byte for byte, tags included.
func TestFrames(t *testing.T) {
	r := newRouted(t)
	ctx := testContext(t)
	from, to := must[*FrameSocket](t)(r.client.OpenFrames("eth0")), must[*FrameSocket](t)(r.router.OpenFrames("em0"))
	for _, frame := range [][]byte{
		broadcast(),
		broadcast(0x81, 0, 0x60, 100),
		broadcast(0x88, 0xa8, 0, 100, 0x81, 0, 0, 200),
		broadcast(0x81, 0, 0, 0),
	} {
		check(t, from.Send(ctx, frame))
		got := must[Frame](t)(to.Await(ctx, func(f Frame) bool { return bytes.Contains(f.Data, []byte{0x88, 0xb5, 0, 1, 2}) }))
		if !bytes.Equal(got.Data, frame) {
			t.Errorf("sent %x\ngot  %x", frame, got.Data)
		}
	}
	check(t, from.Close(), from.Close())
}

// TestVLAN joins two hosts by tagged interfaces over one link, with one tag and with two, and runs real traffic.
func TestVLAN(t *testing.T) {
	for name, tags := range map[string][]uint16{"one tag": {100}, "two tags": {100, 200}} {
		t.Run(name, func(t *testing.T) {
			l := ForTest(t)
			ctx := testContext(t)
			a, b := must[*Host](t)(l.Host("a")), must[*Host](t)(l.Host("b"))
			must[*Link](t)(l.Link(a, "eth0", b, "eth0", LinkOptions{}))
			tpids := []uint16{0x8100, 0x8100}[:len(tags)]
			if len(tags) == 2 {
				tpids[0] = 0x88a8
			}
			vlan := must[*VLAN](t)
			va := vlan(l.VLAN(a, "eth0", "v0", VLANOptions{Tags: tags, TPIDs: tpids, Addresses: []string{"192.0.2.1/24", "2001:db8::1/64"}}))
			vb := vlan(l.VLAN(b, "eth0", "v0", VLANOptions{Tags: tags, TPIDs: tpids, Addresses: []string{"192.0.2.2/24", "2001:db8::2/64"}}))
			wrong := vlan(l.VLAN(b, "eth0", "v1", VLANOptions{Tags: []uint16{101}, Addresses: []string{"192.0.2.3/24"}}))
			capture := must[*FrameSocket](t)(b.OpenFrames("eth0"))

			for _, to := range []string{"192.0.2.2", "2001:db8::2"} {
				addr := netip.MustParseAddr(to)
				if echo := must[Echo](t)(a.Ping(ctx, PingOptions{To: addr})); echo.Error != nil {
					t.Errorf("ping %s: %v", to, echo.Error)
				}
				server := must[*TCPServer](t)(b.ListenTCP(netip.AddrPortFrom(addr, 5000)))
				result := must[TCPResult](t)(a.SendTCP(ctx, TCPOptions{To: server.Address(), Bytes: 4 << 20}))
				t.Logf("%s: %.2f Gbit/s, %d retransmits", to, result.BitsPerSecond()/1e9, result.Retransmits)
			}
			// Not every frame is the VLAN's: the devices below have multicast groups of their own to report.
			frame := must[Frame](t)(capture.Await(ctx, func(f Frame) bool { return va.matches(f.Data) }))
			check(t, VerifyChecksums(frame.Data))
			if c := wrong.Counters(); c.In != 0 || c.Other == 0 {
				t.Errorf("VLAN 101 got %+v", c)
			}
			if c := vb.Counters(); c.In == 0 || c.Dropped != 0 {
				t.Errorf("counters %+v", c)
			}
			check(t, wrong.Close(), wrong.Close(), b.WaitDevice(ctx, "v1", false))
		})
	}
}

// TestNoMerge: with NoMerge, TCP segments are captured as they were on the wire; without, the test would see others.
func TestNoMerge(t *testing.T) {
	r := newRouted(t)
	ctx := testContext(t)
	longest := func(h *Host, device string) (size int, err error) {
		frames := must[*FrameSocket](t)(h.OpenFrames(device))
		s := must[*TCPServer](t)(r.server.ListenTCP(netip.AddrPortFrom(server4, 0)))
		must[TCPResult](t)(r.client.SendTCP(ctx, TCPOptions{To: s.Address(), Bytes: 4 << 20}))
		fin := func(f Frame) bool { return len(f.Data) > 47 && f.Data[23] == 6 && f.Data[47]&1 != 0 }
		for {
			f := must[Frame](t)(frames.Receive(ctx))
			size = max(size, len(f.Data))
			if f.Finished && err == nil {
				err = VerifyChecksums(f.Data)
			}
			if fin(f) {
				return size, err
			}
		}
	}
	if size, err := longest(r.router, "em0"); size != 1514 || err != nil {
		t.Errorf("em0, no merging: longest frame %d, %v", size, err)
	}
	if size, err := longest(r.server, "eth0"); size <= 1514 {
		t.Errorf("server, merging: longest frame %d, %v", size, err)
	}
}
