package ssh

import (
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"weir/mgmt"
)

// The tree that sftp shows. It is made anew for every request from what the engine has; nothing of it is a file.
//
//	config/running.yaml      what runs
//	config/candidate.yaml    the user's own text, to be committed
//	commits/N.yaml           what was committed
//	reports/N.json           when, by whom, and what came of it

// file is a node of the tree.
type file struct {
	name    string
	mode    fs.FileMode
	changed time.Time
	entries []*file                // of a directory
	read    func() ([]byte, error) // of a file
}

func (f *file) Name() string       { return f.name }
func (f *file) Mode() fs.FileMode  { return f.mode }
func (f *file) ModTime() time.Time { return f.changed }
func (f *file) IsDir() bool        { return f.mode.IsDir() }
func (f *file) Sys() any           { return nil }

// Size is the length of what is read; what cannot be read is empty.
func (f *file) Size() int64 {
	if f.read == nil {
		return 0
	}
	content, _ := f.read()
	return int64(len(content))
}

const candidatePath = "/config/candidate.yaml"

func directory(name string, entries ...*file) *file {
	d := &file{name: name, mode: fs.ModeDir | 0o755, entries: entries}
	for _, e := range entries {
		if e.changed.After(d.changed) {
			d.changed = e.changed
		}
	}
	return d
}

func fileOf(name string, content []byte, changed time.Time) *file {
	return &file{name: name, mode: 0o444, changed: changed, read: func() ([]byte, error) { return content, nil }}
}

// files is the tree for a user.
func (s *Server) files(engine *mgmt.Engine, user string) *file {
	config := directory("config")
	if running, _ := engine.Running(); running != nil {
		config.entries = append(config.entries, fileOf("running.yaml", running.Text, time.Time{}))
	}
	if c, ok := s.candidates.find(user); ok {
		candidate := fileOf("candidate.yaml", c.text, c.changed)
		candidate.mode = 0o600
		config.entries = append(config.entries, candidate)
	}
	commits, reports := committed(engine)
	return directory("/", config, directory("commits", commits...), directory("reports", reports...))
}

// find follows a path, which is clean and absolute.
func (f *file) find(name string) (*file, error) {
	for word := range strings.SplitSeq(strings.Trim(path.Clean("/"+name), "/"), "/") {
		if word == "" {
			continue
		}
		i := slices.IndexFunc(f.entries, func(e *file) bool { return e.name == word })
		if i < 0 {
			return nil, fs.ErrNotExist
		}
		f = f.entries[i]
	}
	return f, nil
}
