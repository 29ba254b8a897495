package ssh

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"time"

	"github.com/pkg/sftp"

	"weir/mgmt"
)

// sftp serves files until the client leaves. It leaves the channel open, for the exit status.
func (s *session) sftp() (status int) {
	h := &transfers{s}
	server := sftp.NewRequestServer(struct {
		io.Reader
		io.Writer
		io.Closer
	}{touching{s}, s.out, io.NopCloser(nil)}, sftp.Handlers{FileGet: h, FilePut: h, FileCmd: h, FileList: h})
	s.run("sftp", func(ctx context.Context) {
		defer context.AfterFunc(ctx, func() { s.channel.Close() })()
		if err := server.Serve(); err != nil && !errors.Is(err, io.EOF) {
			status = mgmt.StatusRefused
		}
	})
	return status
}

// touching is what the client sends; while he does, he is not idle.
type touching struct{ s *session }

func (t touching) Read(p []byte) (int, error) {
	n, err := t.s.channel.Read(p)
	t.s.c.touch()
	return n, err
}

// transfers carries out a client's requests for files.
type transfers struct{ s *session }

// allowed is an error unless the user has the role, now.
func (t *transfers) allowed(least mgmt.Role) error {
	if t.s.c.role() < least {
		return sftp.ErrSSHFxPermissionDenied
	}
	return nil
}

// told writes a request to the audit log.
func (t *transfers) told(r *sftp.Request, start time.Time, err error) error {
	status := mgmt.StatusOK
	if err != nil {
		status = mgmt.StatusRefused
	}
	t.s.log("sftp", r.Method+" "+r.Filepath, status, time.Since(start))
	return err
}

func (t *transfers) find(name string) (*file, error) {
	if err := t.allowed(mgmt.ReadOnly); err != nil {
		return nil, err
	}
	return t.s.c.server.files(t.s.c.serving.engine, t.s.c.user).find(name)
}

// Fileread opens a file.
func (t *transfers) Fileread(r *sftp.Request) (io.ReaderAt, error) {
	start := time.Now()
	f, err := t.find(r.Filepath)
	if err == nil && f.IsDir() {
		err = errors.New("is a directory")
	}
	var content []byte
	if err == nil {
		content, err = f.read()
	}
	if t.told(r, start, err) != nil {
		return nil, err
	}
	return bytes.NewReader(content), nil
}

// Filewrite opens the candidate, the one file that can be written.
func (t *transfers) Filewrite(r *sftp.Request) (io.WriterAt, error) {
	start := time.Now()
	err := t.allowed(mgmt.Admin)
	if err == nil && r.Filepath != candidatePath {
		err = sftp.ErrSSHFxPermissionDenied
	}
	var w *candidateWriter
	if err == nil {
		w, err = t.s.c.server.candidates.write(t.s.c.user)
	}
	if t.told(r, start, err) != nil {
		return nil, err
	}
	return w, nil
}

// Filecmd removes the candidate. Modes and times are not kept, and to set them is no error: clients do so after they have written.
func (t *transfers) Filecmd(r *sftp.Request) error {
	start := time.Now()
	err := t.allowed(mgmt.Admin)
	switch {
	case err != nil:
	case r.Method == "Setstat" && r.Filepath == candidatePath:
		return nil
	case r.Method == "Remove" && r.Filepath == candidatePath:
		if !t.s.c.server.candidates.discard(t.s.c.user) {
			err = fs.ErrNotExist
		}
	default:
		err = sftp.ErrSSHFxPermissionDenied
	}
	return t.told(r, start, err)
}

// Filelist lists a directory, or says what a file is.
func (t *transfers) Filelist(r *sftp.Request) (sftp.ListerAt, error) {
	f, err := t.find(r.Filepath)
	switch {
	case err != nil:
		return nil, err
	case r.Method == "List" && f.IsDir():
		return listing(f.entries), nil
	case r.Method == "Stat":
		return listing{f}, nil
	}
	return nil, sftp.ErrSSHFxOpUnsupported
}

type listing []*file

// ListAt copies entries from an offset on.
func (l listing) ListAt(to []fs.FileInfo, offset int64) (n int, err error) {
	for n < len(to) && offset+int64(n) < int64(len(l)) {
		to[n] = l[offset+int64(n)]
		n++
	}
	if n < len(to) {
		err = io.EOF
	}
	return n, err
}
