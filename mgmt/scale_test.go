package mgmt

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Sizes of a large configuration.
const (
	scaleRules      = 10_000
	scaleStatements = 1_000
	scaleRoutes     = 1_000_000
)

// writeScale writes a configuration with rules as people have them by the thousand, one for each customer's prefix, and some by port,
// protocol, mark and DSCP, statements that mark by sets and ports, and the Internet in a routes-file. overlap has the rules
// contain parts of one another instead, in ways that no index sorts out.
func writeScale(t testing.TB, dir string, overlap bool) string {
	rng := rand.New(rand.NewPCG(4, 2))
	routes, err := os.Create(filepath.Join(dir, "internet.routes"))
	if err != nil {
		t.Fatal(err)
	}
	w := bufio.NewWriter(routes)
	for i := range scaleRoutes {
		fmt.Fprintf(w, "%d.%d.%d.0/24 via 198.51.100.%d dev em1 metric %d\n", 1+i>>16, i>>8&0xff, i&0xff, 2+rng.IntN(200), rng.IntN(100))
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := routes.Close(); err != nil {
		t.Fatal(err)
	}

	var b strings.Builder
	b.WriteString("version: 1\nports:\n")
	for i := range 8 {
		fmt.Fprintf(&b, "  em%d: {group: g%d, addresses: [198.51.%d.1/24]}\n", i, i%3, 99+i)
	}
	b.WriteString("sets:\n  servers: [")
	for i := range 1000 {
		fmt.Fprintf(&b, "172.16.%d.%d/32, ", i>>8, i&0xff)
	}
	b.WriteString("172.17.0.0/16]\n  web: [80, 443, 8000-8099]\ntables:\n  internet: {id: 100, routes-file: internet.routes}\n")
	for i := range 20 {
		fmt.Fprintf(&b, "  t%d: {id: %d, routes: [{to: 10.%d.0.0/16, via: 198.51.100.9}]}\n", i, 200+i, i)
	}
	b.WriteString("marks:\n  main:\n")
	for i := range scaleStatements {
		switch i % 4 {
		case 0:
			fmt.Fprintf(&b, "    - {name: s%d, match: {from: 10.%d.%d.0/24, proto: tcp, dport: $web}, then: [{mark: %#x/0xfff}]}\n", i, i>>8, i&0xff, 1+i%500)
		case 1:
			fmt.Fprintf(&b, "    - {name: s%d, match: {iif: em%d, to: $servers, proto: udp, dport: %d-%d}, then: [{mark: %#x/0xfff}, {dscp: ef}]}\n", i, i%8, i, i+50, 1+i%500)
		case 2:
			fmt.Fprintf(&b, "    - {name: s%d, match: {from: {not: 10.%d.0.0/16}, proto: icmp, icmp-type: %d}, then: [{dscp: %d}]}\n", i, i%256, i%200, i%64)
		default:
			fmt.Fprintf(&b, "    - {name: s%d, match: {from: 10.%d.%d.%d, tcp-flags: \"syn,!ack\", dport: 25}, then: [reject]}\n", i, i%256, i>>2&0xff, i%250)
		}
	}
	b.WriteString("rules:\n")
	for i := range scaleRules {
		table := "internet"
		if i%3 > 0 {
			table = fmt.Sprintf("t%d", i%20)
		}
		switch {
		case overlap:
			fmt.Fprintf(&b, "  - {name: customer-%d, priority: %d, sport: %d-%d, dport: %d-%d, action: blackhole}\n", i, 1+i, 1+i, 40000+i, 1+i, 40000+i)
		case i%10 < 6:
			fmt.Fprintf(&b, "  - {name: customer-%d, priority: %d, from: 10.%d.%d.%d/30, iif: em%d, lookup: %s}\n", i, 1+i, i>>8, i&0xff, i%64*4, i%8, table)
		case i%10 < 8:
			fmt.Fprintf(&b, "  - {name: service-%d, priority: %d, to: 172.%d.%d.0/%d, proto: tcp, dport: %d, lookup: %s}\n", i, 1+i, 16+i>>8, i&0xff, 24, 1024+i, table)
		case i%10 < 9:
			fmt.Fprintf(&b, "  - {name: mark-%d, priority: %d, fwmark: %#x/0xfff, from: 10.%d.0.0/16, lookup: %s}\n", i, 1+i, 1+i/10*4%500, i%256, table)
		default:
			fmt.Fprintf(&b, "  - {name: range-%d, priority: %d, sport: %d-%d, iif-group: g%d, dscp: %d, lookup: %s}\n", i, 1+i, i, i+100, i%3, i%64, table)
		}
	}
	name := filepath.Join(dir, "weir.yaml")
	if err := os.WriteFile(name, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

// BenchmarkCheck has `weir check` read that, as a process of its own, whose memory at its highest the kernel tells.
func BenchmarkCheck(b *testing.B) {
	weir := filepath.Join(b.TempDir(), "weir")
	if out, err := exec.Command("go", "build", "-buildvcs=false", "-o", weir, "weir/cmd/weir").CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	for _, c := range []struct {
		name    string
		overlap bool
	}{{"customers", false}, {"overlapping", true}} {
		b.Run(c.name, func(b *testing.B) {
			config := writeScale(b, b.TempDir(), c.overlap)
			text, err := os.Stat(config)
			if err != nil {
				b.Fatal(err)
			}
			peak, warnings, cpu := int64(0), 0, time.Duration(0)
			for b.Loop() {
				cmd := exec.Command(weir, "check", "-c", config)
				out, err := cmd.CombinedOutput()
				if err != nil {
					b.Fatalf("%v\n%s", err, out)
				}
				peak = max(peak, cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss<<10)
				cpu += cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
				warnings = strings.Count(string(out), "\n")
			}
			b.ReportMetric(b.Elapsed().Seconds()/float64(b.N), "s/check")
			b.ReportMetric(cpu.Seconds()/float64(b.N), "cpu-s/check")
			b.ReportMetric(float64(peak)/(1<<30), "peak-GiB")
			b.ReportMetric(float64(text.Size())/(1<<20), "text-MiB")
			b.ReportMetric(float64(warnings), "warnings")
			b.ReportMetric(0, "ns/op")
		})
	}
}
