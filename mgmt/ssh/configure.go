package ssh

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"weir/mgmt"
	"weir/mgmt/document"
)

// base is what a candidate was made from.
type base struct{ text, hash string }

// configuration is the mode in which a candidate is changed (configure). The candidate is the session's own: nobody else sees it before it is
// committed.
//
//	what runs ──▶ base ──▶ candidate ── set, delete, load, rollback … ──▶ commit, if base still runs
//	                ▲                                                        │ if not
//	                └──────────────── rebase: the same changes to what runs ◀┘
//
// Its fields belong to the goroutine of the shell, but for state.
type configuration struct {
	sh        *shell
	tree      *mgmt.Command
	base      base
	candidate *document.Document
	files     map[string]string // routes-files of the commit that rollback took the candidate from
	sent      *candidate        // of config/candidate.yaml, which load took
	path      []string          // of edit
	outer     [][]string        // paths that edit was given at, for exit
	release   func()            // ends configure exclusive; nil: it is not
	forgotten bool              // the changes are not wanted

	state configuringState
}

// configure enters the mode.
func (sh *shell) configure(args []string) int {
	exclusive := slices.Equal(args, []string{"exclusive"})
	if len(args) > 0 && !exclusive && !slices.Equal(args, []string{"private"}) {
		return sh.invalid("configure [exclusive]")
	}
	m := &configuration{sh: sh}
	m.tree = &mgmt.Command{Commands: m.commands()}
	if err := m.begin(); err != nil {
		sh.fail(err.Error() + "\n")
		return mgmt.StatusRefused
	}
	engine, by := sh.s.c.serving.engine, sh.s.c.author()
	if exclusive {
		release, err := engine.Lock(by)
		if err != nil {
			sh.fail(err.Error() + "\n")
			return mgmt.StatusRefused
		}
		m.release = release
	}
	m.state.by, m.state.since, m.state.exclusive = by, time.Now(), exclusive
	all := &sh.s.c.server.configuring
	others, err := all.add(m)
	if err != nil {
		m.unlock()
		sh.fail(err.Error() + "\n")
		return mgmt.StatusRefused
	}
	sh.push(m)
	sh.s.configuring.Store(m)
	sh.print("Entering configuration mode\n" + others)
	if locker, _, locked := engine.Locked(); locked && locker != by {
		sh.print(fmt.Sprintf("%v has locked the configuration: you can prepare changes, and not commit them\n", locker))
	}
	if u, ok := sh.s.c.server.unfinished.find(sh.s.c.user); ok {
		sh.print(fmt.Sprintf("A session of yours ended at %s with changes that it had not committed: `load unfinished` goes on with them\n",
			u.changed.Local().Format(time.DateTime)))
	}
	return mgmt.StatusOK
}

// begin has the candidate be what runs.
func (m *configuration) begin() error {
	running, _ := m.engine().Running()
	if running == nil {
		return fmt.Errorf("nothing runs that could be changed")
	}
	d, err := document.Parse(mgmt.Schema(), running.Text)
	if err != nil {
		return fmt.Errorf("edit what runs: %w", err)
	}
	m.base = base{string(running.Text), running.Hash}
	m.candidate, m.files, m.sent = d, nil, nil
	m.settle()
	return nil
}

func (m *configuration) engine() *mgmt.Engine { return m.sh.s.c.serving.engine }

func (m *configuration) modified() bool { return m.files != nil || m.candidate.String() != m.base.text }

func (m *configuration) unlock() {
	if m.release != nil {
		m.release()
		m.release = nil
	}
}

// left keeps what has not been committed: whoever wants that gone says so, by exit discard.
func (m *configuration) left() {
	s := m.sh.s
	s.configuring.Store(nil)
	s.c.server.configuring.remove(m)
	m.unlock()
	if m.forgotten || !m.modified() {
		return
	}
	err := s.c.serving.ctx.Err()
	if err == nil {
		err = s.c.server.unfinished.keep(s.c.user, candidate{text: m.candidate.Text(), changed: time.Now(), base: m.base, files: m.files})
	}
	if err != nil {
		s.c.server.audit.Warn("changes of a session are lost", s.c.fields(zap.Int("session", s.number), zap.Error(err))...)
		m.sh.print("Your changes are lost\n")
		return
	}
	s.c.server.audit.Info("changes of a session are kept", s.c.fields(zap.Int("session", s.number))...)
	m.sh.print("Your changes are kept: `load unfinished` in configuration mode goes on with them\n")
}

func (m *configuration) prompt() string { return m.sh.s.c.name() + "# " }

func (m *configuration) banner() string {
	return "[" + strings.TrimSpace("edit "+document.Line(m.path...)) + "]"
}

// runPrefix is before commands of operational mode.
const runPrefix = "run "

func (m *configuration) candidates(line string) ([]mgmt.Candidate, string) {
	if rest, ok := strings.CutPrefix(line, runPrefix); ok {
		return m.sh.s.c.serving.root.Candidates(rest, m.sh.s.c.role())
	}
	return m.tree.Candidates(line, m.sh.s.c.role())
}

func (m *configuration) describe(line string) string {
	list, _ := m.candidates(line)
	text := mgmt.DescribeCandidates(list[:min(len(list), listedMax)])
	if rest, ok := strings.CutPrefix(line, runPrefix); ok {
		return text + m.sh.s.c.serving.root.DescribeCommand(rest, m.sh.s.c.role())
	}
	if first, _, ok := strings.Cut(line, " "); ok && len(list) > 0 && slices.Contains([]string{"set", "delete", "edit", "rename", "insert"}, first) {
		return text // what comes next says more than PATH… does
	}
	return text + m.tree.DescribeCommand(line, m.sh.s.c.role())
}

// execute carries out a command of the mode.
func (m *configuration) execute(ctx context.Context, sh *shell, line string) int {
	words := strings.Fields(line)
	for _, w := range shellWords {
		if w.words[0] == "set" && hasPrefix(words, w.words) {
			return w.run(sh, words[len(w.words):])
		}
	}
	if rest, ok := strings.CutPrefix(line, runPrefix); ok {
		return sh.s.command(ctx, rest, strings.NewReader(""), sh.out, sh.errors)
	}
	role := sh.s.c.role()
	if role < mgmt.Admin {
		sh.fail("permission denied: you are no longer an administrator\n")
		sh.pop()
		return mgmt.StatusRefused
	}
	m.follow()
	invocation, output, status := m.tree.Invoke(line, role)
	if invocation != nil {
		output, status = invocation.Run(ctx, mgmt.Request{By: sh.s.c.author(), Role: role, Width: sh.s.width()}, sh.out)
	}
	m.settle()
	out := sh.out
	if status != mgmt.StatusOK {
		out = sh.errors
	}
	show(ctx, out, output)
	return status
}

// follow has a candidate in which nothing has been changed be what runs now.
func (m *configuration) follow() {
	if running, _ := m.engine().Running(); running == nil || running.Hash == m.base.hash || m.modified() {
		return
	}
	if err := m.begin(); err != nil {
		m.sh.fail(err.Error() + "\n")
	}
}

// settle tells who looks from outside how it stands.
func (m *configuration) settle() {
	modified := m.modified()
	m.state.mu.Lock()
	defer m.state.mu.Unlock()
	m.state.modified, m.state.hash = modified, m.base.hash
}

// outdated reports whether changes have been made to something that no longer runs.
func (m *configuration) outdated() bool {
	running, _ := m.engine().Running()
	m.state.mu.Lock()
	defer m.state.mu.Unlock()
	return m.state.modified && !m.state.committing && running != nil && running.Hash != m.state.hash
}

// configuringMax bounds the sessions in configuration mode: each has a text and what it was made from.
const configuringMax = 32

// configuring are the sessions in configuration mode.
type configuring struct {
	mu  sync.Mutex
	all []*configuration // in the order in which they came
}

// configuringState is what others may know of one.
type configuringState struct {
	by        mgmt.Author
	since     time.Time
	exclusive bool

	mu         sync.Mutex
	hash       string // of the base
	modified   bool
	committing bool
}

// add takes another one in, and lists those that are there.
func (c *configuring) add(m *configuration) (others string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.all) >= configuringMax {
		return "", fmt.Errorf("%d sessions are in configuration mode: no more", len(c.all))
	}
	for _, other := range c.all {
		others += other.state.String()
	}
	c.all = append(c.all, m)
	if others != "" {
		others = "Also in configuration mode:\n" + others
	}
	return others, nil
}

func (c *configuring) remove(m *configuration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all = slices.DeleteFunc(c.all, func(other *configuration) bool { return other == m })
}

// list lists them for people, marking mine.
func (c *configuring) list(mine *configuration) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var b strings.Builder
	for _, m := range c.all {
		line := m.state.String()
		if m == mine {
			line = "*" + line[1:]
		}
		b.WriteString(line)
	}
	return b.String()
}

func (s *configuringState) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	text := fmt.Sprintf("  %v, since %s", s.by, s.since.Local().Format(time.DateTime))
	if s.exclusive {
		text += ", exclusive"
	}
	if s.modified {
		text += ", with changes"
	}
	return text + "\n"
}
