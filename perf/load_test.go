package perf

import (
	"compress/gzip"
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"weir/perf/lab"
)

// TestPeersLoad has the kernel, with and without its stack, carry rules and routes, and send packets by those routes.
func TestPeersLoad(t *testing.T) {
	needTwoCPUs(t)
	r, err := Peers(t.Context(), PeersOptions{
		Peers: []Peer{XDP, Kernel}, Rounds: 2, Window: 50 * time.Millisecond, Rates: []float64{20e3}, Common: 10e3,
		Load: Load{Rules: 3, Routes: []netip.Prefix{netip.MustParsePrefix("20.0.0.0/9"), netip.MustParsePrefix("21.1.2.3/32")}},
	})
	check(t, err)
	for _, p := range r.Peers {
		for _, turn := range p.Turns {
			for _, w := range turn.Windows {
				if w.Counted == 0 || w.Counted > w.Sent || w.NAPI <= 0 || w.Worker != 0 {
					t.Errorf("%s: %+v", p.Peer, w)
				}
			}
		}
	}
	nothingLeft(t)
}

func TestParseRoutes(t *testing.T) {
	dir := t.TempDir()
	plain, packed, bad := filepath.Join(dir, "plain"), filepath.Join(dir, "packed.gz"), filepath.Join(dir, "bad")
	const text = "10.1.2.3/8\n2001:db8::/32\n\n10.0.0.0/8\n192.0.2.0/24\n"
	check(t, os.WriteFile(plain, []byte(text), 0o600), os.WriteFile(bad, []byte("10.0.0.0/8\nx\n"), 0o600))
	var b strings.Builder
	z := gzip.NewWriter(&b)
	_, err := z.Write([]byte(text))
	check(t, err, z.Close(), os.WriteFile(packed, []byte(b.String()), 0o600))
	want := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("192.0.2.0/24")}
	for _, name := range []string{plain, packed} {
		if got, err := ParseRoutes(name, false); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	if got, err := ParseRoutes("1000", false); err != nil || len(got) != 1000 {
		t.Errorf("%d routes, %v", len(got), err)
	}
	for name, part := range map[string]string{"-1": "routes", "3000000": "routes", bad: "line 2", filepath.Join(dir, "none"): "no such file"} {
		if _, err := ParseRoutes(name, false); err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestDestinations wants them inside of the routes, some of them often.
func TestDestinations(t *testing.T) {
	l := Load{Routes: randomPrefixes(100, false)}
	often := map[netip.Addr]int{}
	for _, a := range l.destinations(false) {
		often[a]++
	}
	most := 0
	for a, n := range often {
		most = max(most, n)
		if !slices.ContainsFunc(l.Routes, func(p netip.Prefix) bool { return p.Contains(a) }) {
			t.Fatalf("%v is in no route", a)
		}
	}
	if len(often) < 10_000 || most < loadDestinations/100 {
		t.Errorf("%d addresses, one %d times", len(often), most)
	}
}

// TestGeneratorListed wants every listed destination to have its share.
func TestGeneratorListed(t *testing.T) {
	w := newWire(t, "64", 1, 1)
	s := w.stream
	s.listed = []netip.Addr{netip.MustParseAddr("20.0.0.1"), netip.MustParseAddr("21.0.0.2"), netip.MustParseAddr("20.0.0.1")}
	g, err := newGenerator(w.near, s)
	check(t, err)
	defer func() { check(t, g.close()) }()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	frames := must[*lab.FrameSocket](t)(w.far.OpenFrames("eth0"))
	sent, err := g.run(ctx, 10e3, 30*time.Millisecond)
	check(t, err)
	ours := func(f lab.Frame) bool { return len(f.Data) > 14 && f.Data[12] == 8 && f.Data[13] == 0 }
	got := map[netip.Addr]int{}
	for range sent.packets {
		got[netip.AddrFrom4([4]byte(must[lab.Frame](t)(frames.Await(ctx, ours)).Data[30:34]))]++
	}
	if n := int(sent.packets); got[s.listed[0]] < n/2-n/20 || got[s.listed[1]] < n/4 || len(got) != 2 {
		t.Errorf("of %d packets %v", n, got)
	}
}

func TestLoadOptions(t *testing.T) {
	for _, l := range []Load{{Rules: -1}, {Rules: LoadMax + 1}, {Marks: LoadMax + 1}} {
		if _, err := Peers(t.Context(), PeersOptions{Load: l}); err == nil || !strings.Contains(err.Error(), "rules") {
			t.Errorf("%v: %v", l.String(), err)
		}
	}
}

// TestRefusedRoutes wants to know which route the kernel does not want.
func TestRefusedRoutes(t *testing.T) {
	needRoot(t)
	l := lab.ForTest(t)
	host := must[*lab.Host](t)(l.Host("lonely"))
	err := host.AddRoutes([]netip.Prefix{netip.MustParsePrefix("20.0.0.0/8")}, netip.MustParseAddr("192.0.2.1"))
	if err == nil || !strings.Contains(err.Error(), "20.0.0.0/8") {
		t.Errorf("error %v", err)
	}
}

// TestPeersMarked has the kernel's forwarding pass mark statements.
func TestPeersMarked(t *testing.T) {
	needTwoCPUs(t)
	if _, err := exec.LookPath(nftProgram); err != nil {
		t.Skip(err)
	}
	r, err := Peers(t.Context(), PeersOptions{
		Peers: []Peer{Kernel, Marked}, Rounds: 1, Window: 50 * time.Millisecond, Rates: []float64{20e3}, Common: 10e3, Load: Load{Marks: 300},
	})
	check(t, err)
	for _, p := range r.Peers {
		for _, w := range p.Turns[0].Windows {
			if w.Counted == 0 || w.Counted > w.Sent || w.NAPI <= 0 {
				t.Errorf("%s: %+v", p.Peer, w)
			}
		}
	}
	nothingLeft(t)
}

// TestUseNFT wants the statements in the router's kernel, each once, and none of them left.
func TestUseNFT(t *testing.T) {
	needTwoCPUs(t)
	if _, err := exec.LookPath(nftProgram); err != nil {
		t.Skip(err)
	}
	o := PeersOptions{Load: Load{Marks: 3}}
	check(t, o.complete())
	bed := must[*testbed](t)(newTestbed(&o))
	defer func() { check(t, bed.close()) }()
	list := func() string {
		p := must[*lab.Process](t)(bed.router.Start(t.Context(), lab.Command{Name: nftProgram, Args: []string{"list", "ruleset"}}))
		check(t, p.Wait())
		return p.Output()
	}
	r := must[*running](t)(bed.start(t.Context(), Marked, &o))
	text := list()
	for i := range o.Load.Marks {
		if strings.Count(text, fmt.Sprintf("ip saddr %s meta mark set 0x00000001", loadSource(i))) != 1 {
			t.Errorf("statement %d is not there:\n%s", i, text)
		}
	}
	check(t, r.stop())
	if text := list(); text != "" {
		t.Errorf("left over: %s", text)
	}
}

// TestPeersTestpmd has DPDK's forwarder in the router's place, where it is installed.
func TestPeersTestpmd(t *testing.T) {
	needTwoCPUs(t)
	if _, err := exec.LookPath(testpmdProgram); err != nil {
		t.Skip(err)
	}
	r, err := Peers(t.Context(), PeersOptions{
		Peers: []Peer{Testpmd}, Rounds: 1, Window: 50 * time.Millisecond, Rates: []float64{20e3}, Common: 10e3,
	})
	check(t, err)
	for _, w := range r.Peers[0].Turns[0].Windows {
		if w.Counted == 0 || w.Counted > w.Sent || w.Worker <= 0 {
			t.Errorf("%+v", w)
		}
	}
	nothingLeft(t)
}
