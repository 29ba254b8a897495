package mgmt

import (
	"context"
	"strings"
)

// Ask runs a command line as a client of the control socket would, and returns its output and status. A command that answers bit
// by bit is refused: there is nobody to take the bits.
func Ask(ctx context.Context, commands []*Command, line string) (output []byte, status int) {
	return (&Command{Commands: commands}).execute(ctx, line, strings.NewReader(""), nil)
}
