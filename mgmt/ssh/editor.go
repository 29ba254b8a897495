package ssh

import (
	"fmt"
	"io"
	"strings"

	"golang.org/x/term"

	"weir/mgmt"
)

// startEditor has lines come from a terminal, with editing and history.
func (sh *shell) startEditor() func() (string, error) {
	s := sh.s
	in := sh.input(s.interruptRunning)
	sh.typed = in
	screen := s.out
	s.mu.Lock()
	if s.dumb {
		screen = dumbTerminal{s.out}
	}
	s.mu.Unlock()
	sh.editor = term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{in, screen}, "")
	sh.out = mgmt.NewEscaper(sh.editor)
	sh.errors = sh.out
	sh.editor.AutoCompleteCallback = sh.key
	s.setAnnounce(func(text string) { _, _ = io.WriteString(sh.editor, mgmt.Escape(text)+"\n") })
	s.mu.Lock()
	s.resized = func(columns, rows int) {
		if columns > 0 {
			_ = sh.editor.SetSize(columns, rows) // what it draws goes to the client, who takes it or is gone
		}
	}
	columns, rows := s.columns, s.rows
	s.mu.Unlock()
	if columns > 0 {
		_ = sh.editor.SetSize(columns, rows)
	}
	return func() (string, error) {
		if banner := sh.mode().banner(); banner != "" {
			sh.print(banner + "\n")
		}
		sh.editor.SetPrompt(mgmt.Escape(sh.mode().prompt()))
		return sh.editor.ReadLine()
	}
}

// key is called for every key that is not one of the editor's. It completes on Tab and helps on a question mark.
func (sh *shell) key(line string, pos int, key rune) (newLine string, newPos int, handled bool) {
	before := line[:pos]
	switch {
	case sh.text:
	case key == '\t':
		completed := sh.complete(before)
		return completed + line[pos:], len(completed), true
	case key == '?' && strings.Count(before, `"`)%2 == 0 && strings.Count(before, `'`)%2 == 0:
		sh.print(sh.mode().prompt() + before + "?\n" + sh.mode().describe(before))
		return line, pos, true
	}
	return "", 0, false
}

// listedMax is how many ways are listed to complete a word.
const listedMax = 100

// complete is the line with its last word completed, as far as there is one way. Otherwise it lists the ways.
func (sh *shell) complete(line string) string {
	list, word := sh.mode().candidates(line)
	if len(list) == 0 || !strings.HasSuffix(line, word) { // a word in quotes
		return line
	}
	common := list[0].Text
	for _, c := range list {
		if c.Placeholder() {
			common = word
		}
		for !strings.HasPrefix(c.Text, common) {
			common = common[:len(common)-1]
		}
	}
	switch {
	case len(list) == 1 && !list[0].Placeholder() && !strings.HasSuffix(common, "="): // else a value follows
		return strings.TrimSuffix(line, word) + mgmt.Quote(common) + " "
	case len(common) > len(word):
		return line + common[len(word):]
	}
	more := ""
	if n := len(list) - listedMax; n > 0 {
		list, more = list[:listedMax], fmt.Sprintf("  … and %d more\n", n)
	}
	sh.print(sh.mode().prompt() + line + "\n" + mgmt.DescribeCandidates(list) + more)
	return line
}
