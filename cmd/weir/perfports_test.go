package main

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"weir/perf/lab"
	"weir/perf/report"
)

// perfPorts is a machine with two ports, eth1 and eth2, and a router of the kernel's between them, whose neighbours nobody has told it.
func perfPorts(t *testing.T) (tester, router *lab.Host) {
	t.Helper()
	l := lab.ForTest(t)
	host := must[*lab.Host](t)
	tester, router = host(l.Host("tester")), host(l.Host("router"))
	link := must[*lab.Link](t)
	link(l.Link(tester, "eth1", router, "em0", lab.LinkOptions{NoMerge: true, AddressesA: []string{"192.0.2.10/24", "2001:db8:1::10/64"}, AddressesB: []string{"192.0.2.1/24", "2001:db8:1::1/64"}}))
	link(l.Link(tester, "eth2", router, "em1", lab.LinkOptions{NoMerge: true, AddressesA: []string{"198.51.100.10/24", "2001:db8:2::10/64"}, AddressesB: []string{"198.51.100.1/24", "2001:db8:2::1/64"}}))
	need(t, router.SetSysctl("net/ipv4/ip_forward", "1"), router.SetSysctl("net/ipv6/conf/all/forwarding", "1"),
		router.AddRoute(lab.Route{To: "10.0.0.0/8", Via: "198.51.100.10"}), router.AddRoute(lab.Route{To: "fd10::/16", Via: "2001:db8:2::10"}))
	return tester, router
}

// perfInside runs `weir perf` in a host.
func perfInside(t *testing.T, h *lab.Host, out *strings.Builder, args ...string) *lab.Process {
	t.Helper()
	return must[*lab.Process](t)(h.Start(testContext(t), lab.Command{
		Name: executable(t), Args: append([]string{"perf"}, args...), Env: []string{asWeir + "=1"}, Stdout: out,
	}))
}

var (
	perfStream4 = []string{"--stream", "from=192.0.2.10 to=10.0.0.0/8 flows=50"}
	perfStream6 = []string{"--stream", "from=2001:db8:1::10 to=fd10::/32 flows=50"}
)

// untilEnd is a context that ends with a process.
func untilEnd(t *testing.T, done <-chan struct{}) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	go func() {
		<-done
		cancel()
	}()
	return ctx
}

// TestPerfPorts measures a router between ports that exist, which it finds by ARP, ND or a MAC address, while others talk to one of the ports.
// It leaves the ports as they were.
func TestPerfPorts(t *testing.T) {
	tester, router := perfPorts(t)
	mac := must[interface{ String() string }](t)(router.MAC("em0")).String()
	for name, args := range map[string][]string{
		"ARP":         append([]string{"--gateway", "192.0.2.1"}, perfStream4...),
		"ND, AF_XDP":  append([]string{"--gateway", "2001:db8:1::1", "--engine", "xsk"}, perfStream6...),
		"MAC address": append(append([]string{"--gateway", mac, "--device", "a router"}, perfStream4...), perfStream6...),
	} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			p := perfInside(t, tester, &out, append(append([]string{"run", "--testbed", "ports", "--send", "eth1", "--receive", "eth2", "--rate", "2000", "--duration", "500ms",
				"--size", "128", "--json"}, perfQuick...), args...)...)
			ctx, answers := untilEnd(t, p.Done()), 0
			for ctx.Err() == nil { // the port answers its network all the while
				if _, err := router.Ping(ctx, lab.PingOptions{To: netip.MustParseAddr("198.51.100.10")}); err == nil {
					answers++
				} else if ctx.Err() == nil {
					t.Errorf("the port that receives is cut off: %v", err)
				}
			}
			if err := p.Wait(); err != nil {
				if strings.Contains(p.Output(), "too busy to measure") {
					t.Skip(p.Output())
				}
				t.Fatalf("%v: %s", err, p.Output())
			}
			r := must[*report.Report](t)(report.Read(strings.NewReader(out.String())))
			o := &r.Results[0].Trials[0]
			if o.Sent == 0 || o.Received != o.Sent || o.Duplicated > 0 || o.Foreign == 0 || answers == 0 {
				t.Errorf("%d sent, %d received, %d again, %d foreign, %d pings answered", o.Sent, o.Received, o.Duplicated, o.Foreign, answers)
			}
			if e := &r.Environment; len(e.Ports) != 2 || e.Ports[0].Name != "eth1" || e.Ports[1].Role != "receives" || name == "MAC address" && e.Device != "a router" {
				t.Errorf("%+v", e)
			}
			need(t, tester.Do(func() error {
				for _, port := range []string{"eth1", "eth2"} {
					if x := must[netlink.Link](t)(netlink.LinkByName(port)).Attrs().Xdp; x != nil && x.Attached {
						t.Errorf("%s has an XDP program left", port)
					}
				}
				return nil
			}))
		})
	}
}

// TestPerfPortsWire measures a cable between two ports, which tells what the tester itself adds.
func TestPerfPortsWire(t *testing.T) {
	l := lab.ForTest(t)
	tester := must[*lab.Host](t)(l.Host("tester"))
	must[*lab.Link](t)(l.Link(tester, "c1", tester, "c2", lab.LinkOptions{NoMerge: true}))
	var out strings.Builder
	p := perfInside(t, tester, &out, append(append([]string{"run", "--testbed", "ports", "--send", "c1", "--receive", "c2", "--device", "wire", "--rate", "1000", "--duration", "200ms",
		"--size", "64", "--json"}, perfQuick...), perfStream4...)...)
	if err := p.Wait(); err != nil {
		if strings.Contains(p.Output(), "too busy to measure") {
			t.Skip(p.Output())
		}
		t.Fatalf("%v: %s", err, p.Output())
	}
	r := must[*report.Report](t)(report.Read(strings.NewReader(out.String())))
	if o := &r.Results[0].Trials[0]; o.Sent == 0 || o.Received != o.Sent || r.Environment.Device != "wire" || r.Results[0].Calibrations[0].Bias.Count() == 0 {
		t.Errorf("%d sent, %d received, %+v", o.Sent, o.Received, r.Results[0].Calibrations)
	}
}

// TestPerfPortsErrors wants errors that say what is wrong with the ports.
func TestPerfPortsErrors(t *testing.T) {
	tester, router := perfPorts(t)
	l := lab.ForTest(t)
	other := must[*lab.Host](t)(l.Host("other"))
	must[*lab.Link](t)(l.Link(tester, "down0", router, "em2", lab.LinkOptions{Down: true}))
	must[*lab.Link](t)(l.Link(tester, "up0", other, "eth0", lab.LinkOptions{AddressesA: []string{"203.0.113.10/24"}, AddressesB: []string{"203.0.113.1/24"}}))
	need(t, tester.AddRoute(lab.Route{To: "default", Via: "203.0.113.1", Table: 100}))
	for line, want := range map[string]string{
		"--send nothing0 --receive eth2 --gateway 192.0.2.1":                          "use ports: port nothing0: Link not found",
		"--send eth1 --receive nothing0 --gateway 192.0.2.1":                          "use ports: port nothing0: Link not found",
		"--send eth1 --receive eth1 --gateway 192.0.2.1":                              "eth1 is to send and to receive: they must be two",
		"--send down0 --receive eth2 --gateway 192.0.2.1":                             "port down0 is down",
		"--send lo --receive eth2 --gateway 192.0.2.1":                                "port lo is no Ethernet",
		"--send eth1 --receive up0 --gateway 192.0.2.1":                               "port up0 carries a default route: a test would cut this machine off, unless it is forced",
		"--send eth1 --receive up0 --gateway 192.0.2.1 --force":                       "packets that were sent from eth1 to ",
		"--send eth1 --receive eth2":                                                  "no gateway: which MAC address of the device",
		"--send eth1 --receive eth2 --gateway near":                                   `gateway "near": must be a MAC address or an IP address`,
		"--send eth1 --receive eth2 --gateway 192.0.2.99":                             "resolve 192.0.2.99 at eth1: nobody answers",
		"--send eth1 --receive eth2 --gateway 02:00:00:00:00:99":                      "arrived at eth2: does the device forward from=192.0.2.10",
		"--send eth1 --receive eth2 --gateway 192.0.2.1 --device wire":                "a wire has no gateway",
		"--send eth1 --receive eth2 --gateway 192.0.2.1 --rules 4":                    "--rules, --marks and --routes are for devices of --testbed veth",
		"--send eth1 --receive eth2 --gateway 192.0.2.1 --size 1519":                  "packets of up to 1501 bytes: the MTU of eth",
		"--send eth1 --receive eth2 --gateway 192.0.2.1 --rate 1e9 --duration 1ms -q": "is above the generator's ceiling of ",
	} {
		var out strings.Builder
		args := append([]string{"run", "--testbed", "ports", "--rate", "1000", "--duration", "50ms"}, perfStream4...)
		p := perfInside(t, tester, &out, append(append(args, perfQuick...), strings.Fields(line)...)...)
		err := p.Wait()
		if strings.Contains(p.Output(), "too busy to measure") {
			continue
		}
		if err == nil || !strings.Contains(p.Output(), want) {
			t.Errorf("weir perf run --testbed ports %s: %v: %s, want %q", line, err, p.Output(), want)
		}
	}
}
