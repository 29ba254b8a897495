package mgmt

import (
	"fmt"
	"strconv"
	"strings"
)

// Position is a place in a file. Lines and columns count from 1, columns in characters. The zero Position is that of
// something that no file says, as a default rule.
type Position struct {
	File   string `json:"file"`
	Line   int    `json:"line"`
	Column int    `json:"column"`
}

// String is FILE:LINE:COLUMN, as compilers and editors write it.
func (p Position) String() string {
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}

// spot is a Position in 12 bytes, because there is one per route: file is an index into decoder.files.
type spot struct {
	file   uint32
	line   uint32
	column uint32
}

// before orders spots by file, line and column.
func (s spot) before(o spot) bool {
	if s.file != o.file {
		return s.file < o.file
	}
	if s.line != o.line {
		return s.line < o.line
	}
	return s.column < o.column
}

// path names a value of the configuration by the keys and indexes that lead to it. It is a list linked towards the
// root, which is nil, so that descending costs nothing and only an error pays for the text.
type path struct {
	parent *path
	key    string // of a mapping
	index  int    // of a list, where key is empty
}

func (p *path) to(key string) *path { return &path{parent: p, key: key} }
func (p *path) at(index int) *path  { return &path{parent: p, index: index} }

// String is the path as users write it: tables.x.routes[2].via.
func (p *path) String() string {
	var steps []*path
	for ; p != nil; p = p.parent {
		steps = append(steps, p)
	}
	var b strings.Builder
	for i := len(steps) - 1; i >= 0; i-- {
		switch s := steps[i]; {
		case s.key == "":
			b.WriteString("[" + strconv.Itoa(s.index) + "]")
		default:
			if b.Len() > 0 {
				b.WriteByte('.')
			}
			b.WriteString(clip(s.key))
		}
	}
	return b.String()
}
