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

// managed runs ssh from a host to an address of the router, with nothing or stdin to send.
func managed(t *testing.T, from *end, dir string, to netip.Addr, stdin io.Reader, words ...string) (out, errs string, status int) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	if stdin == nil {
		stdin = strings.NewReader("")
	}
	p := must[*lab.Process](t)(from.Start(testContext(t), lab.Command{
		Name: "ssh", Stdin: stdin, Stdout: &stdout, Stderr: &stderr,
		Args: append([]string{"-F", "none", "-i", filepath.Join(dir, "alice"), "-o", "UserKnownHostsFile=" + filepath.Join(dir, "known"), "-o", "StrictHostKeyChecking=accept-new",
			"-o", "BatchMode=yes", "-o", "LogLevel=ERROR", "-p", "2022", "alice@" + to.String()}, words...),
	}))
	var exit *exec.ExitError
	if err := p.Wait(); errors.As(err, &exit) {
		status = exit.ExitCode()
	} else {
		need(t, err)
	}
	return stdout.String(), stderr.String(), status
}

// TestManagedBySSH: the router's own addresses on its AF_XDP ports answer SSH, over both families; a configuration comes in and a
// capture goes out by it.
func TestManagedBySSH(t *testing.T) {
	program(t, "ssh", "openssh-client")
	n := newNetwork(t, "em0", "em1")
	from, to := n.ends[0], n.ends[1]
	dir := t.TempDir()
	from.does(program(t, "ssh-keygen", "openssh-client"), "-q", "-t", "ed25519", "-N", "", "-C", "alice", "-f", filepath.Join(dir, "alice"))
	key := strings.TrimSpace(string(must[[]byte](t)(os.ReadFile(filepath.Join(dir, "alice.pub")))))
	system := fmt.Sprintf("system:\n  hostname: edge1\n  ssh:\n    listen: [\"0.0.0.0:2022\", \"[::]:2022\"]\n    users:\n      alice: {role: admin, keys: [%q]}\n", key)
	w := n.start(n.config(system))
	n.warm([2]*end{from, to})

	for _, address := range []netip.Addr{from.gateway4(), from.gateway6(), to.gateway4()} {
		out, errs, status := managed(t, from, dir, address, nil, "show ports | json")
		var ports []appliance.PortState
		if err := json.Unmarshal([]byte(out), &ports); err != nil || status != mgmt.StatusOK || len(ports) != 2 {
			t.Errorf("show ports by %v: status %d, %v: %s%s", address, status, err, out, errs)
		}
	}
	router := from.gateway4()
	if out, errs, status := managed(t, from, dir, router, nil, "show routes table main"); status != 0 || !strings.Contains(out, "10.0.0.0/24") {
		t.Errorf("show routes table main: status %d: %s%s", status, out, errs)
	}
	if _, errs, status := managed(t, from, dir, router, nil, "show routes table nowhere"); status != mgmt.StatusRefused || errs != "no table is called nowhere\n" {
		t.Errorf("show routes table nowhere: status %d: %s", status, errs)
	}
	if out, errs, status := managed(t, from, dir, router, nil, fmt.Sprintf("explain iif=em0 src=%s dst=%s | match ^FORWARD", from.addr4(), to.addr4())); status != 0 || !strings.HasPrefix(out, "FORWARD") {
		t.Errorf("explain: status %d: %s%s", status, out, errs)
	}
	if out, errs, status := managed(t, from, dir, router, nil, "monitor traffic interval=100ms count=2 | match 'port em0'"); status != 0 || strings.Count(out, "\n") != 2 {
		t.Errorf("monitor: status %d: %s%s", status, out, errs)
	}
	eventually(t, "no session is left", func() (bool, any) {
		out, _ := w.call("show", "sessions", "|", "json")
		return out == "[]\n", out
	})

	// A configuration comes in.
	changed := "# by SSH\n" + n.config(system)
	if out, errs, status := managed(t, from, dir, router, strings.NewReader(changed), "commit comment 'by hand'"); status != 0 || !strings.Contains(out, "generation 2") {
		t.Errorf("commit: status %d: %s%s", status, out, errs)
	}
	if text := string(must[[]byte](t)(os.ReadFile(w.file))); text != changed {
		t.Errorf("the file has %q", text)
	}
	if out, errs, status := managed(t, from, dir, router, nil, "show commits | match 'by hand'"); status != 0 || !strings.Contains(out, "alice via ssh") {
		t.Errorf("show commits: status %d: %s%s", status, out, errs)
	}
	if _, errs, status := managed(t, from, dir, router, strings.NewReader("version: 1\nprots: {}\n"), "check"); status != mgmt.StatusRefused || !strings.Contains(errs, "did you mean ports?") {
		t.Errorf("check: status %d: %s", status, errs)
	}
	if out, errs, status := managed(t, from, dir, router, nil, "reload"); status != 0 || !strings.Contains(out, "generation 3") {
		t.Errorf("reload: status %d: %s%s", status, out, errs)
	}

	// So does a change of it, and its end.
	for _, c := range [][2]string{{"set tables main routes 198.51.100.0/24 type blackhole", "1"}, {"delete tables main", "0"}} {
		if out, errs, status := managed(t, from, dir, router, strings.NewReader("configure\n"+c[0]+"\ncommit\nrun show routes table main | match 198.51 | count\n")); status != 0 || !strings.Contains(out, "commit complete\nCount: "+c[1]) {
			t.Errorf("%s: status %d: %s%s", c[0], status, out, errs)
		}
	}
	if text := string(must[[]byte](t)(os.ReadFile(w.file))); text != changed {
		t.Errorf("the file has %q", text)
	}

	// A capture goes out, as a file.
	type answer struct{ out, errs string }
	answers := make(chan answer, 1)
	go func() {
		out, errs, _ := managed(t, from, dir, router, nil, "capture count=4 proto=icmp")
		answers <- answer{out, errs}
	}()
	eventually(t, "the capture runs", func() (bool, any) {
		out, _ := w.call("show", "sessions")
		return strings.Contains(out, "capture count=4"), out
	})
	var captured answer
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
