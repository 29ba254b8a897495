package mgmt

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Exit statuses of a command, as an SSH exec of it has.
const (
	StatusOK         = 0
	StatusRefused    = 1 // the command could not do what it was asked; the output says why
	StatusBadCommand = 2 // there is no such command, or not with such arguments
)

// Command is a node of the command tree: a command that runs, or a word that others begin with, or both. One tree serves the
// control socket and SSH.
type Command struct {
	Name      string
	Help      string // a line for people, in lower case
	Arguments string // what the command takes, for people: NAME, [count=N]; empty: nothing, or words that Help explains
	Role      Role   // the least that may run it; NoRole: as its parent, and Admin if none says
	Binary    bool   // what it streams is no text, and nothing for a terminal
	Candidate bool   // where nothing is sent along, a candidate that the user has prepared is
	Commands  []*Command

	// Complete lists what may come behind the arguments that are there already; nil: nothing is known.
	Complete func(args []string) []Candidate

	// Run carries the command out. With Request.JSON, a value that is not a string is marshaled; a string is the output as it
	// is. An error is the output of a refusal, and a *UsageError that of a bad command.
	Run func(ctx context.Context, r *Request) (output any, err error)

	// Stream is there instead of Run where a command answers bit by bit, through w. The context ends when the client is
	// gone or wants no more; the output is the command's last words. Writing fails when the client takes nothing for half a
	// minute.
	Stream func(ctx context.Context, r *Request, w io.Writer) (output any, err error)
}

// Request is one call of a command.
type Request struct {
	Args  []string  // the words behind the command's own
	JSON  bool      // it was followed by `| json`
	Stdin io.Reader // what the caller sends along; never nil, and at its end at once where he sends nothing
	By    Author
	Role  Role
	Width int // columns of the caller's terminal; 0: he has none
}

// UsageError says that a command was not given what it takes.
type UsageError struct{ Message string }

func (e *UsageError) Error() string { return e.Message }

// Invocation is a command line that names a command which its caller may run.
type Invocation struct {
	Command *Command

	args    []string
	json    bool
	filters []filter
}

// Messages about bad commands begin with the words that clients of such devices look for.
const invalidCommand = "Invalid command: "

// Invoke finds the command that a line is about, below c. Without one, the output and the status are the answer: the line is
// wrong, or asks for help, or is not for that role.
func (c *Command) Invoke(line string, role Role) (i *Invocation, output []byte, status int) {
	bad := func(message string) (*Invocation, []byte, int) {
		return nil, endLine([]byte(invalidCommand + message)), StatusBadCommand
	}
	if !utf8.ValidString(line) || strings.ContainsRune(line, 0) {
		return bad("not text")
	}
	parts, err := splitLine(line)
	if err != nil {
		return bad(err.Error())
	}
	words := parts[0]
	command, least, args := c.find(words)
	own := words[:len(words)-len(args)]
	if last := len(args) - 1; last >= 0 && (args[last] == "?" || args[last] == "help") && (!command.runs() || last == 0) {
		return nil, []byte(command.help(strings.Join(own, " "), least, role)), StatusOK
	}
	if !command.runs() {
		return nil, []byte(command.invalid(words, args, least, role)), StatusBadCommand
	}
	if role < least {
		return nil, fmt.Appendf(nil, "permission denied: %s is for the role %s, and yours is %s\n", strings.Join(own, " "), least, role), StatusRefused
	}
	i = &Invocation{Command: command, args: args}
	for _, part := range parts[1:] {
		if err := i.pipe(part); err != nil {
			return bad(err.Error())
		}
	}
	return i, nil, StatusOK
}

// Run carries the command out for the caller that r describes; Args and JSON are the invocation's. A command that streams
// does so to out. One that panics is refused: it must not take the router with it.
func (i *Invocation) Run(ctx context.Context, r Request, out io.Writer) (output []byte, status int) {
	defer func() {
		if r := recover(); r != nil {
			output, status = []byte(fmt.Sprintf("command panicked: %v\n", r)), StatusRefused
		}
	}()
	r.Args, r.JSON = i.args, i.json
	if r.Stdin == nil {
		r.Stdin = strings.NewReader("")
	}
	var value any
	var err error
	f := i.filter(out)
	if i.Command.Stream == nil {
		value, err = i.Command.Run(ctx, &r)
	} else {
		value, err = i.Command.Stream(ctx, &r, f)
	}
	var usage *UsageError
	switch {
	case errors.As(err, &usage):
		return endLine([]byte(invalidCommand + usage.Message)), StatusBadCommand
	case err != nil:
		return endLine([]byte(err.Error())), StatusRefused
	}
	output, err = text(value, r.JSON)
	if err != nil {
		return endLine([]byte(err.Error())), StatusRefused
	}
	return f.finish(output), StatusOK
}

// text is a command's output, for people or programs.
func text(value any, asJSON bool) ([]byte, error) {
	switch s, isText := value.(string); {
	case isText:
		return endLine([]byte(s)), nil
	case value == nil && !asJSON:
		return nil, nil
	case !asJSON:
		return endLine([]byte(fmt.Sprint(value))), nil
	}
	output, err := json.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("marshal output: %w", err)
	}
	return endLine(output), nil
}

func (c *Command) runs() bool { return c.Run != nil || c.Stream != nil }

// find follows words into the tree; what is left are the command's arguments. least is the role that the command is for.
func (c *Command) find(words []string) (command *Command, least Role, args []string) {
	least = c.least(Admin)
	for len(words) > 0 {
		next := c.child(words[0])
		if next == nil {
			break
		}
		c, words = next, words[1:]
		least = c.least(least)
	}
	return c, least, words
}

// least is the role that a command is for whose parent is for the role inherited.
func (c *Command) least(inherited Role) Role {
	if c.Role == NoRole {
		return inherited
	}
	return c.Role
}

func (c *Command) child(name string) *Command {
	for _, child := range c.Commands {
		if child.Name == name {
			return child
		}
	}
	return nil
}

// allows reports whether a role may run the command, or one below it.
func (c *Command) allows(inherited, role Role) bool {
	least := c.least(inherited)
	if c.runs() && role >= least {
		return true
	}
	for _, child := range c.Commands {
		if child.allows(least, role) {
			return true
		}
	}
	return false
}

// All has every command that runs: its words and the least role that it is for.
func (c *Command) All(yield func(words []string, least Role) bool) {
	c.all(nil, c.least(Admin), yield)
}

func (c *Command) all(words []string, least Role, yield func([]string, Role) bool) bool {
	if c.runs() && !yield(words, least) {
		return false
	}
	for _, child := range c.Commands {
		if !child.all(append(words[:len(words):len(words)], child.Name), child.least(least), yield) {
			return false
		}
	}
	return true
}

func endLine(output []byte) []byte {
	if len(output) > 0 && output[len(output)-1] != '\n' {
		output = append(output, '\n')
	}
	return output
}
