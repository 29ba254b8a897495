package ssh

import (
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
)

// dial connects as a user with a client that does what no program does.
func (r *rig) dial(user string) *ssh.Client {
	r.t.Helper()
	key := must[ssh.Signer](r.t)(ssh.ParsePrivateKey(must[[]byte](r.t)(os.ReadFile(r.file(user)))))
	var client *ssh.Client
	need(r.t, r.host.Do(func() error {
		c, err := net.Dial("tcp4", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			return err
		}
		conn, channels, requests, err := ssh.NewClientConn(c, "", &ssh.ClientConfig{User: user, Auth: []ssh.AuthMethod{ssh.PublicKeys(key)}, HostKeyCallback: ssh.InsecureIgnoreHostKey()})
		if err != nil {
			return err
		}
		client = ssh.NewClient(conn, channels, requests)
		return nil
	}))
	r.t.Cleanup(func() { client.Close() })
	return client
}

// TestBroken: what a connection brought that breaks is not taken for all there is.
func TestBroken(t *testing.T) {
	r := newRig(t, DefaultLimits, testCommands()...)
	r.write("candidate", r.config())
	if got := r.sftp("admin", "put candidate config/candidate.yaml\n"); got.status != 0 {
		t.Fatalf("%+q", got.fields())
	}
	client := r.dial("admin")
	session := must[*ssh.Session](t)(client.NewSession())
	in, err := session.StdinPipe()
	need(t, err, session.Start("commit"))
	_, err = in.Write([]byte("version: 1\n")) // which would do, and lock everybody out
	files := must[*sftp.Client](t)(sftp.NewClient(client))
	file, openErr := files.OpenFile("/config/candidate.yaml", os.O_WRONLY|os.O_CREATE|os.O_TRUNC)
	need(t, err, openErr)
	_, err = file.Write([]byte("version: 1\n"))
	need(t, err, client.Close())
	ended := r.audited("command", map[string]any{"command": "commit", "status": 1})
	r.audited("command", map[string]any{"way": "sftp", "command": "Put /config/candidate.yaml"})
	eventually(t, "the connection is gone", func() bool { return len(r.server.Sessions()) == 0 })
	if config, _ := r.engine.Running(); string(config.Text) != r.config() {
		t.Errorf("half a configuration runs: %v", ended)
	}
	if c, ok := r.server.candidates.find("admin"); !ok || string(c.text) != r.config() {
		t.Errorf("half a candidate: %q", c.text)
	}
	// As many sessions as there may be.
	client = r.dial("operator")
	for range DefaultLimits.Sessions {
		must[*ssh.Session](t)(client.NewSession())
	}
	if _, err := client.NewSession(); err == nil || !strings.Contains(err.Error(), "too many sessions") {
		t.Errorf("one session more: %v", err)
	}
	if _, err := client.Dial("tcp", "127.0.0.1:22"); err == nil || !strings.Contains(err.Error(), "no forwarding") {
		t.Errorf("forwarding: %v", err)
	}
}

// TestConnections: more connections than there may be are not served, and those that are go on.
func TestConnections(t *testing.T) {
	limits := DefaultLimits
	limits.Connections, limits.PerUser = 2, 2
	r := newRig(t, limits, testCommands()...)
	first, second := r.dial("admin"), r.dial("operator")
	if got := r.ssh("admin", "echo a"); got.status != 255 {
		t.Errorf("a third: %+q", got.fields())
	}
	r.audited("too many connections", map[string]any{"user": "admin"})
	session := must[*ssh.Session](t)(first.NewSession())
	if out, err := session.Output("echo a"); err != nil || string(out) != "a\n" {
		t.Errorf("%q, %v", out, err)
	}
	second.Close()
	eventually(t, "there is room again", func() bool { return len(r.server.Sessions()) == 1 })
	if got := r.ssh("admin", "echo a"); got.out != "a\n" {
		t.Errorf("%+q", got.fields())
	}
	// Nor does one user keep the others out.
	limits.Connections, limits.PerUser = 100, 2
	other := newRig(t, limits, testCommands()...)
	other.dial("read-only")
	other.dial("read-only")
	if got := other.ssh("read-only", "echo a"); got.status != 255 {
		t.Errorf("a third of one user: %+q", got.fields())
	}
	if got := other.ssh("admin", "echo a"); got.out != "a\n" {
		t.Errorf("another user: %+q", got.fields())
	}
	// Signals end what runs.
	session = must[*ssh.Session](t)(first.NewSession())
	need(t, session.Start("count"))
	eventually(t, "it runs", func() bool {
		for _, s := range r.server.Sessions() {
			if s.Runs == "count" {
				return true
			}
		}
		return false
	})
	need(t, session.Signal(ssh.SIGINT), session.Wait())
}

// TestRepliesFirst: a command that ends at once is answered after its request is: a client that had the end first would take the
// request for lost.
func TestRepliesFirst(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(16)) // so that the kernel comes between a reply and what runs
	r := newRig(t, DefaultLimits, testCommands()...)
	var all sync.WaitGroup
	for range 4 {
		client := r.dial("admin")
		all.Go(func() {
			for i := range 2_000 {
				session, err := client.NewSession()
				if err != nil {
					t.Errorf("session %d: %v", i, err)
					return
				}
				if out, err := session.Output("echo a"); err != nil || string(out) != "a\n" {
					t.Errorf("session %d: %q, %v", i, out, err)
					return
				}
			}
		})
	}
	all.Wait()
}
