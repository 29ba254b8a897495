package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"weir/appliance"
	"weir/mgmt"
	"weir/perf/lab"
)

// admin is somebody at a host who manages the router by SSH, with a key of his own.
type admin struct {
	at      *end
	name    string
	dir     string // of the key and the known hosts
	to      netip.Addr
	options []string // of ssh, besides
}

// newAdmin makes the key.
func newAdmin(at *end, name string) *admin {
	t := at.n.t
	t.Helper()
	program(t, "ssh", "openssh-client")
	a := &admin{at: at, name: name, dir: t.TempDir(), to: at.gateway4()}
	at.does(program(t, "ssh-keygen", "openssh-client"), "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", filepath.Join(a.dir, name))
	return a
}

// sshSystem is the section of a configuration that lets them in, with what else it is to have.
func sshSystem(more string, admins ...*admin) string {
	var b strings.Builder
	fmt.Fprintf(&b, "system:\n  hostname: edge1\n%s  ssh:\n    listen: [\"0.0.0.0:2022\", \"[::]:2022\"]\n    users:\n", more)
	for _, a := range admins {
		key := must[[]byte](a.at.n.t)(os.ReadFile(filepath.Join(a.dir, a.name+".pub")))
		fmt.Fprintf(&b, "      %s: {role: admin, keys: [%q]}\n", a.name, strings.TrimSpace(string(key)))
	}
	return b.String()
}

// reply is what became of an ssh.
type reply struct {
	out, errs string
	status    int
}

// says reports whether it is a refusal that tells why on standard error, and nothing elsewhere.
func (r reply) says(want string) bool {
	return r.status == mgmt.StatusRefused && r.out == "" && strings.Contains(r.errs, want)
}

// command is ssh with words to run.
func (a *admin) command(stdin io.Reader, words ...string) lab.Command {
	if stdin == nil {
		stdin = strings.NewReader("")
	}
	args := append([]string{"-F", "none", "-i", filepath.Join(a.dir, a.name), "-o", "UserKnownHostsFile=" + filepath.Join(a.dir, "known"), "-o", "StrictHostKeyChecking=accept-new",
		"-o", "BatchMode=yes", "-o", "LogLevel=ERROR", "-p", "2022"}, a.options...)
	return lab.Command{Name: "ssh", Stdin: stdin, Args: append(append(args, a.name+"@"+a.to.String()), words...)}
}

// ssh runs words on the router, with nothing or stdin to send.
func (a *admin) ssh(stdin io.Reader, words ...string) reply {
	t := a.at.n.t
	t.Helper()
	var stdout, stderr bytes.Buffer
	c := a.command(stdin, words...)
	c.Stdout, c.Stderr = &stdout, &stderr
	p := must[*lab.Process](t)(a.at.Start(testContext(t), c))
	var exit *exec.ExitError
	err := p.Wait()
	if !errors.As(err, &exit) {
		need(t, err)
		return reply{stdout.String(), stderr.String(), 0}
	}
	return reply{stdout.String(), stderr.String(), exit.ExitCode()}
}

// commits sends a configuration by words, `commit` or `reload`, and returns the report.
func (a *admin) commits(text string, words ...string) (r mgmt.Report) {
	t := a.at.n.t
	t.Helper()
	got := a.ssh(strings.NewReader(text), append(words, "|", "json")...)
	if err := json.Unmarshal([]byte(got.out), &r); err != nil || got.status != 0 || !r.OK() || r.Trouble != "" || r.By.User != a.name || r.By.Via != "ssh" {
		t.Fatalf("%v by SSH: %v: %+v", words, err, got)
	}
	return r
}

// TestManagedBySSH: the router's own addresses on its AF_XDP ports answer SSH, over both families; a configuration comes in and a
// capture goes out by it.
func TestManagedBySSH(t *testing.T) {
	n := newNetwork(t, "em0", "em1")
	from, to := n.ends[0], n.ends[1]
	alice := newAdmin(from, "alice")
	system := sshSystem("", alice)
	w := n.start(n.config(system))
	n.warm([2]*end{from, to})

	for _, address := range []netip.Addr{from.gateway4(), from.gateway6(), to.gateway4()} {
		alice.to = address
		got := alice.ssh(nil, "show ports | json")
		var ports []appliance.PortState
		if err := json.Unmarshal([]byte(got.out), &ports); err != nil || got.status != mgmt.StatusOK || len(ports) != 2 {
			t.Errorf("show ports by %v: %v: %+v", address, err, got)
		}
	}
	alice.to = from.gateway4()
	if got := alice.ssh(nil, "show routes table main"); got.status != 0 || !strings.Contains(got.out, "10.0.0.0/24") {
		t.Errorf("show routes table main: %+v", got)
	}
	if got := alice.ssh(nil, "show routes table nowhere"); !got.says("no table is called nowhere\n") {
		t.Errorf("show routes table nowhere: %+v", got)
	}
	if got := alice.ssh(nil, fmt.Sprintf("explain iif=em0 src=%s dst=%s | match ^FORWARD", from.addr4(), to.addr4())); got.status != 0 || !strings.HasPrefix(got.out, "FORWARD") {
		t.Errorf("explain: %+v", got)
	}
	if got := alice.ssh(nil, "monitor traffic interval=100ms count=2 | match 'port em0'"); got.status != 0 || strings.Count(got.out, "\n") != 2 {
		t.Errorf("monitor: %+v", got)
	}
	eventually(t, "no session is left", func() (bool, any) {
		out, _ := w.call("show", "sessions", "|", "json")
		return out == "[]\n", out
	})

	// A configuration comes in.
	changed := "# by SSH\n" + n.config(system)
	if got := alice.ssh(strings.NewReader(changed), "commit comment 'by hand'"); got.status != 0 || !strings.Contains(got.out, "generation 2") {
		t.Errorf("commit: %+v", got)
	}
	if text := string(must[[]byte](t)(os.ReadFile(w.file))); text != changed {
		t.Errorf("the file has %q", text)
	}
	if got := alice.ssh(nil, "show commits | match 'by hand'"); got.status != 0 || !strings.Contains(got.out, "alice via ssh") {
		t.Errorf("show commits: %+v", got)
	}
	if got := alice.ssh(strings.NewReader("version: 1\nprots: {}\n"), "check"); !got.says("did you mean ports?") {
		t.Errorf("check: %+v", got)
	}
	if got := alice.ssh(nil, "reload"); got.status != 0 || !strings.Contains(got.out, "generation 3") {
		t.Errorf("reload: %+v", got)
	}

	// So does a change of it, and its end.
	for _, c := range [][2]string{{"set tables main routes 198.51.100.0/24 type blackhole", "1"}, {"delete tables main", "0"}} {
		script := "configure\n" + c[0] + "\ncommit\nrun show routes table main | match 198.51 | count\n"
		if got := alice.ssh(strings.NewReader(script)); got.status != 0 || !strings.Contains(got.out, "commit complete\nCount: "+c[1]) {
			t.Errorf("%s: %+v", c[0], got)
		}
	}
	if text := string(must[[]byte](t)(os.ReadFile(w.file))); text != changed {
		t.Errorf("the file has %q", text)
	}

	// A capture goes out, as a file.
	answers := make(chan reply, 1)
	go func() { answers <- alice.ssh(nil, "capture count=4 proto=icmp") }()
	eventually(t, "the capture runs", func() (bool, any) {
		out, _ := w.call("show", "sessions")
		return strings.Contains(out, "capture count=4"), out
	})
	var captured reply
	eventually(t, "it has enough", func() (bool, any) {
		n.ping(from, to.addr4())
		select {
		case captured = <-answers:
			return true, nil
		default:
			return false, nil
		}
	})
	if !strings.HasPrefix(captured.out, "\x0a\x0d\x0d\x0a") || captured.errs == "" {
		t.Errorf("capture: %d bytes beginning with %.4q; %s", len(captured.out), captured.out, captured.errs)
	}
	w.rest()
}
