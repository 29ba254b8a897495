package ssh

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"weir/mgmt"
	"weir/perf/lab"
)

// TestRoles runs every command of the tree in every role.
func TestRoles(t *testing.T) {
	r := newRig(t, DefaultLimits, append(testCommands(), &mgmt.Command{Name: "unsaid", Help: "for whom is not said", Run: testCommands()[0].Run})...)
	root := r.root
	tried := 0
	for words, least := range root.All {
		line := strings.Join(words, " ")
		for _, user := range users {
			role := map[string]mgmt.Role{"admin": mgmt.Admin, "operator": mgmt.Operator, "read-only": mgmt.ReadOnly}[user]
			_, output, status := root.Invoke(line, role)
			if denied := strings.HasPrefix(string(output), "permission denied"); denied != (role < least) || denied != (status == mgmt.StatusRefused) {
				t.Errorf("%s as %s: status %d, %s", line, user, status, output)
			}
			if listed := strings.Contains("\n"+string(helpOf(root, words, role)), "\n"+words[len(words)-1]+" "); listed != (role >= least) && len(words) == 1 {
				t.Errorf("%s as %s: listed in help: %v", line, user, listed)
			}
			tried++
		}
	}
	if tried < 3*len(testCommands()) {
		t.Errorf("tried %d commands", tried)
	}
	// And over the wire.
	for _, c := range []struct {
		user, line string
		status     int
	}{
		{"read-only", "echo a", 0}, {"read-only", "take", 1}, {"read-only", "change it", 1}, {"read-only", "change look", 1}, {"read-only", "unsaid", 1}, {"read-only", "commit", 1},
		{"operator", "take", 0}, {"operator", "change look", 0}, {"operator", "change it", 1}, {"operator", "unsaid", 1}, {"operator", "reload", 1},
		{"admin", "change it", 0}, {"admin", "unsaid", 0}, {"admin", "reload", 0},
	} {
		if got := r.ssh(c.user, c.line); got.status != c.status || c.status == 1 && !strings.HasPrefix(got.errors, "permission denied: ") {
			t.Errorf("%s as %s: %+q", c.line, c.user, got.fields())
		}
	}
	if got := r.ssh("read-only", "?"); strings.Contains(got.out, "change") || !strings.Contains(got.out, "echo") {
		t.Errorf("help for read-only: %s", got.out)
	}
}

func helpOf(root *mgmt.Command, _ []string, role mgmt.Role) []byte {
	_, output, _ := root.Invoke("?", role)
	return output
}

func TestNotLetIn(t *testing.T) {
	r := newRig(t, DefaultLimits, testCommands()...)
	in := func(user, key string, more ...string) result {
		args := append([]string{"-F", "none", "-i", r.file(key), "-o", "IdentitiesOnly=yes", "-o", "UserKnownHostsFile=" + r.file("known_hosts"),
			"-o", "BatchMode=yes", "-p", fmt.Sprint(port)}, more...)
		return r.client(strings.NewReader(""), "ssh", append(args, user+"@127.0.0.1", "whoami")...)
	}
	for _, c := range [][2]string{{"admin", "stranger"}, {"admin", "read-only"}, {"stranger", "stranger"}, {"root", "admin"},
		{"admin+vyos", "read-only"}, {"admin+vyos+vyos", "admin"}, {"+vyos", "admin"}} {
		if got := in(c[0], c[1]); got.status != 255 || !strings.Contains(got.errors, "Permission denied (publickey)") {
			t.Errorf("%s with the key of %s: %+q", c[0], c[1], got.fields())
		}
		r.audited("not authenticated", map[string]any{"user": c[0]})
	}
	if got := in("read-only+vyos", "read-only"); !strings.HasPrefix(got.out, "read-only read-only ssh") {
		t.Errorf("with another prompt: %+q", got.fields())
	}
	// A client that shows a key of more rights before, and proves another, has the rights of what it has proven.
	if got := in("read-only", "read-only", "-i", r.file("admin")); !strings.HasPrefix(got.out, "read-only read-only ssh") {
		t.Errorf("with two keys: %+q", got.fields())
	}
	for _, args := range [][]string{{"-N", "-o", "ExitOnForwardFailure=yes", "-R", "9999:127.0.0.1:1"}, {"-W", "127.0.0.1:22"}} {
		got := r.client(strings.NewReader(""), "ssh", append(append(r.options("admin"), args...), "-p", fmt.Sprint(port), "admin@127.0.0.1")...)
		if got.status != 255 {
			t.Errorf("forwarding %v: %+q", args, got.fields())
		}
	}
	// Nothing of SHA-1.
	out := r.client(strings.NewReader(""), "ssh", append(append([]string{"-o", "LogLevel=INFO"}, append(r.options("admin"), "-o", "KexAlgorithms=diffie-hellman-group14-sha1", "-p", fmt.Sprint(port))...), "admin@127.0.0.1", "whoami")...)
	if out.status != 255 || !strings.Contains(out.errors, "no matching key exchange method found") || strings.Contains(out.errors, "sha1,") {
		t.Errorf("key exchange by SHA-1: %+q", out.fields())
	}
	out = r.client(strings.NewReader(""), "ssh", append(append([]string{"-o", "LogLevel=INFO"}, append(r.options("admin"), "-o", "MACs=hmac-sha1", "-o", "Ciphers=aes128-ctr", "-p", fmt.Sprint(port))...), "admin@127.0.0.1", "whoami")...)
	if out.status != 255 || !strings.Contains(out.errors, "no matching MAC found") {
		t.Errorf("MAC by SHA-1: %+q", out.fields())
	}
}

// TestRSA: a key of RSA logs in by SHA-2, and not by SHA-1.
func TestRSA(t *testing.T) {
	r := newRig(t, DefaultLimits, testCommands()...)
	if out, err := exec.Command("ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-N", "", "-f", r.file("rsa")).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	public := strings.TrimSpace(string(must[[]byte](t)(os.ReadFile(r.file("rsa.pub")))))
	r.commit(r.config() + fmt.Sprintf("      rsa: {role: read-only, keys: [%q]}\n", public))
	if got := r.ssh("rsa", "echo a"); got.out != "a\n" {
		t.Errorf("%+q", got.fields())
	}
	got := r.client(strings.NewReader(""), "ssh", append(append(r.options("rsa"), "-o", "PubkeyAcceptedAlgorithms=ssh-rsa", "-p", fmt.Sprint(port)), "rsa@127.0.0.1", "echo a")...)
	if got.status != 255 {
		t.Errorf("by SHA-1: %+q", got.fields())
	}
}

// TestCommits: what commits do to those who are logged in.
func TestCommits(t *testing.T) {
	r := newRig(t, DefaultLimits, testCommands()...)
	admin := r.screenOf("admin", "xterm", 120, 24)
	admin.await(prompt)
	operator := r.screenOf("operator", "xterm", 120, 24)
	operator.await("operator@edge1> ")
	operator.typed("change look\r")
	operator.await("seen\r\noperator@edge1> ")
	operator.typed("half a li")
	operator.await("half a li")

	// Another address: sessions stay, and the new one overlaps with the old one.
	all := strings.Replace(r.config(), "127.0.0.1", "0.0.0.0", 1)
	r.commit(all)
	if got := r.ssh("admin", "echo a"); got.out != "a\n" {
		t.Errorf("after a commit of another address: %+q", got.fields())
	}
	// What others do is shown above the line that is being typed.
	operator.await("*** ")
	operator.await("\r\noperator@edge1> half a li")
	operator.typed("\x03")
	operator.await("operator@edge1> ")
	admin.typed("echo a\r")
	admin.await("a\r\n" + prompt)

	// Another role takes effect with the next command.
	r.commit(strings.Replace(all, "operator: {role: operator", "operator: {role: read-only", 1))
	operator.typed("change look\r")
	operator.await("permission denied: change look is for the role operator, and yours is read-only\r\n")

	// Without his key, a user's sessions end, and say why.
	r.commit(strings.Replace(all, r.keys["operator"], r.keys["stranger"], 1))
	operator.await("session ends: your access has been taken away by a commit")
	operator.wait()
	if got := r.ssh("operator", "echo a"); got.status != 255 {
		t.Errorf("a user whose key is gone: %+q", got.fields())
	}
	r.commit(r.config("operator"))

	// Somebody who takes away his own access gets the report of it.
	got := r.sshWith(strings.NewReader(r.config("admin")), "admin", "commit")
	if !strings.Contains(got.out, "generation ") {
		t.Errorf("a commit that takes away one's own access: %+q", got.fields())
	}
	admin.await("session ends: ")
	admin.wait()
	if got := r.ssh("admin", "echo a"); got.status != 255 {
		t.Errorf("after that: %+q", got.fields())
	}
	// A configuration without SSH has nobody listen.
	r.commit("version: 1\n")
	need(t, r.host.Do(func() error {
		if c, err := net.Dial("tcp4", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			c.Close()
			return fmt.Errorf("somebody listens")
		}
		return nil
	}))
	// An address that is in use refuses a commit, and nothing changes.
	need(t, r.host.Do(func() error {
		l, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			return err
		}
		defer l.Close()
		r.write("weir.yaml", r.config())
		report := r.engine.Reload(t.Context(), mgmt.Author{})
		if report.OK() || !strings.Contains(report.Failed, "address already in use") {
			t.Errorf("a commit of an address in use: %v", report.String())
		}
		return nil
	}))
}

// TestFlood: a thousand connections that never authenticate do not keep out who does.
func TestFlood(t *testing.T) {
	for _, c := range []struct {
		name   string
		source func(i int) string
	}{
		{"one source", func(int) string { return "127.0.0.9" }},
		{"many sources", func(i int) string { return fmt.Sprintf("127.1.%d.%d", i>>8, i&0xff) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, DefaultLimits, testCommands()...)
			var all sync.WaitGroup
			var mu sync.Mutex
			var open []net.Conn
			for i := range 1000 {
				need(t, r.host.Do(func() error {
					d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(c.source(i))}, Timeout: 10 * time.Second}
					conn, err := d.DialContext(t.Context(), "tcp4", fmt.Sprintf("127.0.0.1:%d", port))
					if err != nil {
						return err
					}
					mu.Lock()
					open = append(open, conn)
					mu.Unlock()
					return nil
				}))
				if i == 500 {
					all.Go(func() {
						if got := r.ssh("admin", "echo a"); got.out != "a\n" {
							t.Errorf("while they come: %+q", got.fields())
						}
					})
				}
			}
			all.Wait()
			if got := r.ssh("admin", "echo a"); got.out != "a\n" {
				t.Errorf("when they have come: %+q", got.fields())
			}
			r.server.admission.mu.Lock()
			waiting := len(r.server.admission.waiting)
			r.server.admission.mu.Unlock()
			if waiting > DefaultLimits.Waiting {
				t.Errorf("%d connections wait", waiting)
			}
			for _, conn := range open {
				conn.Close()
			}
		})
	}
}

// TestRate: a source that connects too often is not answered, and others are.
func TestRate(t *testing.T) {
	limits := DefaultLimits
	limits.Rate, limits.Burst = 0, 3
	r := newRig(t, limits, testCommands()...)
	for i := range 5 {
		if got := r.ssh("admin", "echo a"); (got.status == 0) != (i < 3) {
			t.Errorf("connection %d: %+q", i, got.fields())
		}
	}
	got := r.client(strings.NewReader(""), "ssh", append(r.options("admin"), "-b", "127.0.0.2", "-p", fmt.Sprint(port), "admin@127.0.0.1", "echo a")...)
	if got.out != "a\n" {
		t.Errorf("another source: %+q", got.fields())
	}
}

// TestSlow: a client that takes nothing is cut off, and holds up nobody meanwhile.
func TestSlow(t *testing.T) {
	limits := DefaultLimits
	limits.Take = 200 * time.Millisecond
	r := newRig(t, limits, testCommands()...)
	reader, writer := must2(t)(os.Pipe()) // nobody reads it
	defer reader.Close()
	p := must[*lab.Process](t)(r.host.Start(t.Context(), lab.Command{
		Name: "ssh", Args: append(append(r.options("operator"), "-p", fmt.Sprint(port)), "operator@127.0.0.1", "count"), Stdout: writer, Dir: r.dir}))
	writer.Close()
	r.audited("client takes nothing", map[string]any{"user": "operator"})
	r.audited("command", map[string]any{"user": "operator", "command": "count"})
	r.audited("disconnected", map[string]any{"user": "operator"})
	go io.Copy(io.Discard, reader)
	if err := p.Wait(); err == nil {
		t.Error("the client of a connection that was cut ends well")
	}
}

func must2(t testing.TB) func(a, b *os.File, err error) (*os.File, *os.File) {
	return func(a, b *os.File, err error) (*os.File, *os.File) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return a, b
	}
}

// TestAbsent: a client that does not answer any more is found out.
func TestAbsent(t *testing.T) {
	limits := DefaultLimits
	limits.KeepAlive = 50 * time.Millisecond
	r := newRig(t, limits, testCommands()...)
	p := must[*lab.Process](t)(r.host.Start(t.Context(), lab.Command{
		Name: "ssh", Args: append(append(r.options("operator"), "-p", fmt.Sprint(port), "-N"), "operator@127.0.0.1"), Dir: r.dir}))
	r.audited("connected", map[string]any{"user": "operator"})
	need(t, p.Signal(19)) // SIGSTOP
	r.audited("client does not answer", map[string]any{"user": "operator"})
	need(t, p.Signal(18))
	_ = p.Wait()
}

// TestIdle: a connection on which nothing happens ends.
func TestIdle(t *testing.T) {
	limits := DefaultLimits
	limits.KeepAlive, limits.Idle = 20*time.Millisecond, 100*time.Millisecond
	r := newRig(t, limits, testCommands()...)
	s := r.screenOf("admin", "xterm", 80, 24)
	s.await("session ends: nothing has happened for 100ms")
	s.wait()
}

// TestHandshake: who does not authenticate in time is cut off.
func TestHandshake(t *testing.T) {
	limits := DefaultLimits
	limits.Handshake = 100 * time.Millisecond
	r := newRig(t, limits, testCommands()...)
	need(t, r.host.Do(func() error {
		c, err := net.Dial("tcp4", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = io.Copy(io.Discard, c) // until the other end closes it
		return err
	}))
	r.audited("not authenticated", nil)
}

// TestInterrupt: what streams ends with its client.
func TestInterrupt(t *testing.T) {
	r := newRig(t, DefaultLimits, testCommands()...)
	p := must[*lab.Process](t)(r.host.Start(t.Context(), lab.Command{
		Name: "ssh", Args: append(append(r.options("operator"), "-p", fmt.Sprint(port)), "operator@127.0.0.1", "count"), Stdout: io.Discard, Dir: r.dir}))
	eventually(t, "it runs", func() bool {
		list := r.server.Sessions()
		return len(list) == 1 && list[0].Runs == "count"
	})
	need(t, p.Signal(2))
	r.audited("command", map[string]any{"command": "count"})
	_ = p.Wait()
	s := r.screenOf("operator", "xterm", 80, 24, "count")
	s.await("\r\n1000\r\n")
	s.typed("\x03")
	s.await("ended\r\n")
	if status := s.wait(); status != "exit status 0" {
		t.Errorf("ended by Ctrl-C: %s", status)
	}
}
