package lab

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestMain fails the run if anything is left when all tests are over. Started by TestSignal, the same program makes a
// laboratory and waits to be killed.
func TestMain(m *testing.M) {
	if os.Getenv("LAB_TEST_VICTIM") != "" {
		victim()
	}
	before := descriptors()
	code := m.Run()
	if os.Geteuid() == 0 {
		left, err := Leftovers()
		if err != nil || len(left) > 0 {
			fmt.Fprintln(os.Stderr, "left over:", left, err)
			code = 1
		}
		if after := descriptors(); after > before+2 { // the poller's own two, made at first use
			fmt.Fprintf(os.Stderr, "%d descriptors before, %d after\n", before, after)
			code = 1
		}
	}
	os.Exit(code)
}

func descriptors() int {
	paths, _ := filepath.Glob("/proc/self/fd/*")
	return len(paths)
}

// testContext ends long after any test should have.
func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func check(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// routed is client – router – server, the router being the kernel's.
type routed struct {
	lab                    *Lab
	client, router, server *Host
	near, far              *Link
}

var (
	client4 = netip.MustParseAddr("192.0.2.10")
	client6 = netip.MustParseAddr("2001:db8:1::10")
	server4 = netip.MustParseAddr("198.51.100.10")
	server6 = netip.MustParseAddr("2001:db8:2::10")
	router4 = netip.MustParseAddr("192.0.2.1")
	router6 = netip.MustParseAddr("2001:db8:1::1")
)

func newRouted(t *testing.T) *routed {
	t.Helper()
	r := &routed{lab: ForTest(t)}
	host := must[*Host](t)
	r.client, r.router, r.server = host(r.lab.Host("client")), host(r.lab.Host("router")), host(r.lab.Host("server"))
	link := must[*Link](t)
	r.near = link(r.lab.Link(r.client, "eth0", r.router, "em0", LinkOptions{
		Queues: 2, NoMerge: true,
		AddressesA: []string{"192.0.2.10/24", "2001:db8:1::10/64"}, AddressesB: []string{"192.0.2.1/24", "2001:db8:1::1/64"},
	}))
	r.far = link(r.lab.Link(r.server, "eth0", r.router, "em1", LinkOptions{
		AddressesA: []string{"198.51.100.10/24", "2001:db8:2::10/64"}, AddressesB: []string{"198.51.100.1/24", "2001:db8:2::1/64"},
	}))
	check(t, r.router.EnableForwarding(),
		r.client.AddRoute(Route{To: "default", Via: "192.0.2.1"}), r.client.AddRoute(Route{To: "default", Via: "2001:db8:1::1"}),
		r.server.AddRoute(Route{To: "default", Via: "198.51.100.1"}), r.server.AddRoute(Route{To: "default", Via: "2001:db8:2::1"}))
	// Many errors in a row are what the tests want.
	check(t, r.router.SetSysctl("net/ipv4/icmp_ratelimit", "0"), r.router.SetSysctl("net/ipv6/icmp/ratelimit", "0"))
	return r
}

// families runs a test for IPv4 and for IPv6.
func (r *routed) families(t *testing.T, f func(t *testing.T, client, router, server netip.Addr)) {
	t.Run("ipv4", func(t *testing.T) { f(t, client4, router4, server4) })
	t.Run("ipv6", func(t *testing.T) { f(t, client6, router6, server6) })
}
