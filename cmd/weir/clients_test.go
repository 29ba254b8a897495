package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"weir/perf/lab"
)

// beside runs a scenario on two networks alike, one whose router is the kernel, and one whose router is weir, and
// returns what each of them saw.
func beside[T any](t *testing.T, config string, build func(t *testing.T) *network, scenario func(t *testing.T, n *network) T) (kernel, weir T) {
	t.Helper()
	sides := map[string]func(t *testing.T){}
	sides["kernel"] = func(t *testing.T) {
		n := build(t)
		for _, e := range n.ends {
			need(t, n.router.AddAddress(e.port, e.gateway4().String()+"/24"), n.router.AddAddress(e.port, e.gateway6().String()+"/64"))
			for _, option := range e.options {
				if mtu := 0; scanned(option, "mtu: %d", &mtu) {
					need(t, n.router.SetMTU(e.port, mtu))
				}
			}
		}
		need(t, n.router.EnableForwarding(), // and no limit per destination: the clients ask for many errors
			n.router.SetSysctl("net/ipv4/icmp_ratelimit", "0"), n.router.SetSysctl("net/ipv6/icmp/ratelimit", "0"))
		n.warm([2]*end{n.ends[0], n.ends[1]}, [2]*end{n.ends[1], n.ends[0]})
		kernel = scenario(t, n)
	}
	sides["weir"] = func(t *testing.T) {
		n := build(t)
		n.start(n.config(config))
		n.warm([2]*end{n.ends[0], n.ends[1]}, [2]*end{n.ends[1], n.ends[0]})
		weir = scenario(t, n)
	}
	t.Run("beside", func(t *testing.T) { // returns when both have ended
		for name, side := range sides {
			t.Run(name, func(t *testing.T) { t.Parallel(); side(t) })
		}
	})
	return kernel, weir
}

func scanned(text, format string, to ...any) bool {
	n, err := fmt.Sscanf(text, format, to...)
	return n == len(to) && err == nil
}

// program is the path of a program that Debian has a package of. Without it the test is left out; where everything has been
// installed for the tests (CI=true), it fails.
func program(t *testing.T, name, pkg string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	switch {
	case err == nil:
	case os.Getenv("CI") == "true":
		t.Fatalf("%s is not installed (apt-get install %s)", name, pkg)
	default:
		t.Skipf("%s is not installed (apt-get install %s)", name, pkg)
	}
	return path
}

// does runs a program in the host to its end and returns what it printed.
func (e *end) does(path string, args ...string) string {
	e.n.t.Helper()
	output, _ := e.doing(path, args...)
	return output
}

// doing is does, and how much CPU time the program took.
func (e *end) doing(path string, args ...string) (output string, cpu time.Duration) {
	e.n.t.Helper()
	p := must[*lab.Process](e.n.t)(e.Start(testContext(e.n.t), lab.Command{Name: path, Args: args}))
	if err := p.Wait(); err != nil {
		var status *exec.ExitError
		if !errors.As(err, &status) || !status.Exited() {
			e.n.t.Fatalf("%s %v: %v: %s", path, args, err, p.Output())
		}
	}
	return p.Output(), p.CPU()
}

// traces runs traceroute -I, and runs it again, a few times at most, when it got stuck. The kernel puts an ICMP error into a raw socket's error queue
// first and sets the socket's error after that (rawv6_err, raw_err). A reader on another CPU that is faster than the
// second step leaves an error behind that no queue holds and that sending on a raw socket does not clear. From then on poll
// says POLLERR, for which traceroute -I reads the error queue alone: it spins until all its probes have timed out,
// the replies unread. One that waits for replies that nobody sends takes milliseconds of CPU time; nothing is forgiven to it.
func (e *end) traces(path string, args ...string) string {
	e.n.t.Helper()
	for try := 1; ; try++ {
		output, cpu := e.doing(path, args...)
		if cpu < 500*time.Millisecond || try == 4 {
			return output
		}
		e.n.t.Logf("%s %v took %v of CPU time, once more: %s", path, args, cpu, output)
	}
}

var (
	times   = regexp.MustCompile(`[0-9]+\.?[0-9]* ?ms`)
	loss    = regexp.MustCompile(`(\|-- \S+)\s+([0-9.]+)%\s+([0-9]+)\s.*`) // mtr: keeps the host, its loss and the number of probes
	mtrHead = regexp.MustCompile(`^(Start:|HOST:).*`)
	spaces  = regexp.MustCompile(` +`)
	rtt     = regexp.MustCompile(`^rtt .*`)
)

// timeless leaves out of a program's output what differs from run to run, so that two can be compared.
func timeless(output string) string {
	var lines []string
	for line := range strings.Lines(output) {
		line = strings.TrimRight(line, " \n")
		line = mtrHead.ReplaceAllString(rtt.ReplaceAllString(loss.ReplaceAllString(line, "$1 $2% of $3"), "rtt"), "$1")
		line = regexp.MustCompile(`, time `).ReplaceAllString(line, ", ")      // of ping's last line
		line = spaces.ReplaceAllString(times.ReplaceAllString(line, "T"), " ") // columns are as wide as the times
		lines = append(lines, strings.TrimRight(line, " "))
	}
	return strings.Join(lines, "\n")
}

// narrow is a network whose second link takes 1,400 bytes, on both sides.
func narrow(t *testing.T) *network {
	n := newNetworkOf(t, endOptions{name: "em0"}, endOptions{name: "em1", config: "mtu: 1400"})
	need(t, n.ends[1].SetMTU(hostPort, 1400))
	return n
}

// TestDiagnosticClients: the programs that people look at a path with print the same whether weir or the kernel is in it.
func TestDiagnosticClients(t *testing.T) {
	traceroute, tracepath := program(t, "traceroute", "traceroute"), program(t, "tracepath", "iputils-tracepath")
	ping, mtr := program(t, "ping", "iputils-ping"), program(t, "mtr", "mtr-tiny")
	type said struct{ command, output string }
	kernel, weir := beside(t, refusing, narrow, func(t *testing.T, n *network) (all []said) {
		from, to := n.ends[0], n.ends[1]
		// What refusing routes, for the kernel: everything else it has from its addresses.
		if forwards := must[string](t)(n.router.Sysctl("net/ipv4/ip_forward")); forwards == "1" {
			for _, r := range []lab.Route{
				{To: "203.0.113.0/26", Via: to.addr4().String()},
				{To: "2001:db8:5:0::/64", Via: to.addr6().String()},
			} {
				need(t, n.router.AddRoute(r))
			}
		}
		need(t, to.AddAddress("lo", "203.0.113.9/32"), to.AddAddress("lo", "2001:db8:5::9/128"))
		run := func(path string, args ...string) {
			does := from.does
			if slices.Contains(args, "-I") {
				does = from.traces
			}
			all = append(all, said{fmt.Sprint(filepath.Base(path), args), timeless(does(path, args...))})
		}
		for _, far := range []string{"203.0.113.9", "2001:db8:5::9"} {
			family := "-4"
			if strings.Contains(far, ":") {
				family = "-6"
			}
			for _, method := range []string{"-U", "-I", "-T"} {
				run(traceroute, family, "-n", "-q", "1", "-w", "3", "-z", "50", method, far)
			}
			run(traceroute, family, "-n", "-q", "1", "-w", "3", "-z", "50", "--mtu", far)
			run(tracepath, family, "-n", "-m", "8", far)
			run(ping, family, "-n", "-c", "3", "-i", "0.2", far)
			run(ping, family, "-n", "-c", "2", "-i", "0.2", "-t", "1", far)
			run(ping, family, "-n", "-c", "2", "-i", "0.2", "-W", "2", "-M", "do", "-s", "1452", far) // learns the MTU
			run(ping, family, "-n", "-c", "2", "-i", "0.2", "-W", "2", "-M", "do", "-s", "1452", far) // knows it
			run(ping, family, "-n", "-c", "2", "-i", "0.2", "-M", "do", "-s", "1352", far)
			run(ping, family, "-n", "-c", "2", "-i", "0.2", "-M", "dont", "-s", "3000", far)
			run(mtr, family, "-n", "--report", "-c", "3", "-i", "0.3", "-G", "0.5", far)
		}
		run(ping, "-n", "-c", "1", "-W", "2", "192.0.2.200") // nobody knows the way
		return all
	})
	if t.Failed() {
		return
	}
	hops := 0
	for i := range kernel {
		if kernel[i] != weir[i] {
			t.Errorf("%s\nkernel:\n%s\nweir:\n%s", kernel[i].command, kernel[i].output, weir[i].output)
		}
		hops += strings.Count(weir[i].output, "10.0.0.1") + strings.Count(weir[i].output, "fd00::1")
	}
	if hops < 12 {
		t.Errorf("the router shows in %d lines only", hops)
	}
}

// TestIPerf: iperf3 measures throughput through weir, over both families and through a smaller MTU, and its streams arrive
// whole.
func TestIPerf(t *testing.T) {
	iperf := program(t, "iperf3", "iperf3")
	n := narrow(t)
	n.start(n.config(""))
	from, to := n.ends[0], n.ends[1]
	n.warm([2]*end{from, to})
	ctx, stop := context.WithCancel(testContext(t))
	defer stop()
	server := must[*lab.Process](t)(to.Start(ctx, lab.Command{Name: iperf, Args: []string{"--server", "--forceflush"}}))
	eventually(t, "the server listens", func() (bool, any) { return strings.Contains(server.Output(), "listening"), server.Output() })
	for _, c := range [][]string{
		{"-c", to.addr4().String(), "-n", "20M"},
		{"-c", to.addr6().String(), "-n", "20M"},
		{"-c", to.addr4().String(), "-n", "20M", "-R", "-P", "4"},
		{"-c", to.addr4().String(), "-n", "1M", "-u", "-b", "20M", "-l", "1200"},
	} {
		var result struct {
			Error string
			End   struct {
				Sent     struct{ Bytes float64 } `json:"sum_sent"`
				Received struct{ Bytes float64 } `json:"sum_received"`
				Sum      struct {
					Packets float64
					Lost    float64 `json:"lost_packets"`
				}
			}
		}
		out := from.does(iperf, append(c, "--json")...)
		if err := json.Unmarshal([]byte(out), &result); err != nil || result.Error != "" {
			t.Errorf("iperf3 %v: %v, %s", c, err, out)
			continue
		}
		udp := result.End.Sum.Packets > 0
		// The client asks for the end of the test while the last bytes are on the way.
		if got := result.End.Received.Bytes; !udp && (got < 0.5*result.End.Sent.Bytes || got == 0) || udp && result.End.Sum.Lost > 0.5*result.End.Sum.Packets {
			t.Errorf("iperf3 %v: %s", c, out)
		}
	}
}

// TestSSH: an SSH session through weir, and one to the router's own address, which the kernel answers, carry a file whole
// in both directions, over both families, while other traffic passes.
func TestSSH(t *testing.T) {
	sshd, ssh, keygen := program(t, "sshd", "openssh-server"), program(t, "ssh", "openssh-client"), program(t, "ssh-keygen", "openssh-client")
	n := narrow(t)
	w := n.start(n.config(""))
	from, to := n.ends[0], n.ends[1]
	n.warm([2]*end{from, to})
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	for _, key := range []string{"host", "user"} {
		from.does(keygen, "-q", "-t", "ed25519", "-N", "", "-f", file(key))
	}
	need(t, os.Rename(file("user.pub"), file("authorized")), os.Chmod(dir, 0o700), os.MkdirAll("/run/sshd", 0o755))
	need(t, os.WriteFile(file("config"), []byte(fmt.Sprintf("HostKey %s\nAuthorizedKeysFile %s\nPidFile none\nUsePAM no\nStrictModes no\nPermitRootLogin yes\nPort 22\n",
		file("host"), file("authorized"))), 0o600))
	ctx, stop := context.WithCancel(testContext(t))
	defer stop()
	for _, host := range []*lab.Host{to.Host, n.router} {
		p := must[*lab.Process](t)(host.Start(ctx, lab.Command{Name: sshd, Args: []string{"-D", "-e", "-f", file("config")}}))
		eventually(t, "sshd listens", func() (bool, any) { return strings.Contains(p.Output(), "Server listening on :: "), p.Output() })
	}
	sent := stream(ctx, from.Host, lab.UDPOptions{To: netip.AddrPortFrom(to.addr4(), 9), Rate: perSecond(10_000)})
	content := make([]byte, 4<<20)
	_, err := rand.Read(content)
	need(t, err)
	for _, far := range []netip.Addr{to.addr4(), to.addr6(), from.gateway4(), from.gateway6(), to.gateway4()} {
		var back bytes.Buffer
		p := must[*lab.Process](t)(from.Start(ctx, lab.Command{
			Name: ssh, Stdin: bytes.NewReader(content), Stdout: &back,
			Args: []string{"-i", file("user"), "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes",
				"-o", "ConnectTimeout=10", "root@" + far.String(), "cat"},
		}))
		if err := p.Wait(); err != nil || sha256.Sum256(back.Bytes()) != sha256.Sum256(content) {
			t.Errorf("ssh %s: %v, %d of %d bytes came back: %s", far, err, back.Len(), len(content), p.Output())
		}
	}
	stop()
	need(t, (<-sent).err)
	eventually(t, "sshd has ended", func() (bool, any) { // it must not outlive the laboratory
		left := must[[]string](t)(lab.Leftovers())
		for _, l := range left {
			if strings.Contains(l, "sshd") {
				return false, left
			}
		}
		return true, nil
	})
	if s := w.rest(); s.Totals.Transmitted == 0 {
		t.Errorf("counted %+v", s.Totals)
	}
}
