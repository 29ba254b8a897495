package ssh

import (
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"weir/perf/lab"
)

// TestStop: the end of the server ends everything that clients do, says why, and leaves nothing.
func TestStop(t *testing.T) {
	r := newRig(t, DefaultLimits, testCommands()...)
	shell := r.screenOf("admin", "xterm", 80, 24)
	shell.await(prompt)
	streaming := r.screenOf("operator", "xterm", 80, 24)
	streaming.await("> ")
	streaming.typed("count\r")
	streaming.await("\r\n1000\r\n")
	var errs strings.Builder
	nothing, open := must2(t)(os.Pipe()) // nothing comes, and no end
	defer nothing.Close()
	defer open.Close()
	script := must[*lab.Process](t)(r.host.Start(t.Context(), lab.Command{
		Name: "ssh", Args: append(append(r.options("admin"), "-T", "-p", fmt.Sprint(port)), "admin@127.0.0.1"), Stdin: nothing, Stdout: io.Discard, Stderr: &errs, Dir: r.dir}))
	must[int](t)(open.WriteString("echo script\n"))
	r.audited("command", map[string]any{"command": "echo script"})
	client := r.dial("read-only")
	session := must[*ssh.Session](t)(client.NewSession())
	need(t, session.RequestSubsystem("sftp"))
	eventually(t, "all are there", func() bool { return len(r.server.Sessions()) == 4 })
	var silent net.Conn
	need(t, r.host.Do(func() (err error) {
		silent, err = net.Dial("tcp4", fmt.Sprintf("127.0.0.1:%d", port))
		return err
	}))
	r.stop()
	shell.await("session ends: the router stops")
	streaming.await("ended\r\n")
	streaming.await("session ends: the router stops")
	shell.wait()
	streaming.wait()
	if _, err := io.Copy(io.Discard, silent); err != nil {
		t.Logf("the one that said nothing: %v", err) // closed or reset
	}
	silent.Close()
	client.Close()
	<-script.Done()
	if !strings.Contains(errs.String(), "session ends: the router stops") {
		t.Errorf("a script was told %q", errs.String())
	}
	need(t, r.engine.Close())
	if left := r.server.Sessions(); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	eventually(t, "goroutines of the server have ended", func() bool {
		stacks := make([]byte, 1<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		for _, kind := range []string{"Server", "connection", "session", "shell", "input", "patient"} {
			if strings.Contains(string(stacks), "weir/mgmt/ssh.(*"+kind+")") {
				return false
			}
		}
		return true
	})
}
