package ssh

import (
	"regexp"
	"strings"
	"testing"

	"weir/mgmt"
)

const (
	configPrompt = "admin@edge1# "
	atTop        = "[edit]\r\n" + configPrompt
)

// configuring is a terminal in configuration mode.
func (r *rig) configuring(words string) *screen {
	r.t.Helper()
	s := r.screenOf("admin", "xterm", 250, 24)
	s.await(prompt)
	s.typed("configure" + words + "\r")
	s.await("Entering configuration mode\r\n")
	return s
}

// says types a line and holds what comes of it, up to the next prompt, against what is wanted.
func (s *screen) says(line, want string) {
	s.t.Helper()
	s.typed(line + "\r")
	s.await(line + "\r\n")
	shown := s.await(configPrompt)
	if at := strings.LastIndex(shown, "[edit"); at < 0 || shown[:at] != strings.ReplaceAll(want, "\n", "\r\n") {
		s.t.Errorf("%s: %q, want %q", line, shown, want)
	}
}

// ends types a line that leaves configuration mode, and ends the shell.
func (s *screen) ends(line string) {
	s.t.Helper()
	s.typed(line + "\r")
	s.await("Exiting configuration mode\r\n" + prompt)
	s.typed("exit\r")
	s.wait()
}

func (r *rig) running() string {
	config, _ := r.engine.Running()
	return string(config.Text)
}

// tables are what tests in configuration mode have beside the users.
const tables = `# one
# two
# three
sets: {web: [80, 443]}
tables:
  x:
    id: 100
    routes:
      - {to: 10.0.0.0/8, type: blackhole}   # nowhere
rules:
  - {name: gold, priority: 100, lookup: x}
  - {name: silver, priority: 200, lookup: main}
`

func TestConfigure(t *testing.T) {
	r := newRig(t, DefaultLimits, testCommands()...)
	r.commit(r.config() + tables)
	s := r.configuring("")
	s.await(atTop)

	// What is set shows in place, and the rest stays as it is written.
	s.says("set sets web 8080", "")
	s.says("show sets web", "[80, 443, 8080]\n")
	s.says("show sets | display set", "set sets web 80\nset sets web 443\nset sets web 8080\n")
	s.says("show | compare | match ^[+-]", "--- running\n+++ candidate\n-sets: {web: [80, 443]}\n+sets: {web: [80, 443, 8080]}\n")
	s.says("compare | display set", "set sets web 8080\n")
	s.says("show sets | json", `{"text":"{web: [80, 443, 8080]}\n"}`+"\n")
	s.says("delete sets web 8080", "")
	s.says("compare", "No changes\n")

	// Levels.
	s.typed("edit tables x\r")
	s.await("[edit tables x]\r\n" + configPrompt)
	s.says("show", "id: 100\nroutes:\n  - {to: 10.0.0.0/8, type: blackhole}   # nowhere\n")
	s.says("set routes 192.0.2.0/24 type prohibit", "")
	s.says("show | display set", "set tables x id 100\nset tables x routes 10.0.0.0/8 type blackhole\nset tables x routes 192.0.2.0/24 type prohibit\n")
	s.typed("edit routes 192.0.2.0/24\r")
	s.await("[edit tables x routes 192.0.2.0/24]\r\n" + configPrompt)
	s.says("delete type", "")
	s.says("set metric 5", "")
	s.typed("up 2\r")
	s.await("[edit tables x]\r\n" + configPrompt)
	s.typed("exit\r")
	s.await("[edit tables x]\r\n" + configPrompt)
	s.typed("up\r")
	s.await("[edit tables]\r\n" + configPrompt)
	s.typed("exit\r")
	s.await(atTop)
	s.typed("edit rules\r")
	s.await("[edit rules]\r\n" + configPrompt)
	s.says("rename silver to bronze", "")
	s.says("insert bronze before gold", "")
	s.says("show", "- {name: bronze, priority: 200, lookup: main}\n- {name: gold, priority: 100, lookup: x}\n")
	s.typed("edit new\r")
	s.await("[edit rules new]\r\n" + configPrompt)
	s.says("show", "")
	s.typed("top\r")
	s.await(atTop)

	// Nothing of it runs, and operational mode is at hand.
	s.says("run whoami | match 'width 250'", "admin admin ssh "+mgmt.SSHKey{Blob: r.blob("admin")}.Fingerprint()+" width 250\n")
	s.says("run show configuration tables x | display set", "set tables x id 100\nset tables x routes 10.0.0.0/8 type blackhole\n")
	s.says("set terminal length 0", "")
	s.says("save", "What is committed is saved: there is nothing to do\n")
	s.says("exit", "Cannot exit: configuration modified\n`commit` puts the changes in force, `exit discard` forgets them\n")
	if r.running() != r.config()+tables {
		t.Errorf("runs: %s", r.running())
	}

	// A candidate that is no configuration is refused, with the lines of it; what runs goes on.
	s.says("set rules gold lookup y", "")
	const unused = "line 13: sets.web: warning: nothing uses set web\n"
	const refused = unused + "line 19: tables.x.routes[1]: route goes nowhere: it needs one of via, port, type and lookup\n" +
		"line 22: rules[1].lookup: no table is called y; did you mean x?\n"
	s.says("check", refused+"configuration check fails\n")
	s.says("commit check", refused+"configuration check fails\n")
	s.says("commit", refused+"Commit failed: refused; commit 2, generation 2 stays\n")
	if r.running() != r.config()+tables {
		t.Errorf("runs: %s", r.running())
	}
	s.says("set rules gold lookup x", "")
	s.says("set tables x routes 192.0.2.0/24 type prohibit", "")
	s.says("check", unused+"configuration check succeeds\n")

	// Commit, and back.
	s.typed("commit comment \"as \\\"planned\\\"\"\r")
	s.await("commit 3, generation 3 ")
	s.await(atTop)
	committed := r.config() + strings.Replace(strings.Replace(tables, "# nowhere\n", "# nowhere\n      - {to: 192.0.2.0/24, metric: 5, type: prohibit}\n", 1),
		"  - {name: gold, priority: 100, lookup: x}\n  - {name: silver, priority: 200, lookup: main}\n", "  - {name: bronze, priority: 200, lookup: main}\n  - {name: gold, priority: 100, lookup: x}\n", 1)
	if r.running() != committed || r.engine.Commits()[0].Comment != `as "planned"` {
		t.Errorf("runs: %s\n%+v", r.running(), r.engine.Commits()[0])
	}
	s.says("commit", "No configuration changes to commit\ncommit complete\n")
	s.says("compare 1 | display set | match nothing", "")
	s.says("rollback 1", "The candidate is commit 2; `commit` puts it in force\n")
	s.says("compare | display set", "delete tables x routes 192.0.2.0/24\ndelete rules bronze\nset rules silver priority 200\nset rules silver lookup main\n")
	s.says("discard", "The candidate is what runs\n")
	s.says("compare", "No changes\n")
	s.says("rollback 1", "The candidate is commit 2; `commit` puts it in force\n")
	s.says("rollback", "The candidate is what runs\n")
	s.says("rollback 1", "The candidate is commit 2; `commit` puts it in force\n")
	s.typed("status\r")
	s.await("* admin via ssh from 127.0.0.1:")
	s.await(", with changes\r\n" + atTop)
	s.typed("commit and-quit\r")
	s.await("Exiting configuration mode\r\n" + prompt)
	if strings.Contains(r.running(), "bronze") {
		t.Errorf("runs: %s", r.running())
	}
	s.typed("show host name\r")
	s.await("edge1\r\n" + prompt)
	s.typed("exit\r")
	s.wait()
	if got := r.audited("command", map[string]any{"way": "shell", "command": "set rules gold lookup y"}); got["user"] != "admin" {
		t.Errorf("%v", got)
	}
}

func (r *rig) blob(user string) []byte {
	running, _ := r.engine.Running()
	for _, u := range running.System.SSH.Users {
		if u.Name == user {
			return u.Keys[0].Blob
		}
	}
	r.t.Fatalf("%s is nobody", user)
	return nil
}

// TestConfigureErrors: what is wrong is named, with the mark that clients look for.
func TestConfigureErrors(t *testing.T) {
	r := newRig(t, DefaultLimits, testCommands()...)
	r.commit(r.config() + tables)
	s := r.configuring("")
	s.await(atTop)
	for _, c := range [][2]string{
		{"set rulse gold priority 5", "  rulse: unknown key; did you mean rules?\n  Set failed\n"},
		{"set rules gold priority high", "  rules gold priority high: expected a number, found high\n  Set failed\n"},
		{"set rules gold priority", "  rules gold priority: expected a number\n  Set failed\n"},
		{"set rules gold priority 5 6", "  rules gold priority 5 6: nothing follows here\n  Set failed\n"},
		{"set", "Invalid command: incomplete: expected what to change\n"},
		{"set tables x on-miss sulk", "  tables x on-miss sulk: expected fall-through, unreachable, prohibit, blackhole or lookup, found sulk\n  Set failed\n"},
		{"delete sets mail", "  sets mail: is not there\n  Delete failed\n"},
		{"delete", "Invalid command: incomplete: expected what to change\n"},
		{"rename rules gold", "  expected rename PATH… to NAME\n  Rename failed\n"},
		{"insert rules gold before", "  expected insert PATH… before|after NAME\n  Insert failed\n"},
		{"edit system hostname", "  system hostname: nothing to edit here: set it where it is\n  Invalid command\n"},
		{"edit tabels", "  tabels: unknown key; did you mean tables?\n  Invalid command\n"},
		{"up x", "Invalid command: up takes [N]\n"},
		{"show nothing", "  nothing: unknown key\n"},
		{"show | compare x", "Invalid command: compare takes [N]\n"},
		{"show | match x | display set", "Invalid command: | display comes first\n"},
		{"compare 7", "rollback 7: 1 are kept before the one in force\n"},
		{"rollback 7", "rollback 7: 1 are kept before the one in force\n"},
		{"rollback -1", "Invalid command: rollback takes [N]\n"},
		{"commit now", "Invalid command: commit takes " + commitUsage + "\n"},
		{"commit confirmed 0", "Invalid command: commit takes " + commitUsage + "\n"},
		{"confirm", mgmt.ErrNotPending.Error() + "\n"},
		{"load candidate", "there is none\n"},
		{"comit", "Invalid command: comit; did you mean commit?\n"},
		{"run nonsense", "Invalid command: nonsense\n"},
		{"run configure", "Invalid command: configure; did you mean confirm?\n"},
		{"run", "Invalid command: run takes a command of operational mode\n"},
		{"show 'x", "Invalid command: a quote is not closed\n"},
	} {
		s.says(c[0], c[1])
	}
	if s.says("compare", "No changes\n"); r.running() != r.config()+tables {
		t.Errorf("runs: %s", r.running())
	}
	s.ends("exit")
	for _, user := range []string{"operator", "read-only"} {
		if got := r.sshWith(strings.NewReader("configure\nset system hostname x\n"), user, "-T"); got.status != 2 || strings.Count(got.errors, "Invalid command") != 2 || got.out != "" {
			t.Errorf("%s: %q", user, got.fields())
		}
	}
}

func TestConfigureCompletion(t *testing.T) {
	r := newRig(t, DefaultLimits, testCommands()...)
	r.commit(r.config() + tables)
	s := r.configuring("")
	s.await(atTop)
	// Names that exist, keys and what they mean.
	s.typed("set ru\t\t")
	for _, want := range []string{"set rules ", "  gold\r\n", "  silver\r\n", "  <rule>  ", configPrompt + "set rules "} {
		s.await(want)
	}
	s.typed("go\tloo\tx\r")
	s.await("set rules gold lookup x\r\n" + atTop)
	s.typed("show ta\tx\t\r")
	s.await("show tables x \r\nid: 100\r\n")
	s.await(atTop)
	s.typed("delete sets \t\r") // one way: the name that is there
	s.await("delete sets web \r\n" + atTop)
	s.typed("set tables x on-miss ?")
	s.await("  fall-through  the next rule decides\r\n")
	s.await(configPrompt + "set tables x on-miss ")
	s.typed("\x03")
	s.await(atTop)

	// A name with blanks is completed in quotes.
	s.typed("delete system ssh users operator keys \t")
	s.await(`delete system ssh users operator keys "` + r.keys["operator"] + `" `)
	s.typed("\x03")
	s.await(atTop)

	// Below a level, and of the commands.
	s.typed("edit tables x\r")
	s.await("[edit tables x]\r\n" + configPrompt)
	s.typed("set rou\t ?")
	s.await("  10.0.0.0/8\r\n")
	s.await(configPrompt + "set routes ")
	s.typed("\x03")
	s.await(configPrompt)
	s.typed("co\t\t")
	s.await("  compare  ")
	s.await("  confirm  ")
	s.await(configPrompt + "co")
	s.typed("mm\tconf\t5\r")
	s.await("commit confirmed 5\r\n")
	s.await("[edit tables x]\r\n" + configPrompt)
	s.typed("show | dis\tset\r")
	s.await("show | display set\r\nset tables x id 100\r\n")
	s.await(configPrompt)
	s.typed("run sh\tver\t\r")
	s.await("run show version \r\nVersion: weir test\r\n")
	s.await(configPrompt)
	s.typed("top\r")
	s.await(atTop)
	s.typed("insert rules gold \t")
	s.await("  before  ")
	s.await(configPrompt + "insert rules gold ")
	s.typed("af\t\t")
	s.await("  silver")
	s.typed("\x03")
	s.await(atTop)
	s.says("discard", "The candidate is what runs\n")
	s.ends("exit")
}

// TestHostileComment: what somebody has written into a configuration reaches no terminal as more than text.
func TestHostileComment(t *testing.T) {
	r := newRig(t, DefaultLimits, testCommands()...)
	r.commit("# \u202e hostile\n" + r.config() + tables)
	s := r.configuring("")
	s.await(atTop)
	s.typed("show | match hostile\r")
	s.await(`# \u202e hostile` + "\r\n" + atTop)
	report := r.engine.Commit(t.Context(), mgmt.Change{Text: []byte(r.running() + "# more\n"), Comment: "x\x1b[2Jy"})
	if report.Err() == nil {
		t.Error("a comment with an escape sequence is taken")
	}
	report = r.engine.Commit(t.Context(), mgmt.Change{Text: []byte(r.running() + "# more\n"), Comment: "fine", By: mgmt.Author{User: "b\x1b]0;c\x07"}})
	need(t, report.Err())
	s.await(`(b\x1b]0;c\x07)`)
	s.says("set tables x id 101", "")
	s.typed("run show commits\r")
	s.await("fine")
	s.await(atTop)
	s.ends("exit discard")
	s.mu.Lock()
	defer s.mu.Unlock()
	if regexp.MustCompile("\u202e|\u009b|\x1b\\[2J|\x07").MatchString(s.text.String()) {
		t.Errorf("%+q", s.text.String())
	}
}

// TestConfigureScript: lines without a terminal, as many programs send them.
func TestConfigureScript(t *testing.T) {
	r := newRig(t, DefaultLimits, testCommands()...)
	got := r.sshWith(strings.NewReader("configure\nset sets web 80\nset sets nothing at all\ncompare | match ^[+]\ncommit comment x\nexit\nexit\n"), "admin", "-T")
	want := "Entering configuration mode\n+++ candidate\n+sets:\n+  web: [80]\n"
	if !strings.HasPrefix(got.out, want) || got.status != 0 || got.errors != "  sets nothing at all: nothing follows here\n  Set failed\n" {
		t.Errorf("%q", got.fields())
	}
	for range configuringMax {
		_, err := r.server.configuring.add(&configuration{})
		need(t, err)
	}
	if got := r.sshWith(strings.NewReader("configure\nset sets web 81\n"), "admin", "-T"); got.status != 2 || !strings.HasPrefix(got.errors, "32 sessions are in configuration mode: no more\n") {
		t.Errorf("%q", got.fields())
	}
	if r.running() != r.config()+"sets:\n  web: [80]\n" {
		t.Errorf("runs: %s", r.running())
	}
}
