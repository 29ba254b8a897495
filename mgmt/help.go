package mgmt

import (
	"fmt"
	"strings"
	"unicode"
)

// Candidate is a word that may come next.
type Candidate struct{ Text, Help string }

// Candidates lists what may come next on a line for that role: what the last word of the line, which may be empty, can become.
// Beside them is that word. A command's own arguments are among them as far as they are known.
func (c *Command) Candidates(line string, role Role) (list []Candidate, word string) {
	parts, err := splitLine(line)
	if err != nil {
		return nil, ""
	}
	words := parts[len(parts)-1]
	if n := len(words); n > 0 && !endsInSpace(line) {
		word, words = words[n-1], words[:n-1]
	}
	if len(parts) > 1 {
		return pipeCandidates(words, word), word
	}
	command, least, args := c.find(words)
	if len(args) == 0 {
		for _, child := range command.Commands {
			if child.allows(least, role) && strings.HasPrefix(child.Name, word) {
				list = append(list, Candidate{child.Name, child.Help})
			}
		}
	}
	if !command.runs() || role < least {
		return list, word
	}
	if command.Complete != nil {
		for _, candidate := range command.Complete(args) {
			if strings.HasPrefix(candidate.Text, word) {
				list = append(list, candidate)
			}
		}
	}
	return list, word
}

// DescribeCandidates lists them for people.
func DescribeCandidates(list []Candidate) string {
	var b strings.Builder
	width := 0
	for _, candidate := range list {
		width = max(width, len([]rune(candidate.Text)))
	}
	for _, candidate := range list {
		b.WriteString(strings.TrimRight(fmt.Sprintf("  %-*s  %s", width, candidate.Text, candidate.Help), " ") + "\n")
	}
	return b.String()
}

// DescribeCommand says what the command of a line takes, for people, if the line names one that the role may run.
func (c *Command) DescribeCommand(line string, role Role) string {
	parts, err := splitLine(line)
	if err != nil {
		return err.Error() + "\n"
	}
	if len(parts) > 1 {
		return ""
	}
	words := parts[0]
	typing := len(words) > 0 && !endsInSpace(line)
	if typing {
		words = words[:len(words)-1]
	}
	command, least, _ := c.find(words)
	if !command.runs() || role < least {
		return ""
	}
	var b strings.Builder
	if command.Arguments != "" {
		fmt.Fprintf(&b, "  %s\n", command.Arguments)
	}
	if !typing {
		b.WriteString("  <Enter>  run it\n  |        json, match REGEX, except REGEX, count, no-more\n")
	}
	return b.String()
}

func endsInSpace(line string) bool {
	last := strings.LastIndexFunc(line, func(r rune) bool { return !unicode.IsSpace(r) })
	return last < len(line)-1 && (len(line) > 0)
}

// invalid says why words name no command; args are those beyond the node.
func (c *Command) invalid(words, args []string, least, role Role) string {
	if len(args) == 0 {
		return strings.Join(append([]string{strings.TrimSpace(invalidCommand), "incomplete:"}, words...), " ") + "\n" + c.help(strings.Join(words, " "), least, role)
	}
	names := func(yield func(string) bool) {
		for _, child := range c.Commands {
			if child.allows(least, role) && !yield(child.Name) {
				return
			}
		}
	}
	return fmt.Sprintf("%s%s%s\n", invalidCommand, clip(strings.Join(words, " ")), suggest(args[0], names))
}

// help lists the commands below a node that are for a role.
func (c *Command) help(prefix string, least, role Role) string {
	var b strings.Builder
	if prefix != "" {
		prefix += " "
	}
	width := 0
	for _, child := range c.Commands {
		width = max(width, len(prefix)+len(child.Name))
	}
	for _, child := range c.Commands {
		if child.allows(least, role) {
			fmt.Fprintf(&b, "%-*s  %s\n", width, prefix+child.Name, child.Help)
		}
	}
	if b.Len() == 0 && c.runs() {
		return strings.TrimSpace(prefix+c.Arguments) + "  " + c.Help + "\n"
	}
	return b.String()
}
