package image

import (
	"bytes"
	"fmt"
	"io/fs"
	"slices"
	"strings"
)

// entry is a file of the initramfs.
type entry struct {
	name string // without the slash in front
	mode uint32 // type and permissions, as in inode(7)
	rdev [2]uint32
	data []byte
}

// Types of files, from inode(7).
const (
	typeDirectory = 0o040000
	typeCharacter = 0o020000
	typeRegular   = 0o100000
	typeMask      = 0o170000
)

// archive writes entries as the kernel's initramfs wants them: cpio of the kind newc, in the order of their names, with the directories that they
// lie in, everything root's and of the time 0. See Documentation/driver-api/early-userspace/buffer-format.rst of the kernel.
func archive(entries []entry) ([]byte, error) {
	all := make(map[string]entry)
	for _, e := range entries {
		if !fs.ValidPath(e.name) {
			return nil, fmt.Errorf("put %q into the initramfs: not a name", e.name)
		}
		if _, twice := all[e.name]; twice {
			return nil, fmt.Errorf("put %q into the initramfs: it is there already", e.name)
		}
		all[e.name] = e
	}
	for _, e := range entries {
		for i, r := range e.name {
			if _, ok := all[e.name[:i]]; r == '/' && !ok {
				all[e.name[:i]] = entry{name: e.name[:i], mode: typeDirectory | 0o755}
			}
		}
	}
	names := make([]string, 0, len(all))
	for name := range all {
		names = append(names, name)
	}
	slices.SortFunc(names, strings.Compare) // a directory comes before what lies in it
	var b bytes.Buffer
	for i, name := range names {
		all[name].write(&b, i+1)
	}
	entry{name: "TRAILER!!!"}.write(&b, 0)
	return b.Bytes(), nil
}

// write appends the entry: header, name, data, the latter two padded to four bytes.
func (e entry) write(b *bytes.Buffer, inode int) {
	links := 1
	if e.mode&typeMask == typeDirectory {
		links = 2
	}
	fmt.Fprintf(b, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
		inode, e.mode, 0, 0, links, 0, len(e.data), 0, 0, e.rdev[0], e.rdev[1], len(e.name)+1, 0, e.name)
	pad(b, 4)
	b.Write(e.data)
	pad(b, 4)
}

func pad(b *bytes.Buffer, to int) {
	b.Write(make([]byte, (to-b.Len()%to)%to))
}
