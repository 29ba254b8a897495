package mgmt

import "context"

// Ask runs a command line for somebody who may only read, and returns its output and status. A command that answers bit by bit is
// refused: there is nobody to take the bits.
func Ask(ctx context.Context, commands []*Command, line string) (output []byte, status int) {
	i, output, status := (&Command{Commands: commands}).Invoke(line, ReadOnly)
	switch {
	case i == nil:
		return output, status
	case i.Command.Stream != nil:
		return []byte(invalidCommand + "answers bit by bit, which does not go here\n"), StatusBadCommand
	}
	return i.Run(ctx, Request{By: Author{Via: "web"}, Role: ReadOnly}, nil)
}
