package main

import (
	"context"
	"fmt"
	"net/netip"
	"testing"

	"weir/perf/lab"
)

// transfer moves bytes by TCP through the router and verifies the checksums of every frame that comes out of it.
func transfer(t *testing.T, w *weir, from *lab.Host, to *end, address netip.Addr, bytes int64) {
	t.Helper()
	ctx := testContext(t)
	server := must[*lab.TCPServer](t)(to.ListenTCP(netip.AddrPortFrom(address, 0)))
	before := len(to.watch().all())
	result, err := from.SendTCP(ctx, lab.TCPOptions{To: server.Address(), Bytes: bytes})
	if err != nil || result.Bytes != bytes {
		t.Fatalf("transfer of %d bytes: %d, %v", bytes, result.Bytes, err)
	}
	if got := <-server.Received(); got.Err != nil || got.Bytes != bytes {
		t.Errorf("received: %+v", got)
	}
	need(t, server.Close())
	var frames []lab.Frame
	eventually(t, "all that was received has been captured", func() (bool, any) {
		frames = to.watch().all()[before:]
		captured := 0
		for _, f := range frames {
			captured += len(f.Data)
		}
		return captured >= int(bytes), captured
	})
	full := 0
	for _, f := range frames {
		if !f.Finished {
			t.Error("a frame came without its checksum")
		} else if err := lab.VerifyChecksums(f.Data); err != nil {
			t.Errorf("%v: %x", err, f.Data)
		}
		if len(f.Data) >= 1500 {
			full++
		}
	}
	if want := int(bytes / 1460 / 10); full < want { // the rest may have been cut by the sender's pacing
		t.Errorf("%d frames of full length, expected at least %d", full, want)
	}
	w.rest()
}

func TestTCP(t *testing.T) {
	n := newNetworkOf(t, endOptions{name: "em0", lab: lab.LinkOptions{NoMerge: true}}, endOptions{name: "em1", lab: lab.LinkOptions{NoMerge: true}})
	w := n.start(n.config(""))
	families(t, func(t *testing.T, like netip.Addr) {
		transfer(t, w, n.ends[0].Host, n.ends[1], n.ends[1].addr(like), 4<<20)
		transfer(t, w, n.ends[1].Host, n.ends[0], n.ends[0].addr(like), 4<<20)
	})
	if s := w.rest(); s.Totals.Dropped > 0 {
		t.Errorf("drops: %v", s.Totals.Drops)
	}
}

// vlanEnd makes a tagged interface on the host, on the router a VLAN of its port, and tells both of each other's MAC
// addresses: this kernel's own 802.1Q may be missing, and then nobody answers ARP there.
func vlanEnd(e *end, id uint16) (neighbors string) {
	t := e.n.t
	t.Helper()
	name := fmt.Sprintf("%s.%d", hostPort, id)
	must[*lab.VLAN](t)(e.n.lab.VLAN(e.Host, hostPort, name, lab.VLANOptions{
		Tags: []uint16{id}, Addresses: []string{e.addr4().String() + "/24", e.addr6().String() + "/64"},
	}))
	e.options = append(e.options, fmt.Sprintf(`vlans: {%d: {addresses: [%s/24, "%s/64"]}}`, id, e.gateway4(), e.gateway6()))
	for _, gateway := range []netip.Addr{e.gateway4(), e.gateway6()} {
		need(t, e.AddNeighbor(name, gateway, e.portMAC()), e.AddRoute(lab.Route{To: "default", Via: gateway.String()}))
		neighbors += fmt.Sprintf("  - {address: %q, port: %s.%d, mac: %q}\n", e.addr(gateway), e.port, id, e.mac())
	}
	return neighbors
}

// TestVLAN pushes, pops and exchanges tags.
func TestVLAN(t *testing.T) {
	for _, c := range []struct {
		name     string
		from, to uint16 // 0: untagged
	}{{"push", 0, 100}, {"pop", 100, 0}, {"exchange", 100, 200}, {"same", 100, 100}} {
		t.Run(c.name, func(t *testing.T) {
			ids := []uint16{c.from, c.to}
			var ends []endOptions
			for i, id := range ids {
				ends = append(ends, endOptions{name: fmt.Sprintf("em%d", i), lab: lab.LinkOptions{NoMerge: true}, bare: id != 0})
			}
			n := newNetworkOf(t, ends...)
			neighbors := ""
			for i, id := range ids {
				if id != 0 {
					neighbors += vlanEnd(n.ends[i], id)
				}
			}
			w := n.start(n.config("neighbors:\n" + neighbors))
			families(t, func(t *testing.T, like netip.Addr) {
				transfer(t, w, n.ends[0].Host, n.ends[1], n.ends[1].addr(like), 1<<20)
			})
			for _, f := range n.ends[1].watch().all() {
				if lab.VerifyChecksums(f.Data) != nil || len(f.Data) < 1000 {
					continue // transfer has told, or ARP
				}
				if k := parsed(t, f.Data); (k.Tags > 0) != (c.to != 0) || k.VLAN[0] != c.to {
					t.Fatalf("frame with tags %v, expected VLAN %d", k.VLAN[:k.Tags], c.to)
				}
			}
		})
	}
}

// stream sends UDP from a host, in the background.
func stream(ctx context.Context, from *lab.Host, o lab.UDPOptions) <-chan streamed {
	done := make(chan streamed, 1)
	go func() {
		sent, err := from.SendUDP(ctx, o)
		done <- streamed{sent, err}
	}()
	return done
}

type streamed struct {
	sent lab.UDPSent
	err  error
}

// delivery is a stream that has ended, and the receivers that it may have gone to.
type delivery struct {
	streamed
	to []*lab.UDPReceiver
}

// delivered checks that the streams arrived once, in order and intact, and that the router lost none of their packets. It
// returns how many the kernel dropped before the router saw them, since the worker did not run for too long, or when a
// host had no room for them: on a busy machine that happens, and the kernel has counted each.
func delivered(t *testing.T, w *weir, list ...delivery) (late uint64) {
	t.Helper()
	sent := uint64(0)
	for _, d := range list {
		need(t, d.err)
		sent += d.sent.Packets
	}
	for _, p := range w.rest().Ports {
		for _, q := range p.Queues {
			late += q.RingFull + q.NoFill
		}
	}
	for _, e := range w.n.ends {
		if s, err := w.n.router.Statistics(e.port); err == nil { // a port may be gone
			late += s.TxDropped
		}
	}
	var reports [][]lab.UDPReport
	eventually(t, "all packets have arrived", func() (bool, any) {
		got := late
		reports = nil
		for _, d := range list {
			var of []lab.UDPReport
			for _, r := range d.to {
				report := r.Report()
				got += report.Received + report.Overrun
				of = append(of, report)
			}
			reports = append(reports, of)
		}
		return got >= sent, fmt.Sprintf("%d sent, %d arrived or were late, of which %d late", sent, got, late)
	})
	for i, d := range list {
		for flow, n := range d.sent.Flows {
			unique := uint64(0)
			for _, r := range reports[i] {
				f := r.Flows[flow]
				unique += f.Unique
				if f.Duplicated+f.Reordered+f.Damaged > 0 || f.Received > 0 && f.TTL != 63 {
					t.Errorf("flow %d of stream %d: %+v", flow, i, f)
				}
			}
			if unique > n {
				t.Errorf("flow %d of stream %d: %d of %d packets arrived", flow, i, unique, n)
			}
		}
		for _, r := range reports[i] {
			if r.Foreign > 0 || len(r.Flows) > len(d.sent.Flows) {
				t.Errorf("stream %d: packets that nobody sent: %d of %d flows, %d others", i, len(r.Flows), len(d.sent.Flows), r.Foreign)
			}
		}
	}
	if late > 0 {
		t.Logf("of %d packets %d came too fast for the router", sent, late)
	}
	return late
}

// TestFlows: the router loses, doubles and reorders nothing of many flows. Where others keep the machine busy, packets
// come while the worker does not run: the kernel has counted those, and speed is for benchmarks.
func TestFlows(t *testing.T) {
	n := newNetwork(t, "em0", "em1")
	w := n.start(n.config(""))
	from, to := n.ends[0], n.ends[1]
	n.warm([2]*end{from, to})
	ctx := testContext(t)
	const packets, flows = 100_000, 8
	var receivers []*lab.UDPReceiver
	var streams []<-chan streamed
	for i, address := range []netip.Addr{to.addr4(), to.addr6()} {
		r := must[*lab.UDPReceiver](t)(to.ListenUDP(netip.AddrPortFrom(address, 7000)))
		receivers = append(receivers, r)
		streams = append(streams, stream(ctx, from.Host, lab.UDPOptions{
			To: r.Address(), Flow: uint32(100 * i), Flows: flows, Size: 64, Count: packets / 2, Rate: perSecond(15_000),
		}))
	}
	var list []delivery
	for i, r := range receivers {
		list = append(list, delivery{<-streams[i], []*lab.UDPReceiver{r}})
	}
	late := delivered(t, w, list...)
	s := w.rest()
	if s.Totals.Received < packets-late || s.Totals.Dropped > 0 {
		t.Errorf("counted %+v", s.Totals)
	}
}
