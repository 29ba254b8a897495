package mgmt

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"weir/mgmt/document"
	"weir/mgmt/store"
)

// confirmedDefault is how long a confirmation may take where no time is given, as Junos.
const confirmedDefault = 10 * time.Minute

// Commands are those that change the configuration.
func (e *Engine) Commands() []*Command {
	return []*Command{
		{Name: "check", Role: Admin, Candidate: true, Help: "check the configuration on standard input, and change nothing", Run: e.runCheck},
		{Name: "commit", Role: Admin, Candidate: true, Arguments: commitUsage, Help: "put the configuration on standard input in force", Run: e.runCommit},
		{Name: "confirm", Role: Admin, Help: "keep the commit that waits for its confirmation", Run: e.runConfirm},
		{Name: "abort", Role: Admin, Help: "roll back the commit that waits for its confirmation", Run: e.runAbort},
		{Name: "rollback", Role: Admin, Arguments: rollbackUsage, Help: "put an earlier configuration in force: 1 is the one before", Run: e.runRollback},
		{Name: "compare", Role: ReadOnly, Candidate: true, Arguments: "[N]",
			Help: "what the one N back, the one on standard input, or else the file has other than what runs", Run: e.runCompare},
		{Name: "reload", Role: Admin, Help: "read the configuration file again; or commit the one on standard input", Run: e.runReload},
	}
}

// ShowCommands are those that show it.
func (e *Engine) ShowCommands() []*Command {
	return []*Command{
		{Name: "commits", Arguments: "[NUMBER]", Help: "what was committed, when and by whom; of one, its text", Run: e.showCommits},
		{Name: "configuration", Help: "the configuration that runs", Run: e.showConfiguration},
	}
}

const (
	commitUsage   = "[confirmed [MINUTES]] [overwrite] [base HASH] [comment TEXT]"
	rollbackUsage = "N [confirmed [MINUTES]] [comment TEXT]"
)

// commitWords reads what commit and rollback take.
func commitWords(args []string, c *Change) error {
	for len(args) > 0 {
		word := args[0]
		args = args[1:]
		switch {
		case word == "confirmed":
			c.Confirm = confirmedDefault
			if len(args) > 0 {
				if n, err := strconv.ParseFloat(args[0], 64); err == nil {
					args = args[1:]
					if c.Confirm = time.Duration(n * float64(time.Minute)); !(n > 0 && n <= ConfirmMax.Minutes()) {
						return fmt.Errorf("confirmed takes at most %.0f minutes, and more than 0", ConfirmMax.Minutes())
					}
				}
			}
		case word == "overwrite":
			c.Overwrite = true
		case word == "base" && len(args) > 0:
			c.Base, args = args[0], args[1:]
		case word == "comment" && len(args) > 0:
			c.Comment, args = strings.Join(args, " "), nil
		default:
			return fmt.Errorf("%s", clip(word))
		}
	}
	return nil
}

func (e *Engine) runCheck(ctx context.Context, r *Request) (any, error) {
	if len(r.Args) > 0 {
		return nil, &UsageError{"check takes a configuration on standard input"}
	}
	change, err := ReadChange(r.Stdin)
	if err != nil {
		return nil, err
	}
	defer change.Close()
	_, problems := e.Check(ctx, change)
	if problems == nil {
		problems = Problems{}
	}
	return outcome(r, problems, problems.String(), !problems.Refused())
}

func (e *Engine) runCommit(ctx context.Context, r *Request) (any, error) {
	var words Change
	if err := commitWords(r.Args, &words); err != nil {
		return nil, &UsageError{fmt.Sprintf("commit takes %s, not %v", commitUsage, err)}
	}
	return e.commitInput(ctx, r, words)
}

// commitInput commits what is on standard input.
func (e *Engine) commitInput(ctx context.Context, r *Request, words Change) (any, error) {
	change, err := ReadChange(r.Stdin)
	if err != nil {
		return nil, err
	}
	defer change.Close()
	change.By, change.Base, change.Comment, change.Confirm, change.Overwrite = r.By, words.Base, words.Comment, words.Confirm, words.Overwrite
	return reported(r, e.Commit(ctx, change))
}

func (e *Engine) runConfirm(_ context.Context, r *Request) (any, error) {
	if len(r.Args) > 0 {
		return nil, &UsageError{"confirm takes nothing"}
	}
	if err := e.Confirm(r.By); err != nil {
		return nil, err
	}
	return outcome(r, map[string]int{"number": e.number()}, fmt.Sprintf("commit %d is confirmed", e.number()), true)
}

func (e *Engine) runAbort(ctx context.Context, r *Request) (any, error) {
	if len(r.Args) > 0 {
		return nil, &UsageError{"abort takes nothing"}
	}
	return reported(r, e.Abort(ctx, r.By))
}

func (e *Engine) runRollback(ctx context.Context, r *Request) (any, error) {
	var words Change
	n, err := -1, error(nil)
	if len(r.Args) > 0 {
		n, err = strconv.Atoi(r.Args[0])
	}
	if n < 0 || err != nil {
		return nil, &UsageError{"rollback takes " + rollbackUsage}
	}
	if err := commitWords(r.Args[1:], &words); err != nil || words.Base != "" || words.Overwrite {
		return nil, &UsageError{"rollback takes " + rollbackUsage}
	}
	return reported(r, e.Rollback(ctx, n, r.By, words.Comment, words.Confirm))
}

func (e *Engine) runReload(ctx context.Context, r *Request) (any, error) {
	if len(r.Args) > 0 {
		return nil, &UsageError{"reload takes no arguments: it reads the file that weir was started with, or standard input"}
	}
	input := peekable(r.Stdin)
	if _, err := input.Peek(1); errors.Is(err, io.EOF) {
		return reported(r, e.Reload(ctx, r.By))
	}
	r.Stdin = input
	return e.commitInput(ctx, r, Change{})
}

func (e *Engine) runCompare(_ context.Context, r *Request) (any, error) {
	if len(r.Args) > 1 {
		return nil, &UsageError{"compare takes [N]"}
	}
	var text string
	if len(r.Args) == 1 {
		n, err := strconv.Atoi(r.Args[0])
		if err != nil {
			return nil, &UsageError{"compare takes [N]"}
		}
		if text, err = e.Compare(n); err != nil {
			return nil, err
		}
	} else {
		change, err := Change{}, ErrNoInput
		if r.Role >= Admin { // others get nothing onto the disk, not even for a moment
			change, err = ReadChange(r.Stdin)
		}
		if errors.Is(err, ErrNoInput) {
			change.Text, err = e.readFile()
		}
		if err != nil {
			return nil, err
		}
		defer change.Close()
		text = e.CompareText(change.Text)
	}
	return outcome(r, map[string]string{"difference": text}, text, true)
}

// readFile is the configuration file as it is now.
func (e *Engine) readFile() ([]byte, error) {
	f, err := openRegular(e.path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, document.TextMax))
}

func (e *Engine) showConfiguration(_ context.Context, r *Request) (any, error) {
	if len(r.Args) > 0 {
		return nil, &UsageError{"show configuration takes nothing"}
	}
	config, generation := e.Running()
	if config == nil {
		return nil, errors.New("nothing runs")
	}
	return outcome(r, map[string]any{
		"number": e.number(), "generation": generation, "hash": config.Hash, "text": string(config.Text),
		"notices": orNone(e.Notices()), "trouble": orNone(e.Trouble()),
	}, string(config.Text), true)
}

func (e *Engine) showCommits(_ context.Context, r *Request) (any, error) {
	if len(r.Args) > 1 {
		return nil, &UsageError{"show commits takes [NUMBER]"}
	}
	list := e.Commits()
	if len(r.Args) == 0 {
		var b strings.Builder
		for _, t := range e.Trouble() {
			fmt.Fprintf(&b, "DEGRADED: %s\n", t)
		}
		for _, n := range e.Notices() {
			wrapped(&b, "", "note: "+n)
		}
		return outcome(r, append([]store.Commit{}, list...), b.String()+commitsText(list), true)
	}
	n, err := strconv.Atoi(r.Args[0])
	if err != nil {
		return nil, &UsageError{"show commits takes [NUMBER]"}
	}
	for _, c := range list {
		if c.Number == n {
			change, err := e.CommitText(n)
			if err != nil {
				return nil, err
			}
			return outcome(r, struct {
				store.Commit
				Text string `json:"text"`
			}{c, string(change.Text)}, string(change.Text), true)
		}
	}
	return nil, fmt.Errorf("commit %d: %w", n, store.ErrNone)
}

// commitsText is the list for people. The first column is what rollback takes.
func commitsText(list []store.Commit) string {
	if len(list) == 0 {
		return "no commits are kept\n"
	}
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "BACK\tCOMMIT\tTIME\tHASH\tBY\tCOMMENT")
	back := -1
	for _, c := range list {
		if c.Running {
			back = 0
		}
		distance, state := "", c.Comment
		if back >= 0 {
			distance = strconv.Itoa(back)
			back++
		}
		switch {
		case c.Pending:
			state = strings.TrimSpace("[to be confirmed] " + state)
		case c.RolledBack:
			state = strings.TrimSpace("[rolled back] " + state)
		}
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%v\t%s\n", distance, c.Number, c.Time.Local().Format(time.DateTime), shortHash(c.Hash), c.By, state)
	}
	w.Flush() // into memory
	return b.String()
}

// reported is a commit's outcome as a command's.
func reported(r *Request, report Report) (any, error) {
	return outcome(r, &report, report.String(), report.OK())
}

// outcome is what a command says, for people or programs; one that is not ok is refused.
func outcome(r *Request, value any, text string, ok bool) (any, error) {
	switch {
	case ok && r.JSON:
		return value, nil
	case ok:
		return text, nil
	case r.JSON:
		output, err := json.Marshal(value)
		if err != nil {
			return nil, err
		}
		text = string(output)
	}
	return nil, errors.New(strings.TrimSuffix(text, "\n"))
}

func orNone(list []string) []string { return append([]string{}, list...) }
