package main

import (
	"flag"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"weir/appliance"
	"weir/appliance/image/layout"
	"weir/appliance/image/vm"
	"weir/perf/lab"
)

var newerKernel = flag.String("image.kernel", "", "packages, with spaces between, of a kernel that has zero-copy on virtio-net (Linux 6.13): try that")

// zeroCopyNICs are devices whose memory the kernel maps for them, without which virtio-net has no zero-copy, and that leave no work to it
// that XDP could not do.
const zeroCopyNICs = "iommu_platform=on,disable-legacy=on,guest_csum=off,guest_tso4=off,guest_tso6=off,guest_ecn=off,guest_ufo=off"

// TestApplianceZeroCopy: where the driver offers zero-copy, automatic ports take it; packets are forwarded by policy as ever, through
// reloads and through a loss of the data plane, which binds the queues anew.
func TestApplianceZeroCopy(t *testing.T) {
	if *newerKernel == "" {
		t.Skip("no kernel to try it with: -image.kernel names the packages of one")
	}
	b := newBed(t, strings.Fields(*newerKernel)...)
	b.nics = zeroCopyNICs
	b.cpu = "cx16=off" // emulated, Linux since 6.12 ends in a double fault otherwise
	r := b.start(t, vm.Copy(t, b.disk))
	r.blessed(layout.SlotA)
	zeroCopy := func() {
		t.Helper()
		for _, to := range []string{voiceAddress, voiceAddress6} {
			r.passes(to)
			r.carries(netip.MustParseAddr(to))
		}
		for _, p := range askMachine[[]appliance.PortState](r, "show ports") {
			t.Logf("%s: %s, %s, driver %s, %d received, %d transmitted", p.Name, p.Mode, p.XDP, p.Driver, p.Received, p.Transmitted)
			if p.Mode != "zero-copy" || p.XDP != "driver" || p.Driver != "virtio_net" || p.Received == 0 || p.Transmitted == 0 {
				t.Errorf("port %+v", p)
			}
		}
	}
	zeroCopy()
	r.ok("reload", []byte(b.configOf("second")))
	if got := r.hostname(); got != "second" {
		t.Errorf("it is called %s", got)
	}
	zeroCopy()
	r.killed(t)
	zeroCopy()
}

// carries sends datagrams of all sizes from left to right, faster than pings and slower than what an emulated machine can take: all
// arrive, intact and in order.
func (r *running) carries(to netip.Addr) {
	r.t.Helper()
	const count = 500
	receiver := must[*lab.UDPReceiver](r.t)(r.b.right.ListenUDP(netip.AddrPortFrom(to, 0)))
	defer receiver.Close()
	for _, size := range []int{18, 600, 1400} {
		before := receiver.Report().Received
		sent := must[lab.UDPSent](r.t)(r.b.left.SendUDP(testContext(r.t), lab.UDPOptions{To: receiver.Address(), Flow: uint32(size), Size: size, Rate: 200, Count: count}))
		eventually(r.t, "datagrams arrive", func() (bool, any) {
			report := receiver.Report()
			return report.Received == before+count, fmt.Sprintf("%d bytes, %d sent, %+v", size, sent.Packets, report)
		})
	}
	for size, f := range receiver.Report().Flows {
		if f.Duplicated+f.Reordered+f.Damaged > 0 {
			r.t.Errorf("datagrams of %d bytes: %+v", size, f)
		}
	}
}
