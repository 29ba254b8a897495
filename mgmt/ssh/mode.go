package ssh

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"weir/mgmt"
)

// mode is what the lines of a shell mean. A shell has a stack of them; the uppermost has the lines.
type mode interface {
	// prompt is what stands before what is typed. It may change with every line.
	prompt() string

	// banner is a line above the prompt, such as `[edit ports em0]`, and empty where there is none.
	banner() string

	// candidates lists what the last word of a line can become, and that word.
	candidates(line string) (list []mgmt.Candidate, word string)

	// describe is what `?` says at the end of a line.
	describe(line string) string

	// execute carries a line out, which is not empty. ctx ends on Ctrl-C.
	execute(ctx context.Context, sh *shell, line string) (status int)

	// left is called when the mode is left, or when the session ends in it.
	left()
}

// operational is the mode that a shell begins with: the command tree, and words about the shell itself.
type operational struct{ s *session }

type shellWord struct {
	words []string // that a line begins with
	help  string
	role  mgmt.Role // the least that may
	run   func(sh *shell, args []string) (status int)
}

// shellWords are commands of the shell rather than the router, in operational mode. A mode that can be entered has its word here.
var shellWords = []shellWord{
	{[]string{"exit"}, "end the session", mgmt.ReadOnly, (*shell).leave},
	{[]string{"quit"}, "end the session", mgmt.ReadOnly, (*shell).leave},
	{[]string{"configure"}, "change the configuration: configure [exclusive]", mgmt.Admin, (*shell).configure},
	{[]string{"show", "host", "name"}, "name of the router, for VyOS clients", mgmt.ReadOnly, (*shell).showHostName},
	{[]string{"set", "terminal", "length"}, "accepted; nothing here waits for a key: set terminal length 0", mgmt.ReadOnly, (*shell).setLength},
	{[]string{"set", "terminal", "width"}, "columns of the terminal: set terminal width N", mgmt.ReadOnly, (*shell).setWidth},
	{[]string{"set", "cli", "screen-length"}, "as set terminal length, for Junos clients", mgmt.ReadOnly, (*shell).setLength},
	{[]string{"set", "cli", "screen-width"}, "as set terminal width, for Junos clients", mgmt.ReadOnly, (*shell).setWidth},
	{[]string{"set", "cli", "complete-on-space", "off"}, "as it is, for Junos clients", mgmt.ReadOnly, func(*shell, []string) int { return mgmt.StatusOK }},
}

func (o operational) prompt() string {
	if o.s.c.vyos {
		return o.s.c.name() + ":~$ "
	}
	return o.s.c.name() + "> "
}

func (o operational) left() {}

func (o operational) banner() string { return "" }

func (o operational) candidates(line string) ([]mgmt.Candidate, string) {
	role := o.s.c.role()
	list, word := o.s.c.serving.root.Candidates(line, role)
	before := strings.Fields(strings.TrimSuffix(line, word))
	for _, w := range shellWords {
		if role < w.role || len(w.words) <= len(before) || !hasPrefix(w.words, before) || !strings.HasPrefix(w.words[len(before)], word) {
			continue
		}
		next := mgmt.Candidate{Text: w.words[len(before)], Help: w.help}
		if len(list) == 0 || list[len(list)-1].Text != next.Text {
			list = append(list, next)
		}
	}
	return list, word
}

func hasPrefix(words, prefix []string) bool {
	if len(prefix) > len(words) {
		return false
	}
	for i, w := range prefix {
		if words[i] != w {
			return false
		}
	}
	return true
}

func (o operational) describe(line string) string {
	list, _ := o.candidates(line)
	list = list[:min(len(list), listedMax)]
	return mgmt.DescribeCandidates(list) + o.s.c.serving.root.DescribeCommand(line, o.s.c.role())
}

func (o operational) execute(ctx context.Context, sh *shell, line string) int {
	words := strings.Fields(line)
	for _, w := range shellWords {
		if hasPrefix(words, w.words) && sh.s.c.role() >= w.role {
			return w.run(sh, words[len(w.words):])
		}
	}
	return sh.s.command(ctx, line, strings.NewReader(""), sh.out, sh.errors)
}

func (sh *shell) leave([]string) int {
	sh.pop()
	return mgmt.StatusOK
}

func (sh *shell) showHostName([]string) int {
	sh.print(sh.s.c.server.access.Load().hostname + "\n")
	return mgmt.StatusOK
}

func (sh *shell) setLength(args []string) int {
	if len(args) != 1 {
		return sh.invalid("set terminal length N")
	}
	if n, err := strconv.Atoi(args[0]); err != nil || n < 0 {
		return sh.invalid("set terminal length N")
	}
	return mgmt.StatusOK
}

func (sh *shell) setWidth(args []string) int {
	if len(args) == 1 {
		if n, err := strconv.Atoi(args[0]); err == nil && n > 0 && n <= columnsMax {
			sh.s.mu.Lock()
			rows := sh.s.rows
			sh.s.mu.Unlock()
			sh.s.resize(uint32(n), uint32(rows))
			return mgmt.StatusOK
		}
	}
	return sh.invalid(fmt.Sprintf("set terminal width N, from 1 to %d", columnsMax))
}

func (sh *shell) invalid(usage string) int {
	sh.fail("Invalid command: " + usage + "\n")
	return mgmt.StatusBadCommand
}
