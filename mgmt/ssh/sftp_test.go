package ssh

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"weir/mgmt"
)

// sftp runs a batch of sftp as a user.
func (r *rig) sftp(user, batch string) result {
	r.t.Helper()
	return r.client(strings.NewReader(batch), "sftp", append(r.options(user), "-P", fmt.Sprint(port), "-b", "-", user+"@127.0.0.1")...)
}

func (r *rig) read(name string) string {
	r.t.Helper()
	return string(must[[]byte](r.t)(os.ReadFile(r.file(name))))
}

func TestFiles(t *testing.T) {
	r := newRig(t, DefaultLimits, testCommands()...)
	got := r.sftp("read-only", "ls -1\nls -1 config commits reports\nget config/running.yaml running\nget commits/1.yaml one\nget reports/1.json report\n")
	for _, want := range []string{"commits", "config", "reports", "config/running.yaml", "commits/1.yaml", "reports/1.json"} {
		if !strings.Contains(got.out, want) || got.status != 0 {
			t.Errorf("no %s: %+q", want, got.fields())
		}
	}
	if r.read("running") != r.config() || r.read("one") != r.config() || !strings.Contains(r.read("report"), `"via": "boot"`) {
		t.Errorf("running: %s; 1: %s; report: %s", r.read("running"), r.read("one"), r.read("report"))
	}

	// A candidate is there as a whole, and is what check and commit take where nothing is sent along.
	candidate := "# changed\n" + r.config()
	r.write("candidate", candidate)
	if got := r.sftp("admin", "put candidate config/candidate.yaml\nget config/candidate.yaml back\nls -l config\n"); got.status != 0 || r.read("back") != candidate {
		t.Errorf("put: %+q", got.fields())
	}
	if got := r.sftp("operator", "-ls -1 config\n"); strings.Contains(got.out, "candidate") {
		t.Errorf("others see it: %+q", got.fields())
	}
	if got := r.ssh("admin", "compare"); !strings.Contains(got.out, "+# changed") {
		t.Errorf("compare: %+q", got.fields())
	}
	if got := r.ssh("admin", "commit comment \"from a file\""); got.status != 0 {
		t.Errorf("commit: %+q", got.fields())
	}
	if config, _ := r.engine.Running(); string(config.Text) != candidate || r.read("weir.yaml") != candidate {
		t.Errorf("runs: %s", config.Text)
	}
	if got := r.ssh("admin", "commit"); got.status != 1 || !strings.Contains(got.errors, mgmt.ErrNoInput.Error()) {
		t.Errorf("the candidate is committed, and there still: %+q", got.fields())
	}

	// What is sent along comes first, and scp is the same thing.
	scp := func(from, to string) result {
		return r.client(strings.NewReader(""), "scp", append(r.options("admin"), "-P", fmt.Sprint(port), from, to)...)
	}
	if got := scp("candidate", "admin@127.0.0.1:/config/candidate.yaml"); got.status != 0 {
		t.Errorf("scp: %+q", got.fields())
	}
	if got := r.sshWith(strings.NewReader("version: 2\n"), "admin", "check"); got.status != 1 || !strings.Contains(got.errors, "expected 1") {
		t.Errorf("check: %+q", got.fields())
	}
	if got := r.ssh("admin", "check"); got.status != 0 {
		t.Errorf("check of the candidate: %+q", got.fields())
	}
	if got := scp("admin@127.0.0.1:/config/running.yaml", "copy"); got.status != 0 || r.read("copy") != candidate {
		t.Errorf("scp: %+q", got.fields())
	}
	if got := r.client(strings.NewReader(""), "scp", append(r.options("admin"), "-O", "-P", fmt.Sprint(port), "candidate", "admin@127.0.0.1:/config/candidate.yaml")...); got.status == 0 || !strings.Contains(got.errors, "use scp without -O") {
		t.Errorf("scp -O: %+q", got.fields())
	}

	// The rest cannot be written, and nothing is outside.
	for _, batch := range []string{"put candidate config/running.yaml", "put candidate x", "put candidate commits/1.yaml", "rm commits/1.yaml", "mkdir x", "rename commits/1.yaml x",
		"get ../../../../etc/passwd", "get config/../../weir.yaml", "symlink config/running.yaml x"} {
		if got := r.sftp("admin", batch+"\n"); got.status == 0 {
			t.Errorf("%s: %+q", batch, got.fields())
		}
	}
	for _, user := range []string{"operator", "read-only"} {
		if got := r.sftp(user, "put candidate config/candidate.yaml\n"); got.status == 0 || !strings.Contains(got.errors, "ermission denied") {
			t.Errorf("%s writes a candidate: %+q", user, got.fields())
		}
	}
	need(t, os.Truncate(r.file("candidate"), candidateMax+1))
	if got := r.sftp("admin", "put candidate config/candidate.yaml\n"); got.status == 0 {
		t.Errorf("too large: %+q", got.fields())
	}
	if c, ok := r.server.candidates.find("admin"); !ok || string(c.text) != candidate {
		t.Error("a candidate that is too large has replaced the one before")
	}
	if got := r.sftp("admin", "rm config/candidate.yaml\n"); got.status != 0 {
		t.Errorf("rm: %+q", got.fields())
	}
	if _, ok := r.server.candidates.find("admin"); ok {
		t.Error("the candidate is there still")
	}
	r.audited("command", map[string]any{"way": "sftp", "command": "Put /config/candidate.yaml", "user": "operator", "status": 1})
}
