package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"weir/appliance"
	"weir/mgmt"
)

// syslogServer takes what a router logs, in its own namespace.
func (n *network) syslogServer(address string) (read func() string) {
	n.t.Helper()
	var server net.PacketConn
	need(n.t, n.router.Do(func() (err error) {
		server, err = net.ListenPacket("udp", address)
		return err
	}))
	n.t.Cleanup(func() { need(n.t, server.Close()) })
	lines := make(chan string, 100)
	go func() {
		buffer := make([]byte, 64<<10)
		for {
			m, _, err := server.ReadFrom(buffer)
			if err != nil {
				return
			}
			lines <- string(buffer[:m])
		}
	}()
	return func() string {
		select {
		case line := <-lines:
			return line
		case <-testContext(n.t).Done():
			n.t.Fatal("no line comes to the syslog server")
			return ""
		}
	}
}

// TestLog: people can ask for the log, and follow it: a link that goes down, a commit, one that is refused. A syslog server gets the
// same, where the configuration names one, and nothing once it does not.
func TestLog(t *testing.T) {
	const first, second = "127.0.0.1:5140", "127.0.0.1:5141"
	n := newNetwork(t, "em0", "em1")
	read, readSecond := n.syslogServer(first), n.syslogServer(second)
	config := func(server string) string {
		return n.config(fmt.Sprintf("system: {syslog: {server: %q}}\n", server))
	}
	w := n.start(config(first))
	if line := read(); !strings.HasPrefix(line, "<30>") || !strings.Contains(line, "commit") || !strings.Contains(line, `"generation": 1`) { // daemon, informational
		t.Errorf("the first line that a server gets: %s", line)
	}
	out, status := w.call("show", "log")
	if status != mgmt.StatusOK || !strings.Contains(out, "port open") || !strings.Contains(out, "commit\t") {
		t.Errorf("show log: %d %s", status, out)
	}
	var lines []struct{ Level, Msg string }
	w.show(&lines, "log", "1")
	if len(lines) != 1 || lines[0].Msg != "commit" || lines[0].Level != "info" {
		t.Errorf("the last line: %+v", lines)
	}
	for _, bad := range [][]string{{"show", "log", "0"}, {"show", "log", "x"}, {"show", "log", "1", "2"}, {"monitor", "log", "x"}, {"monitor", "traffic", "x"}, {"monitor"}} {
		if out, status := w.call(bad...); status != mgmt.StatusBadCommand {
			t.Errorf("%v: %d %s", bad, status, out)
		}
	}

	c := w.client("monitor", "log")
	file := must[*os.File](t)(os.Create(filepath.Join(w.dir, "followed")))
	defer file.Close()
	c.Stdout = file
	need(t, c.Start())
	follows := func(want string) {
		t.Helper()
		eventually(t, "the log's follower sees "+want, func() (bool, any) {
			out := must[[]byte](t)(os.ReadFile(file.Name()))
			return strings.Contains(string(out), want), string(out)
		})
	}
	w.unbalanced = true
	for _, up := range []string{"false", "true"} {
		// The follower may not have begun: the link goes up and down until it has.
		eventually(t, "the log's follower sees the link", func() (bool, any) {
			need(t, n.router.SetDown("em1"))
			need(t, n.router.SetUp("em1"))
			out := string(must[[]byte](t)(os.ReadFile(file.Name())))
			return strings.Contains(out, `link	{"port": "em1", "up": `+up), out
		})
	}
	w.write("version: 2\n")
	if _, status := w.call("reload"); status != mgmt.StatusRefused {
		t.Errorf("a wrong file: %d", status)
	}
	follows("commit refused")
	w.write(config(second))
	w.reload()
	follows(`"generation": 2`)
	need(t, c.Process.Signal(os.Interrupt))
	if err := c.Wait(); err != nil {
		t.Errorf("monitor log, interrupted: %v: %s", err, c.stderr.String())
	}
	if line := readSecond(); !strings.Contains(line, `"generation": 2`) {
		t.Errorf("the second server's first line: %s", line)
	}

	// Two looks, as JSON, and then the client has seen enough.
	ctx, enough := context.WithCancel(t.Context())
	defer enough()
	reader, writer := io.Pipe()
	var states []appliance.State
	decoded := make(chan error, 1)
	go func() {
		decoder := json.NewDecoder(reader)
		for len(states) < 2 {
			var s appliance.State
			if err := decoder.Decode(&s); err != nil {
				decoded <- err
				return
			}
			states = append(states, s)
		}
		enough()
		_, err := io.Copy(io.Discard, reader)
		decoded <- err
	}()
	_, status, err := mgmt.Stream(ctx, w.control, writer, "monitor", "traffic", "|", "json")
	need(t, writer.Close())
	if err2 := <-decoded; err != nil || err2 != nil || status != mgmt.StatusOK {
		t.Errorf("monitor traffic: %d, %v, %v", status, err, err2)
	}
	if len(states) == 2 && (states[1].Uptime <= states[0].Uptime || len(states[1].Ports) != 2) {
		t.Errorf("looks: %+v", states)
	}
	w.write(n.config(""))
	w.reload()
}
