package main

import (
	"os"

	"golang.org/x/sys/unix"
)

// terminalSize is the size of the terminal that a file is; ok is false if it is none.
func terminalSize(f *os.File) (columns, rows int, ok bool) {
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0, 0, false
	}
	columns, rows = int(size.Col), int(size.Row)
	if columns == 0 {
		columns = 80
	}
	if rows == 0 {
		rows = 24
	}
	return columns, rows, true
}
