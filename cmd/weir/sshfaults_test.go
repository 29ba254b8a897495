package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weir/mgmt/store"
	"weir/perf/lab"
)

// managedUplinks is a router with two uplinks that alice manages by the first port, and two configurations for it.
func managedUplinks(t *testing.T) (n *network, alice *admin, old, other string) {
	n = newNetwork(t, "em0", "wan0", "wan1")
	serve(t, n.ends[1], n.ends[2])
	alice = newAdmin(n.ends[0], "alice")
	system := sshSystem(fmt.Sprintf("  metrics: {listen: %q}\n", metricsAt), alice)
	return n, alice, uplinkPolicy(n, 0) + system, uplinkPolicy(n, 1) + system
}

// TestPowerCutBySSH: a router that is killed while a commit that came by SSH waits for its confirmation has the configuration
// before in force when it starts again, and tells who asks by SSH why. Its host key is the same.
func TestPowerCutBySSH(t *testing.T) {
	n, alice, old, other := managedUplinks(t)
	w := n.start(old)
	if r := alice.commits(other, "commit", "confirmed", "60", "comment", "trial"); r.ConfirmBy == nil {
		t.Errorf("report %+v", r)
	}
	w.holds(other)
	w.kill()
	w.run()
	w.holds(old)
	const why = "commit 2 was not confirmed before weir ended: rolled back to 1"
	got := alice.ssh(nil, "show commits") // which ssh refuses if the host key is another one
	if got.status != 0 || !strings.Contains(got.out, why) || !strings.Contains(got.out, "[rolled back] trial") {
		t.Errorf("show commits: %+v", got)
	}
	if got := alice.ssh(nil, "show ports"); !strings.HasPrefix(got.out, "note: commit 3: "+why) {
		t.Errorf("show ports: %+v", got)
	}
	if got := alice.ssh(nil, "show log | match 'rolled back'"); !strings.Contains(got.out, why) {
		t.Errorf("show log: %+v", got)
	}
	if got := alice.ssh(nil, "confirm"); !got.says("no commit waits for its confirmation") {
		t.Errorf("confirm: %+v", got)
	}
}

// TestCutOffBySSH: somebody commits, to be confirmed, a configuration without the address that he has come by. His session is
// gone, and nobody gets in, until the time is over; then all is as before.
func TestCutOffBySSH(t *testing.T) {
	n, alice, old, _ := managedUplinks(t)
	w := n.start(old)
	n.warm([2]*end{n.ends[0], n.ends[1]})
	alice.options = []string{"-o", "ConnectTimeout=1", "-o", "ServerAliveInterval=1", "-o", "ServerAliveCountMax=1"}
	address := fmt.Sprintf("[%s/24,", alice.to)
	cut := strings.Replace(old, address, "[10.99.0.1/24,", 1)
	session := must[*lab.Process](t)(alice.at.Start(testContext(t), alice.command(strings.NewReader(cut), "commit confirmed 0.1")))
	var last store.Commit
	eventually(t, "it is in force", func() (bool, any) { last = w.commits()[0]; return last.Pending, last })
	if got := alice.ssh(nil, "show commits"); got.status != 255 && w.commits()[0].Pending {
		t.Errorf("somebody gets in by an address that the router has not: %+v", got)
	}
	if err := session.Wait(); err == nil || strings.Contains(session.Output(), "commit 2") {
		t.Errorf("the session that cut itself off ends with %v: %s", err, session.Output())
	}
	const why = "commit 2 was not confirmed in time: rolled back to 1"
	eventually(t, "the router answers as before", func() (bool, any) {
		got := alice.ssh(nil, "show commits")
		return got.status == 0 && strings.Contains(got.out, why), got
	})
	w.holds(old)
}

// TestRefusedBySSH: what is wrong with a configuration is said on standard error, with status 1, while packets pass as before.
func TestRefusedBySSH(t *testing.T) {
	n, alice, old, other := managedUplinks(t)
	bob := newAdmin(n.ends[0], "bob")
	key := strings.TrimSpace(string(must[[]byte](t)(os.ReadFile(filepath.Join(bob.dir, "bob.pub")))))
	both := fmt.Sprintf("      bob: {role: admin, keys: [%q]}\n", key)
	old, other = old+both, other+both
	w := n.prepare(old)
	at := w.mounted("weir-test", "tmpfs", 0, "size=512k")
	w.write(old)
	w.run()
	from, wan0 := n.ends[0], n.ends[1]
	n.warm([2]*end{from, wan0})
	receiver := listen(t, wan0, alternating[0])
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	s := stream(ctx, from.Host, lab.UDPOptions{To: receiver.Address(), Flows: 2, Rate: perSecond(10_000)})
	need(t, receiver.WaitCount(testContext(t), 1000))
	full := filepath.Join(at, "fill")
	nothing := func() {}
	w.forgetPeak()
	before := w.memory("VmHWM")
	for _, c := range []struct {
		what, words, want string
		text              io.Reader
		before, after     func()
	}{
		{"unknown key", "reload", fmt.Sprintf("weir.yaml:%d:1: rulez: ", 1+strings.Count(old, "\n")), strings.NewReader(old + "rulez: []\n"), nothing, nothing},
		{"no such port", "reload", "prepare: ", strings.NewReader(strings.Replace(old, "  em0:", "  em9:", 1)), nothing, nothing},
		{"half a file", "commit", "weir.yaml:", strings.NewReader(old[:len(old)/2]), nothing, nothing},
		{"100 MB", "reload", "weir.yaml:1:1: text is larger than 8388608 bytes", io.LimitReader(zeros{}, 100<<20), nothing, nothing},
		{"escape sequences in a comment", `commit comment "a` + "\x1b]0;title\x07" + `b"`, `a\x1b]0;title\x07b`, strings.NewReader(other), nothing, nothing},
		{"escape sequences in the text", "commit", "character U+009B is not allowed", strings.NewReader(other + "# \u009b2J\n"), nothing, nothing},
		{"a full disk", "reload", "no space left on device", strings.NewReader(other), func() {
			f := must[*os.File](t)(os.Create(full))
			if _, err := io.Copy(f, zeros{}); err == nil {
				t.Fatal("the disk is not full")
			}
			need(t, f.Close())
		}, func() { need(t, os.Remove(full)) }},
	} {
		was := receiver.Report().Received
		c.before()
		if got := alice.ssh(c.text, c.words); !got.says(c.want) || strings.ContainsAny(got.errs, "\x1b\x07") {
			t.Errorf("%s: status %d, %q, %q, which does not say %q", c.what, got.status, got.out, got.errs, c.want)
		}
		c.after()
		w.holds(old)
		if g := w.look().Generation; g != 1 {
			t.Errorf("%s: generation %d", c.what, g)
		}
		eventually(t, "traffic goes on", func() (bool, any) { return receiver.Report().Received > was, was })
	}
	if growth := w.memory("VmHWM") - before; growth > 64<<20 && !raceEnabled {
		t.Errorf("memory grew by %d MiB", growth>>20)
	}

	// What somebody runs is shown to others as a terminal may have it.
	held, end := io.Pipe()
	waits := must[*lab.Process](t)(alice.at.Start(testContext(t), alice.command(held, "commit comment '\x1b[2J'")))
	eventually(t, "the command is listed", func() (bool, any) {
		out, _ := w.call("show", "sessions")
		return strings.Contains(out, `'\x1b[2J'`) && !strings.Contains(out, "\x1b"), out
	})
	need(t, end.Close())
	if err := waits.Wait(); err == nil || !strings.Contains(waits.Output(), "no configuration on standard input") {
		t.Errorf("a commit of nothing: %v: %s", err, waits.Output())
	}

	// Two at once, from the same configuration: one wins, and the other is told who has.
	base := w.commits()[0].Hash
	replies := make(chan reply, 2)
	for i, a := range []*admin{alice, bob} {
		go func() {
			replies <- a.ssh(strings.NewReader(fmt.Sprintf("%s# %d\n", old, i)), "commit base "+base)
		}()
	}
	one, two := <-replies, <-replies
	if two.status == 0 {
		one, two = two, one
	}
	if one.status != 0 || !two.says("conflict") || !strings.Contains(two.errs, "--- commit 1") || !strings.Contains(two.errs, " via ssh from ") {
		t.Errorf("two at once: %+v, %+v", one, two)
	}
	stop()
	delivered(t, w, delivery{<-s, []*lab.UDPReceiver{receiver}})
	if r := alice.commits(other, "reload"); r.Generation != 3 {
		t.Errorf("generation %d after a good reload", r.Generation)
	}
}

// TestReadOnlyDiskBySSH: where nothing can be written, SSH answers all the same, and says why nothing can be committed.
func TestReadOnlyDiskBySSH(t *testing.T) {
	n, alice, old, other := managedUplinks(t)
	w := n.prepare(old)
	source := filepath.Join(w.dir, "source")
	need(t, os.Mkdir(source, 0o700), os.WriteFile(filepath.Join(source, "weir.yaml"), []byte(old), 0o600))
	at := w.mounted(source, "", unix.MS_BIND, "")
	need(t, unix.Mount("", at, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""))
	w.run()
	if got := alice.ssh(strings.NewReader(other), "reload"); !got.says("read-only file system") {
		t.Errorf("reload: %+v", got)
	}
	w.holds(old)
	if got := alice.ssh(nil, "show log"); !strings.Contains(got.out, "SSH host key is not kept") {
		t.Errorf("show log: %+v", got)
	}
}

// TestCrowdBySSH: a thousand connections that never authenticate, and a client that takes nothing, keep neither packets nor
// others from passing, and leave nothing behind.
func TestCrowdBySSH(t *testing.T) {
	n, alice, old, other := managedUplinks(t)
	from, wan0, wan1 := n.ends[0], n.ends[1], n.ends[2]
	w := n.start(old)
	n.warm([2]*end{from, wan0}, [2]*end{from, wan1})
	alice.commits(other, "reload")
	before := w.usage(nil)
	receivers := []*lab.UDPReceiver{listen(t, wan0, steady[0])}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	s := stream(ctx, from.Host, lab.UDPOptions{To: receivers[0].Address(), Flows: 2, Size: 512, Rate: perSecond(20_000)})

	reader, writer, err := os.Pipe() // nobody reads it
	need(t, err)
	defer reader.Close()
	slow := alice.command(nil, "capture")
	slow.Stdout = writer
	capture := must[*lab.Process](t)(from.Start(testContext(t), slow))
	need(t, writer.Close())
	const sources, each = 10, 100
	var crowd []net.Conn
	for i := range sources {
		source := netip.AddrFrom4([4]byte{10, 0, 2, byte(100 + i)})
		need(t, wan1.AddAddress(hostPort, source.String()+"/24"))
		need(t, wan1.Do(func() error {
			d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(source, 0)), Timeout: 10 * time.Second}
			for range each {
				c, err := d.DialContext(t.Context(), "tcp4", netip.AddrPortFrom(wan1.gateway4(), 2022).String())
				if err != nil {
					return err
				}
				crowd = append(crowd, c)
			}
			return nil
		}))
		if got := alice.ssh(nil, "show ports"); got.status != 0 {
			t.Errorf("with %d connections: %+v", len(crowd), got)
		}
	}
	out, _ := w.call("show", "sessions")
	if !strings.Contains(out, "capture") {
		t.Errorf("the capture does not run:\n%s", out)
	}
	alice.commits(old, "reload")
	n.ping(from, wan1.addr4())
	stop()
	delivered(t, w, delivery{<-s, receivers})
	for _, c := range crowd {
		c.Close()
	}
	need(t, capture.Signal(unix.SIGKILL))
	<-capture.Done()
	after := w.usage(&before)
	t.Logf("before %v, after %v", before, after)
	if growth := after.resident - before.resident; growth > 32<<20 && !raceEnabled {
		t.Errorf("memory grew by %d KiB", growth>>10)
	}
}

// TestEventsBySSH: commits, rollbacks, refusals, links and gateways reach a session that follows the log, and metrics.
func TestEventsBySSH(t *testing.T) {
	n, alice, old, other := managedUplinks(t)
	from, wan0, wan1 := n.ends[0], n.ends[1], n.ends[2]
	need(t, n.router.SetSysctl("net/ipv4/neigh/wan1/retrans_time_ms", "50")) // a neighbour that does not answer has failed soon
	w := n.start(other)
	n.warm([2]*end{from, wan0}, [2]*end{from, wan1})
	file := must[*os.File](t)(os.Create(filepath.Join(alice.dir, "followed")))
	defer file.Close()
	c := alice.command(nil, "monitor log")
	c.Stdout = file
	follower := must[*lab.Process](t)(from.Start(testContext(t), c))
	follows := func(want ...string) {
		t.Helper()
		eventually(t, fmt.Sprintf("the follower sees %q", want), func() (bool, any) {
			out := string(must[[]byte](t)(os.ReadFile(file.Name())))
			for _, word := range want {
				var ok bool
				if _, out, ok = strings.Cut(out, word); !ok {
					return false, word + ": " + out
				}
			}
			return true, nil
		})
	}
	metric := func(name string) float64 {
		t.Helper()
		value, ok := exposed(t, must[[]byte](t)(n.scrape(metricsAt)))[name]
		if !ok {
			t.Errorf("no metric %s", name)
		}
		return value
	}
	eventually(t, "somebody follows", func() (bool, any) {
		out, _ := w.call("show", "sessions")
		return strings.Contains(out, "monitor log"), out
	})
	r := alice.commits(old, "commit", "confirmed", "60", "comment", "trial")
	follows("commit\t", `"by": "alice via ssh from `, `"comment": "trial"`)
	if at := metric("weir_commit_deadline_timestamp_seconds"); metric("weir_commit_pending") != 1 || at != float64(r.ConfirmBy.UnixMilli())/1000 {
		t.Errorf("deadline %v, report %v", at, r.ConfirmBy)
	}
	eventually(t, "there is one session", func() (bool, any) {
		sessions := metric("weir_ssh_sessions")
		return sessions == 1, sessions
	})
	alice.commits(old, "commit", "confirmed", "0.01")
	follows("rolled back\t", "commit 3 was not confirmed in time: rolled back to 1")
	if got := alice.ssh(strings.NewReader("version: 2\n"), "reload"); !got.says("version") {
		t.Errorf("reload: %+v", got)
	}
	follows("commit refused")
	for name, want := range map[string]float64{
		"weir_commits_total{result=ok}": 4, "weir_commits_total{result=refused}": 1, "weir_commits_rolled_back_total": 1, "weir_commit_pending": 0,
		"weir_commit_deadline_timestamp_seconds": 0,
	} {
		if got := metric(name); got != want {
			t.Errorf("%s is %v, expected %v", name, got, want)
		}
	}

	gone := wan1.addr4()
	need(t, wan1.RemoveAddress(hostPort, gone.String()+"/24"))
	n.forget("wan1", gone)
	follows("gateway lost\t", fmt.Sprintf(`{"port": "wan1", "gateway": "%s"}`, gone))
	need(t, wan1.AddAddress(hostPort, gone.String()+"/24"))
	follows("gateway lost\t", "gateway answers\t", fmt.Sprintf(`{"port": "wan1", "gateway": "%s"}`, gone))
	w.unbalanced = true
	need(t, wan1.SetDown(hostPort))
	follows("link\t", `{"port": "wan1", "up": false}`)
	need(t, wan1.SetUp(hostPort))
	follows("link\t", `{"port": "wan1", "up": true}`)
	need(t, follower.Signal(unix.SIGKILL))
	<-follower.Done()
}
