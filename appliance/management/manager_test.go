package management

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/server4"
	"github.com/vishvananda/netlink"
	"go.uber.org/zap"

	"weir/perf/lab"
)

// asManager has the test program be a manager in the namespace that it is started in. It takes ports as lines of JSON.
const asManager = "WEIR_TEST_IS_MANAGER"

func TestMain(m *testing.M) {
	if os.Getenv(asManager) != "" {
		beManager()
		return
	}
	code := m.Run()
	if left, err := lab.Leftovers(); os.Geteuid() == 0 && (err != nil || len(left) > 0) {
		fmt.Fprintln(os.Stderr, "left over:", left, err)
		code = 1
	}
	os.Exit(code)
}

func beManager() {
	m := New(zap.Must(zap.NewDevelopment()))
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		m.Run(ctx)
	}()
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var p *Port
		if err := json.Unmarshal(lines.Bytes(), &p); err != nil {
			panic(err)
		}
		m.Set(p)
	}
	stop()
	<-done
}

// machine is a host whose port eth0, linked to a server, is a manager's.
type machine struct {
	t       *testing.T
	host    *lab.Host
	server  *lab.Host
	process *lab.Process
	stdin   *os.File
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	l := lab.ForTest(t)
	m := &machine{t: t}
	var err error
	if m.host, err = l.Host("machine"); err != nil {
		t.Fatal(err)
	}
	if m.server, err = l.Host("server"); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Link(m.host, "eth0", m.server, "eth0", lab.LinkOptions{AddressesB: []string{"192.0.2.1/24", "2001:db8::1/64"}}); err != nil {
		t.Fatal(err)
	}
	if err := m.host.SetDown("eth0"); err != nil {
		t.Fatal(err)
	}
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	m.stdin = out
	m.process, err = m.host.Start(context.Background(), lab.Command{Name: os.Args[0], Env: []string{asManager + "=1"}, Stdin: in})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		out.Close() // ends it
		if err := m.process.Wait(); err != nil {
			t.Errorf("manager: %v: %s", err, m.process.Output())
		}
	})
	return m
}

func (m *machine) set(p *Port) {
	m.t.Helper()
	if err := json.NewEncoder(m.stdin).Encode(p); err != nil {
		m.t.Fatal(err)
	}
}

// has returns the addresses that are not of the link alone, and the default routes of eth0.
func (m *machine) has() (list []string) {
	m.t.Helper()
	err := m.host.Do(func() error {
		link, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		addrs, err := netlink.AddrList(link, netlink.FAMILY_ALL)
		if err != nil {
			return err
		}
		for _, a := range addrs {
			if !a.IP.IsLinkLocalUnicast() {
				list = append(list, a.IPNet.String())
			}
		}
		routes, err := netlink.RouteList(link, netlink.FAMILY_ALL)
		if err != nil {
			return err
		}
		for _, r := range routes {
			if ones, _ := r.Dst.Mask.Size(); ones == 0 && r.Gw != nil {
				list = append(list, "via "+r.Gw.String())
			}
		}
		return nil
	})
	if err != nil {
		m.t.Fatal(err)
	}
	slices.Sort(list)
	return list
}

// until waits until eth0 has this.
func (m *machine) until(want ...string) {
	m.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for tick := time.NewTicker(5 * time.Millisecond); ; <-tick.C {
		got := m.has()
		if slices.Equal(got, want) {
			tick.Stop()
			return
		}
		if time.Now().After(deadline) {
			m.t.Fatalf("eth0 has %v, not %v: %s", got, want, m.process.Output())
		}
	}
}

func TestStatic(t *testing.T) {
	m := newMachine(t)
	m.set(&Port{
		Name: "eth0", Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.9/24"), netip.MustParsePrefix("2001:db8::9/64")},
		Gateways: []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")},
	})
	m.until("192.0.2.9/24", "2001:db8::9/64", "via 192.0.2.1", "via 2001:db8::1")
	if echo, err := m.server.Ping(t.Context(), lab.PingOptions{To: netip.MustParseAddr("192.0.2.9")}); err != nil || echo.Error != nil {
		t.Errorf("ping: %v, %v", err, echo.Error)
	}
	// What is taken away by hand comes back.
	if err := m.host.RemoveAddress("eth0", "192.0.2.9/24"); err != nil {
		t.Fatal(err)
	}
	m.until("192.0.2.9/24", "2001:db8::9/64", "via 192.0.2.1", "via 2001:db8::1")
	m.set(&Port{Name: "eth0", Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.10/24"), netip.MustParsePrefix("2001:db8::9/64")}})
	m.until("192.0.2.10/24", "2001:db8::9/64")
	m.set(nil)
	m.until()
}

func TestDHCP(t *testing.T) {
	m := newMachine(t)
	var requests, refuse atomic.Int64
	address := netip.MustParseAddr("192.0.2.50")
	var conn net.PacketConn
	err := m.server.Do(func() (err error) {
		conn, err = server4.NewIPv4UDPConn("eth0", &net.UDPAddr{Port: dhcpv4.ServerPort})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	handler := func(conn net.PacketConn, peer net.Addr, q *dhcpv4.DHCPv4) {
		kind := dhcpv4.MessageTypeOffer
		if q.MessageType() == dhcpv4.MessageTypeRequest {
			requests.Add(1)
			if kind = dhcpv4.MessageTypeAck; refuse.CompareAndSwap(1, 0) {
				kind, address = dhcpv4.MessageTypeNak, address.Next() // the next one gets another address
			}
		}
		server := net.IPv4(192, 0, 2, 1)
		r, err := dhcpv4.NewReplyFromRequest(q, dhcpv4.WithMessageType(kind), dhcpv4.WithYourIP(address.AsSlice()), dhcpv4.WithServerIP(server),
			dhcpv4.WithOption(dhcpv4.OptServerIdentifier(server)), dhcpv4.WithRouter(server), dhcpv4.WithNetmask(net.CIDRMask(24, 32)), dhcpv4.WithLeaseTime(10))
		if err != nil {
			t.Error(err)
			return
		}
		if _, err := conn.WriteTo(r.ToBytes(), &net.UDPAddr{IP: net.IPv4bcast, Port: dhcpv4.ClientPort}); err != nil {
			t.Logf("answer: %v", err)
		}
	}
	s, err := server4.NewServer("", nil, handler, server4.WithConn(conn))
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = s.Serve() // until it is closed
	}()
	defer func() {
		s.Close()
		<-served
	}()
	m.set(&Port{Name: "eth0", DHCP: true, Addresses: []netip.Prefix{netip.MustParsePrefix("2001:db8::9/64")}})
	m.until("192.0.2.50/24", "2001:db8::9/64", "via 192.0.2.1")
	// The lease is prolonged at half of its time.
	deadline := time.Now().Add(30 * time.Second)
	for tick := time.NewTicker(20 * time.Millisecond); requests.Load() < 2; <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("the lease is not prolonged: %s", m.process.Output())
		}
	}
	m.until("192.0.2.50/24", "2001:db8::9/64", "via 192.0.2.1")
	refuse.Store(1) // next time, another address
	m.until("192.0.2.51/24", "2001:db8::9/64", "via 192.0.2.1")
	if out := m.process.Output(); strings.Contains(out, "WARN") {
		t.Logf("it warned: %s", out)
	}
}
