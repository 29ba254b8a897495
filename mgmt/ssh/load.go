package ssh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"weir/mgmt"
	"weir/mgmt/document"
)

func (m *configuration) loadCommands() []*mgmt.Command {
	typed := func(load func(text string) error) func(context.Context, *mgmt.Request) (any, error) {
		return func(ctx context.Context, r *mgmt.Request) (any, error) {
			if len(r.Args) > 1 || len(r.Args) == 1 && r.Args[0] != "terminal" {
				return nil, &mgmt.UsageError{Message: "load takes a text from the terminal: load … [terminal]"}
			}
			text, err := m.sh.readText(ctx)
			if err != nil {
				return nil, err
			}
			return loaded(load(text))
		}
	}
	kept := func(all *candidates, take func(c candidate) error) func(context.Context, *mgmt.Request) (any, error) {
		return func(_ context.Context, r *mgmt.Request) (any, error) {
			if len(r.Args) > 0 {
				return nil, &mgmt.UsageError{Message: "load … takes nothing"}
			}
			c, ok := all.find(m.sh.s.c.user)
			if !ok {
				return nil, errors.New("there is none")
			}
			return loaded(take(c))
		}
	}
	server := m.sh.s.c.server
	const whole = "; it ends with Ctrl-D on a line of its own"
	replace := typed(m.replace)
	return []*mgmt.Command{
		{Name: "merge", Arguments: "[terminal]", Help: "add a configuration to the candidate" + whole, Run: typed(m.merge)},
		{Name: "replace", Arguments: "[terminal]", Help: "take a configuration in place of the candidate" + whole, Run: replace},
		{Name: "override", Arguments: "[terminal]", Help: "as replace", Run: replace},
		{Name: "set", Arguments: "[terminal]", Help: "set, delete, rename and insert commands, all or none of them" + whole, Run: typed(m.script)},
		{Name: "candidate", Help: "what you sent to config/candidate.yaml, in place of the candidate", Run: kept(&server.candidates, func(c candidate) error {
			err := m.replace(string(c.text))
			if err == nil {
				m.sent = &c
			}
			return err
		})},
		{Name: "unfinished", Help: "what a session of yours left when it ended, with what it was made from", Run: kept(&server.unfinished, func(c candidate) error {
			err := m.replace(string(c.text))
			if err == nil {
				m.base, m.files = c.base, c.files
				server.unfinished.forget(m.sh.s.c.user, c)
			}
			return err
		})},
	}
}

// loaded is what a load says: where the text is wrong, the place in it.
func loaded(err error) (any, error) {
	var syntax *document.SyntaxError
	switch {
	case errors.As(err, &syntax):
		return nil, fmt.Errorf("  line %d, column %d: %s\n  Load failed", syntax.At.Line, syntax.At.Column, syntax.Message)
	case err != nil:
		return nil, fmt.Errorf("  %w\n  Load failed", err)
	}
	return "load complete\n", nil
}

func (m *configuration) merge(text string) error {
	other, err := document.Parse(mgmt.Schema(), []byte(text))
	if err != nil {
		return err
	}
	return m.candidate.Merge(other)
}

func (m *configuration) replace(text string) error {
	d, err := document.Parse(mgmt.Schema(), []byte(text))
	if err != nil {
		return err
	}
	m.candidate, m.files, m.sent = d, nil, nil
	return nil
}

// script carries out lines of commands, on a copy.
func (m *configuration) script(text string) error {
	d, err := document.Parse(mgmt.Schema(), m.candidate.Text())
	if err != nil {
		return err
	}
	edited := &configuration{candidate: d, path: m.path}
	verbs := map[string]func([]string) error{"set": edited.set, "delete": edited.delete, "rename": edited.rename, "insert": edited.insert}
	number := 0
	for line := range strings.Lines(text) {
		number++
		words, err := document.Words(line)
		switch {
		case err != nil:
		case len(words) == 0 || strings.HasPrefix(words[0], "#"):
			continue
		case verbs[words[0]] == nil:
			err = fmt.Errorf("%s: expected set, delete, rename or insert", document.Clip(words[0]))
		case len(words) == 1:
			err = errors.New("incomplete")
		default:
			err = verbs[words[0]](words[1:])
		}
		if err != nil {
			return fmt.Errorf("line %d: %w", number, err)
		}
	}
	m.candidate = d
	return nil
}

// typedMax is how many characters of a line the editor takes; it drops the rest.
const typedMax = 4096

// readText is what is typed or sent until Ctrl-D; without a terminal, that on a line of its own, or the end of what is sent.
func (sh *shell) readText(ctx context.Context) (string, error) {
	next := func() (line string, last bool, err error) {
		line, err = readLine(sh.lines)
		if last = err == nil && line == string(rune(keyEnd)) || err == io.EOF; last {
			return strings.TrimPrefix(line, string(rune(keyEnd))), true, nil
		}
		return line, false, err
	}
	if sh.editor != nil {
		sh.print("[Type ^D at a new line to end input]\n")
		history := sh.editor.History
		sh.text, sh.editor.History = true, noHistory{}
		sh.typed.beginText()
		defer func() {
			sh.text, sh.editor.History = false, history
			sh.typed.endText()
		}()
		// Ctrl-C has been taken for an interruption: the text is to end too.
		defer context.AfterFunc(ctx, sh.typed.giveUpText)()
		sh.editor.SetPrompt("")
		next = func() (line string, last bool, err error) {
			if line, err = sh.editor.ReadLine(); len(line) >= typedMax {
				err = errLineTooLong
			}
			return line, sh.typed.textEnded(), err
		}
	}
	var text strings.Builder
	var failed error // what comes behind is taken all the same: it must not be taken for commands
	for {
		line, last, err := next()
		switch {
		case ctx.Err() != nil:
			return "", errors.New("interrupted: nothing is loaded")
		case errors.Is(err, errLineTooLong):
			failed = errors.New("a line is too long to be typed: nothing is loaded; send the text to config/candidate.yaml and `load candidate`")
		case err != nil:
			return "", fmt.Errorf("read what is typed: %w: nothing is loaded", err)
		case text.Len()+len(line) >= document.TextMax:
			failed = fmt.Errorf("a configuration has at most %d bytes: nothing is loaded", document.TextMax)
		case failed == nil && (line != "" || !last):
			text.WriteString(line + "\n")
		}
		if last {
			return text.String(), failed
		}
	}
}

// noHistory keeps the lines of a text out of those that the arrow keys bring back.
type noHistory struct{}

func (noHistory) Add(string)    {}
func (noHistory) Len() int      { return 0 }
func (noHistory) At(int) string { return "" }
