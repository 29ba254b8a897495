package main

import (
	"fmt"
	"net/netip"
	"testing"

	"weir/perf/lab"
)

// TestTrunk: the VLANs of one port are ports of their own, with one tag and with two, of either type. TCP runs between all
// of them and an untagged port, and full packets fit, since tags are not the IP packet's.
func TestTrunk(t *testing.T) {
	n := newNetworkOf(t, endOptions{name: "em0", lab: lab.LinkOptions{NoMerge: true, MTU: 1508}, bare: true},
		endOptions{name: "em1", lab: lab.LinkOptions{NoMerge: true}})
	trunk, plain := n.ends[0], n.ends[1]
	mac := trunk.mac()
	neighbors := fmt.Sprintf("neighbors:\n  - {address: 10.0.1.2, port: em1, mac: %q}\n", plain.mac())
	var ends []*end
	for i, v := range []struct {
		port        string
		tags, types []uint16
	}{
		{"em0.100", []uint16{100}, nil},
		{"em0.200", []uint16{200}, nil},
		{"em0.300", []uint16{300}, []uint16{0x88a8}},
		{"em0.301.400", []uint16{301, 400}, []uint16{0x88a8, 0x8100}},
		{"em0.302.400", []uint16{302, 400}, nil},
	} {
		e := &end{n: n, Host: must[*lab.Host](t)(n.lab.Host(v.port)), port: v.port, index: 2 + i}
		must[*lab.VLAN](t)(n.lab.VLAN(trunk.Host, hostPort, hostPort, lab.VLANOptions{At: e.Host, Tags: v.tags, TPIDs: v.types, MTU: 1500,
			Addresses: []string{e.addr4().String() + "/24", e.addr6().String() + "/64"}}))
		for _, gateway := range []netip.Addr{e.gateway4(), e.gateway6()} { // this kernel may have no VLANs: nobody answers ARP there
			need(t, e.AddNeighbor(hostPort, gateway, trunk.portMAC()), e.AddRoute(lab.Route{To: "default", Via: gateway.String()}))
			neighbors += fmt.Sprintf("  - {address: %q, port: %s, mac: %q}\n", e.addr(gateway), e.port, mac)
		}
		ends = append(ends, e)
	}
	addresses := func(i int) string {
		return fmt.Sprintf(`mtu: 1500, addresses: [%s/24, "%s/64"]`, ends[i].gateway4(), ends[i].gateway6())
	}
	trunk.options = append(trunk.options, "mtu: 1508", "vlans:",
		"  100: {"+addresses(0)+", group: guests}",
		"  200: {"+addresses(1)+"}",
		"  300: {"+addresses(2)+", protocol: 802.1ad}",
		"  301: {vlans: {400: {"+addresses(3)+"}}}",
		"  302: {protocol: 802.1q, vlans: {400: {"+addresses(4)+"}}}")
	w := n.start(n.config(neighbors + "rules: [{name: closed, priority: 9, iif-group: guests, to: 10.9.9.9/32, action: prohibit}]\n"))
	ends = append(ends, plain)
	families(t, func(t *testing.T, like netip.Addr) {
		for i, from := range ends {
			to := ends[(i+1)%len(ends)]
			transfer(t, w, from.Host, to, to.addr(like), 1<<18)
			if from != plain && to != plain {
				transfer(t, w, from.Host, plain, plain.addr(like), 1<<18)
			}
			size := 1500 - 28
			if like.Is6() {
				size -= 20
			}
			echo, err := from.Ping(testContext(t), lab.PingOptions{To: to.addr(like), Size: size, IPOptions: lab.IPOptions{DontFragment: true}})
			if err != nil || echo.Error != nil {
				t.Errorf("a full packet from %s to %s: %v, %v", from.port, to.port, err, echo.Error)
			}
			if like.Is6() {
				continue
			}
			closed := netip.MustParseAddr("10.9.9.9")
			echo, err = from.Ping(testContext(t), lab.PingOptions{To: closed})
			if want := map[bool]int{true: 13, false: 0}[i == 0]; err != nil || echo.Error == nil || int(echo.Error.Code) != want {
				t.Errorf("what is closed to the group of VLAN 100, from %s: %v, %v", from.port, err, echo.Error)
			}
		}
	})
	for tags, reason := range map[*[]uint16]string{{300, 400}: "unknown-vlan", {301, 401}: "unknown-vlan", {301, 400, 1}: ""} {
		before := w.look().Totals
		trunk.sent(spec{src: ends[3].addr4(), dst: plain.addr4(), tags: *tags})
		if reason == "" { // the kernel's: more tags than a port can have
			eventually(t, "the kernel gets it", func() (bool, any) { p := w.port("em0"); return p.Steered["not-ip"] > 0, p.Steered })
			continue
		}
		eventually(t, fmt.Sprintf("tags %v: %s", *tags, reason), func() (bool, any) {
			now := w.look().Totals
			return now.Drops[reason] == before.Drops[reason]+1, now.Drops
		})
	}
}
