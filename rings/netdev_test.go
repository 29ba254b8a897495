package rings

import (
	"maps"
	"net/netip"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"

	"weir/perf/lab"
)

// TestFeatures: what the kernel announces for veth, and nothing for what is no netdev.
func TestFeatures(t *testing.T) {
	b := newBed(t, lab.LinkOptions{})
	b.inside(func() error {
		index := must[int](t)(b.router.Index(ports[0]))
		features, known := xdpFeatures(index)
		if !known || features&(FeatureBasic|FeatureRedirect) != FeatureBasic|FeatureRedirect || features&FeatureXSKZeroCopy != 0 {
			t.Errorf("veth: %#x, known %v; want basic, redirect, and no zero-copy", features, known)
		}
		if features, known := xdpFeatures(index + 1000); known || features != 0 {
			t.Errorf("an interface that does not exist: %#x, known %v", features, known)
		}
		if d := driverName(ports[0]); d != "veth" {
			t.Errorf("driver %q", d)
		}
		if d := driverName("em7"); d != "unknown" {
			t.Errorf("driver of an interface that does not exist: %q", d)
		}
		return nil
	})
}

// TestVLANOffload: it is off while the port is open, and as before after Close.
func TestVLANOffload(t *testing.T) {
	for _, was := range []bool{true, false} {
		b := newBed(t, lab.LinkOptions{})
		offloads := map[string]bool{rxVLANOffload: was, rxVLANStagOffload: true}
		check(t, b.router.SetFeatures(ports[0], offloads))
		features := func() map[string]bool { return must[map[string]bool](t)(b.router.Features(ports[0])) }
		before := features()

		p := b.port(0, Auto)
		want := []string{rxVLANOffload, rxVLANStagOffload}
		if !was {
			want = want[1:]
		}
		if !slices.Equal(p.Offloads(), want) {
			t.Errorf("switched off: %v, want %v", p.Offloads(), want)
		}
		if on := features(); on[rxVLANOffload] || on[rxVLANStagOffload] {
			t.Errorf("open: %v", on)
		}
		saved := slices.Clone(p.Offloads())
		b.closePort(p)
		if after := features(); !maps.Equal(after, before) {
			t.Errorf("closed: %v\nbefore: %v", after, before)
		}
		b.closePort(p) // does nothing

		// What a process that was killed leaves behind, its successor restores.
		check(t, b.router.SetFeatures(ports[0], map[string]bool{rxVLANOffload: false, rxVLANStagOffload: false}))
		b.inside(func() error { return RestoreOffloads(ports[0], saved) })
		if after := features(); !maps.Equal(after, before) {
			t.Errorf("restored: %v\nbefore: %v", after, before)
		}
	}
}

// TestTaggedFrame: with the offload on, the kernel would take the tag out, and a VLAN would be routed as if it were none.
func TestTaggedFrame(t *testing.T) {
	f := newForwarder(t, Auto, UMEMOptions{Frames: 1024, FrameSize: 2048, RingSize: 128})
	plain := transit(f.port[0].MAC, f.far[0], 1, 1)
	tagged := slices.Concat(plain[:12], []byte{0x81, 0, 0x60, 100}, plain[12:])
	check(t, f.frames(0).Send(testContext(t), tagged))
	var batch Batch
	eventually(t, "the frame arrives", func() bool { return f.queue[0].Receive(&batch) == 1 })
	if got := f.umem.Bytes(batch.Frames[0]); !slices.Equal(got, tagged) {
		t.Errorf("got  %x\nwant %x", got, tagged)
	}
}

// attached is where the kernel says that an XDP program is on a port: IFLA_XDP_ATTACHED, 0 for nowhere.
func (b *bed) attached(side int) (mode uint32) {
	b.tb.Helper()
	b.inside(func() error {
		l, err := netlink.LinkByName(ports[side])
		if err == nil && l.Attrs().Xdp != nil && l.Attrs().Xdp.Attached {
			mode = l.Attrs().Xdp.AttachMode
		}
		return err
	})
	return mode
}

// TestPortModes: what a port runs in, why, and that it leaves nothing behind.
func TestPortModes(t *testing.T) {
	b := newBed(t, lab.LinkOptions{MTU: 1400, Queues: 2})
	const driver, generic = 1, 2 // XDP_ATTACHED_DRV, XDP_ATTACHED_SKB
	for _, c := range []struct {
		asked, mode Mode
		xdp, reason string
		kernel      uint32
	}{
		{Auto, Copy, "driver", "driver veth offers no zero-copy", driver},
		{Copy, Copy, "driver", "copy as configured", driver},
		{Generic, Generic, "generic", "generic XDP as configured", generic},
		{ZeroCopy, ZeroCopy, "driver", "zero-copy as configured", driver},
	} {
		p := b.port(0, c.asked)
		if p.Mode() != c.mode || p.XDP != c.xdp || p.Reason != c.reason || p.WantsZeroCopy() != (c.mode == ZeroCopy) {
			t.Errorf("%v: %v, XDP %s, %q", c.asked, p.Mode(), p.XDP, p.Reason)
		}
		if p.Name != ports[0] || p.Driver != "veth" || p.MTU != 1400 || p.Queues != 2 ||
			p.MAC.String() != b.mac(b.router, ports[0]).String() || p.Ifindex != must[int](t)(b.router.Index(ports[0])) {
			t.Errorf("%+v", p)
		}
		if mode := b.attached(0); mode != c.kernel {
			t.Errorf("%v: the kernel says %d, want %d", c.asked, mode, c.kernel)
		}
		b.closePort(p)
		if mode := b.attached(0); mode != 0 {
			t.Errorf("%v: after close the kernel says %d", c.asked, mode)
		}
	}
}

// TestSteered: the counters follow a packet to the kernel, the socket, and the kernel again.
func TestSteered(t *testing.T) {
	b := newBed(t, lab.LinkOptions{})
	p := b.port(0, Auto)
	u, q := b.umem(p, 0, UMEMOptions{Frames: 256, FrameSize: 2048, RingSize: 64})
	q.Refill()
	wire, ctx := b.frames(0), testContext(t)
	send := func(mac string, class string, want uint64) {
		t.Helper()
		dst := p.MAC
		if mac != "" {
			dst = []byte(mac)
		}
		check(t, wire.Send(ctx, transit(dst, b.hostMAC(0), 1, 1)))
		eventually(t, "the frame is counted as "+class, func() bool { return must[map[string]uint64](t)(p.Steered())[class] == want })
	}
	send("", "no-socket", 1)
	check(t, p.Start(q))
	send("", "redirected", 1)
	send("", "redirected", 2)
	send("\x02abcde", "not-our-mac", 1)
	check(t, b.steer.SetOwn([]netip.Addr{netip.MustParseAddr("198.51.100.99")}))
	send("", "own-address", 1)
	check(t, b.steer.SetOwn(nil))
	send("", "redirected", 3)
	check(t, p.SetMAC([]byte("\x02abcde")))
	send("\x02abcde", "redirected", 4)
	send(string(b.mac(b.router, ports[0])), "not-our-mac", 2)
	check(t, p.Stop(q), p.Stop(q))
	send("\x02abcde", "no-socket", 2)

	var batch Batch
	eventually(t, "the redirected ones are there", func() bool { return q.Receive(&batch) == 4 })
	wantCensus(t, u, 256-64, 4)
}
