package ssh

import (
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"weir/mgmt"
)

// TestTwoAdmins: each has a candidate of his own. Who comes second is told, sees what the first did, and takes it in.
func TestTwoAdmins(t *testing.T) {
	r := newRig(t, DefaultLimits, testCommands()...)
	r.commit(r.config() + tables)
	one := r.configuring("")
	one.await(atTop)
	two := r.configuring("")
	two.await("Also in configuration mode:\r\n  admin via ssh from 127.0.0.1:")
	two.await(atTop)

	one.says("set sets web 8080", "")
	one.says("set rules gold priority 150", "")
	two.says("set sets web 8443", "")
	two.says("set rules gold priority 160", "")
	two.says("show sets web", "[80, 443, 8443]\n")
	two.typed("status\r")
	two.await(", with changes\r\n*")
	two.await(atTop)

	one.typed("commit comment first\r")
	one.await("commit 3, generation 3")
	one.await(atTop)
	two.await("rules: 1 changed (gold) (admin via ssh from ")
	two.await("*** your candidate is out of date")

	two.typed("commit\r")
	two.await("commit 3, ")
	two.await(": first\r\n--- commit 2\r\n+++ running\r\n")
	two.await("+sets: {web: [80, 443, 8080]}\r\n")
	two.await("Commit failed: conflict: the configuration in force is not the one that this was made from; commit 3, generation 3 stays\r\n`rebase` makes")
	two.await(configPrompt) // what is told of the other's commit may come in between the banner and it
	two.says("compare | match '^--- what'", "--- what ran at the beginning\n")
	two.says("rebase", "2 changes are made to what runs now; `compare` shows them\nYours takes the place of what others changed:\nset rules gold priority 150\n")
	two.says("compare | display set", "set sets web 8443\nset rules gold priority 160\n")
	two.says("rebase", "The candidate is of what runs: there is nothing to do\n")
	two.typed("commit\r")
	two.await("commit 4, generation 4")
	two.await(atTop)
	if want := strings.Replace(strings.Replace(r.config()+tables, "443]", "443, 8080, 8443]", 1), "priority: 100", "priority: 160", 1); r.running() != want {
		t.Errorf("runs: %s", r.running())
	}

	// A candidate without changes follows; a change that no longer can be made is refused, and nothing of it is done.
	one.await("*** ")
	one.says("show sets web", "[80, 443, 8080, 8443]\n")
	one.says("set system hostname edge2", "")
	one.says("delete tables x routes 10.0.0.0/8 type", "")
	two.says("delete tables x", "")
	two.says("set rules gold lookup main", "")
	two.typed("commit\r")
	two.await("commit 5, generation 5")
	one.await("*** your candidate is out of date")
	one.says("rebase", "cannot rebase: delete tables x routes 10.0.0.0/8 type: tables: is not there\nthe candidate stays as it is\n")
	one.says("compare | display set", "set system hostname edge2\ndelete tables x routes 10.0.0.0/8 type\n")
	one.says("discard", "The candidate is what runs\n")
	one.ends("exit")
	two.await(atTop)
	two.ends("exit")
}

// TestExclusive: while one has the configuration for himself, the others prepare, and do not commit.
func TestExclusive(t *testing.T) {
	r := newRig(t, DefaultLimits, testCommands()...)
	r.commit(r.config() + tables)
	one := r.configuring(" exclusive")
	one.await(atTop)
	two := r.configuring("")
	two.await("since ")
	two.await(", exclusive\r\n")
	two.await(" has locked the configuration: you can prepare changes, and not commit them\r\n")
	two.await(atTop)
	two.says("set sets web 8443", "")
	two.typed("commit\r")
	two.await("Commit failed: admin via ssh from 127.0.0.1:")
	two.await(" has locked the configuration since ")
	two.await(atTop)
	got := r.sshWith(strings.NewReader("configure exclusive\n"), "admin", "-T")
	if got.status != 1 || !strings.Contains(got.errors, "has locked the configuration since") {
		t.Errorf("%q", got.fields())
	}
	one.says("set sets web 8080", "")
	one.typed("commit and-quit\r")
	one.await("Exiting configuration mode\r\n" + prompt)
	two.await("*** your candidate is out of date")
	two.says("rebase", "1 changes are made to what runs now; `compare` shows them\n")
	two.typed("commit\r")
	two.await("commit 4, generation 4")
	two.await(atTop)
	two.ends("exit")

	// The lock goes with a connection that breaks.
	three := r.configuring(" exclusive")
	three.await(atTop)
	need(t, three.process.Signal(syscall.SIGKILL))
	three.wait()
	eventually(t, "the lock is gone", func() bool { _, _, locked := r.engine.Locked(); return !locked })
}

// TestLostConnection: what was not committed is there in the next session, with what it was made from.
func TestLostConnection(t *testing.T) {
	r := newRig(t, DefaultLimits, testCommands()...)
	r.commit(r.config() + tables)
	s := r.configuring("")
	s.await(atTop)
	s.says("set sets web 8080", "")
	need(t, s.process.Signal(syscall.SIGKILL))
	s.wait()
	r.audited("changes of a session are kept", map[string]any{"user": "admin"})

	r.commit(strings.Replace(r.running(), "priority: 100", "priority: 150", 1))
	if got := r.sftp("admin", "get config/unfinished.yaml left\n-put left config/unfinished.yaml\n-ls -1 config\n"); !strings.Contains(r.read("left"), "[80, 443, 8080]") || strings.Contains(got.out, "candidate") {
		t.Errorf("%q\n%s", got.fields(), r.read("left"))
	}
	if got := r.ssh("admin", "commit"); got.status != 1 || !strings.Contains(got.errors, mgmt.ErrNoInput.Error()) {
		t.Errorf("nobody asked for it: %q", got.fields())
	}
	s = r.configuring("")
	s.await("A session of yours ended at ")
	s.await(" with changes that it had not committed: `load unfinished` goes on with them\r\n" + atTop)
	s.says("compare", "No changes\n")
	s.says("load unfinished", "load complete\n")
	s.says("compare | display set", "set sets web 8080\n")
	s.typed("commit\r")
	s.await("Commit failed: conflict")
	s.await(atTop)
	s.says("rebase", "1 changes are made to what runs now; `compare` shows them\n")
	s.typed("commit and-quit\r")
	s.await("Exiting configuration mode\r\n" + prompt)
	s.typed("configure\r")
	s.await("Entering configuration mode\r\n" + atTop) // and no word of it any more
	if !strings.Contains(r.running(), "8080") || !strings.Contains(r.running(), "priority: 150") {
		t.Errorf("runs: %s", r.running())
	}

	// So does the end of input, and who does not want it says so.
	s.says("set sets web 8081", "")
	s.typed("\x04")
	s.await("Your changes are kept")
	s.wait()
	if got := r.sftp("admin", "rm config/unfinished.yaml\n"); got.status != 0 {
		t.Errorf("%q", got.fields())
	}
	s = r.configuring("")
	s.await(atTop)
	s.says("set sets web 8082", "")
	s.ends("exit discard")
	if _, ok := r.server.unfinished.find("admin"); ok {
		t.Error("what was discarded is kept")
	}
}

// TestConfirmed: a commit that is not confirmed goes back, and everybody is told before it does.
func TestConfirmed(t *testing.T) {
	r := newRig(t, DefaultLimits, testCommands()...)
	r.commit(r.config() + tables)
	s := r.configuring("")
	s.await(atTop)
	s.says("set sets web 8080", "")
	s.typed("commit confirmed 0.05\r")
	s.await("commit 3, generation 3")
	s.await("confirm it by ")
	s.await(atTop)
	s.await("*** ")
	s.await("commit 3 is rolled back in ")
	s.await("s unless it is confirmed")
	s.await("commit 3 was not confirmed in time: rolled back to 2")
	s.says("show sets web", "[80, 443]\n")
	s.says("rollback 1", "The candidate is commit 3; `commit` puts it in force\n")
	s.typed("commit confirmed\r")
	s.await("confirm it by ")
	s.await(atTop)
	if !r.engine.Pending() {
		t.Error("nothing waits for its confirmation")
	}
	s.says("commit", "The commit is confirmed\ncommit complete\n")
	s.says("set sets web 8081", "")
	s.typed("commit confirmed 5\r")
	s.await("confirm it by " + time.Now().Format("2006"))
	s.await(atTop)
	s.says("confirm", "The commit is confirmed\n")
	if r.engine.Pending() || !strings.Contains(r.running(), "8081") {
		t.Errorf("runs: %s", r.running())
	}
	s.ends("exit")
}

// TestLoad: a text comes from the terminal, whole or not at all.
func TestLoad(t *testing.T) {
	r := newRig(t, DefaultLimits, testCommands()...)
	r.commit(r.config() + tables)
	s := r.configuring("")
	s.await(atTop)
	const asks = "[Type ^D at a new line to end input]\r\n"
	load := func(command, text, want string) {
		t.Helper()
		s.typed(command + "\r")
		s.await(command + "\r\n" + asks)
		s.typed(strings.ReplaceAll(text, "\n", "\r") + "\x04")
		s.await(strings.ReplaceAll(want, "\n", "\r\n") + atTop)
	}
	load("load merge terminal", "sets:\n  # mail?\n  mail: [25, 587]\ntables:\n  x: {routes: [{to: 192.0.2.0/24, type: prohibit}]}\n", "load complete\n")
	s.says("compare | display set", "set sets mail 25\nset sets mail 587\nset tables x routes 192.0.2.0/24 type prohibit\n")
	load("load merge", "sets:\n  mail: [25, 587\n", "  line 2, column 9: [ is not closed\n  Load failed\n")
	load("load merge", "sest: {}\n", "  sest: unknown key\n  Load failed\n")
	load("load set", "# a comment\n\nset rules gold priority 5\ndelete sets mail 25\nrename rules silver to bronze\ninsert rules bronze before gold\n", "load complete\n")
	s.says("show rules", "- {name: bronze, priority: 200, lookup: main}\n- {name: gold, priority: 5, lookup: x}\n")
	load("load set", "set rules gold priority 6\nset rules gold priority high\n", "  line 2: rules gold priority high: expected a number, found high\n  Load failed\n")
	s.says("show rules gold", "{name: gold, priority: 5, lookup: x}\n")
	load("load override", "version: 1\n", "load complete\n")
	s.says("show", "version: 1\n")
	s.says("rollback 0", "The candidate is what runs\n")

	// What is too long is taken as a whole, so that its rest is no commands, and refused. Ctrl-C ends it.
	s.typed("load merge\r")
	s.await(asks)
	s.typed("# " + strings.Repeat("x", typedMax) + "\rset sets web 1\r\x04")
	s.await("a line is too long to be typed: nothing is loaded")
	s.await(atTop)
	s.typed("load replace\r")
	s.await(asks)
	s.typed("version: 1\rabc")
	s.await("abc")
	s.typed("\x03")
	s.await("interrupted: nothing is loaded\r\n" + atTop)
	s.says("compare", "No changes\n")

	// What was sent by sftp.
	r.write("candidate", r.config()+strings.Replace(tables, "443", "444", 1))
	if got := r.sftp("admin", "put candidate config/candidate.yaml\n"); got.status != 0 {
		t.Errorf("%q", got.fields())
	}
	s.says("load candidate", "load complete\n")
	s.says("show | compare | match ^[+-]s", "-sets: {web: [80, 443]}\n+sets: {web: [80, 444]}\n")
	s.typed("commit\r")
	s.await("commit 3, generation 3")
	s.await(atTop)
	if got := r.sftp("admin", "ls -1 config\n"); strings.Contains(got.out, "candidate") {
		t.Errorf("what has been committed is a candidate still: %q", got.fields())
	}
	s.ends("exit")

	// Without a terminal, the text ends with a line of the same key, or with the input.
	got := r.sshWith(strings.NewReader("configure\nload merge\nsets: {mail: [25]}\n\x04\ncommit\nload set\nset sets mail 587"), "admin", "-T")
	if strings.Count(got.out, "load complete\n") != 2 || got.status != 0 || !strings.Contains(r.running(), "mail: [25]}") {
		t.Errorf("%q", got.fields())
	}
	if c, ok := r.server.unfinished.find("admin"); !ok || !strings.Contains(string(c.text), "mail: [25, 587]}") {
		t.Errorf("unfinished: %s", c.text)
	}
}

// TestDemoted: who is no longer an administrator leaves configuration mode, and commits nothing on the way.
func TestDemoted(t *testing.T) {
	r := newRig(t, DefaultLimits, testCommands()...)
	r.commit(r.config() + tables)
	s := r.configuring(" exclusive")
	s.await(atTop)
	s.says("set sets web 8080", "")
	report := r.engine.Commit(t.Context(), mgmt.Change{Text: []byte(strings.Replace(r.running(), "{role: admin", "{role: operator", 1)), By: r.lock()})
	need(t, report.Err())
	s.typed("commit\r")
	s.await("permission denied: you are no longer an administrator\r\n")
	s.await(prompt)
	if _, _, locked := r.engine.Locked(); locked || strings.Contains(r.running(), "8080") {
		t.Errorf("locked: %v; runs: %s", locked, r.running())
	}
	s.typed("exit\r")
	s.wait()
}

// lock is who has the configuration for himself.
func (r *rig) lock() mgmt.Author {
	by, _, _ := r.engine.Locked()
	return by
}

// TestTranscript holds the transcript of the README true.
func TestTranscript(t *testing.T) {
	const begin = "```\nadmin@edge1> configure\n"
	readme := string(must[[]byte](t)(os.ReadFile("../../README.md")))
	_, transcript, ok := strings.Cut(readme, begin)
	transcript, _, _ = strings.Cut(transcript, "```")
	if !ok || transcript == "" {
		t.Fatal("the README has no transcript")
	}
	r := newRig(t, DefaultLimits, testCommands()...)
	r.commit(r.config() + "ports:\n  em0: {addresses: [192.0.2.1/24]}\ntables:\n  main:\n    routes:\n" +
		"      - {to: default, via: 192.0.2.254}   # the old uplink\n      - {to: 10.0.0.0/8, type: blackhole}\n")
	s := r.screenOf("admin", "xterm", 200, 24)
	s.await(prompt)
	s.typed("configure\r")
	var shown strings.Builder
	s.await("configure\r\n")
	for line := range strings.Lines(transcript) {
		for _, p := range []string{prompt, configPrompt} {
			command, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), p)
			if !ok {
				continue
			}
			shown.WriteString(s.await(p))
			s.typed(command + "\r")
			shown.WriteString(s.await(command + "\r\n"))
		}
	}
	shown.WriteString(strings.TrimSuffix(s.await(prompt), prompt))
	s.typed("exit\r")
	s.wait()
	varies := regexp.MustCompile(`@@ -\d+,5 \+\d+,|[0-9a-f]{12}|from \S+|[0-9.]+ ms|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d`)
	got := varies.ReplaceAllString(strings.ReplaceAll(shown.String(), "\r\n", "\n"), "…")
	if want := varies.ReplaceAllString(transcript, "…"); got != want {
		t.Errorf("the README has\n%s\nand the router says\n%s", want, got)
	}
}
