package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestHostileFiles: whatever a file is, the program ends soon with a clear error, exit status 1, and little memory.
func TestHostileFiles(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, size int64) {
		path := filepath.Join(dir, name)
		err := os.WriteFile(path, []byte(text), 0o600)
		if err == nil && size > 0 {
			err = os.Truncate(path, size) // sparse: NULs to its end
		}
		need(t, err)
	}
	need(t, errors.Join(unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600), os.Mkdir(filepath.Join(dir, "directory"), 0o700)))
	const packet = `{"iif":"em0","src":"10.0.0.1","dst":"10.0.0.2"}`
	write("line.yaml", "version: 1\n# ", 1<<30)
	write("large.yaml", "version: 1\n"+strings.Repeat("# comment\n", 1<<20), 0)
	write("nul.yaml", "version: 1\nports: {em0: {}}\n\x00", 0)
	write("latin1.yaml", "version: 1\r\n# caf\xe9\r\n", 0)
	write("laughs.yaml", "a: &a [lol, lol]\nb: &b [*a, *a]\nc: [*b, *b]\n", 0)
	write("deep.yaml", "version: 1\nsets: "+strings.Repeat("{a: ", 50<<10), 0)
	write("crlf.yaml", "\ufeffversion: 1\r\nports: {em0: {}}\r\n", 0)
	for _, name := range []string{"fifo", "directory", "/dev/zero", "line.routes", "crlf.routes"} {
		write("of-"+filepath.Base(name)+".yaml", "version: 1\ntables: {x: {id: 1, routes-file: "+name+"}}\n", 0)
	}
	write("line.routes", "blackhole 10.0.0.0/8 # ", 1<<30)
	write("crlf.routes", "\ufeffblackhole 10.0.0.0/8\r\nblackhole 10.0.0.0/8\r\n", 0)
	write("line.json", packet+"\n", 1<<30)
	write("nul.json", packet+"\n\n\x00\n", 0)
	write("latin1.json", packet+"\r\n{\"iif\":\"caf\xe9\"}\r\n", 0)
	write("bom.json", "\ufeff"+packet+"\n", 0)
	write("deep.json", strings.Repeat(`{"iif":`, 1000)+"\n", 0)
	const limit, at = "text is larger than 8388608 bytes; keep routes in a routes-file", "tables.x.routes-file: "
	for _, c := range []struct {
		args, want string
		answers    int
	}{
		{"check -c missing", "missing: open: no such file or directory", 0},
		{"check -c directory", "directory: open: not a regular file", 0},
		{"check -c fifo", "fifo: open: not a regular file", 0},
		{"check -c /dev/zero", "/dev/zero: open: not a regular file", 0},
		{"check -c line.yaml", "line.yaml:1:1: " + limit, 0},
		{"check -c large.yaml", "large.yaml:1:1: " + limit, 0},
		{"check -c nul.yaml", "nul.yaml:3:1: character U+0000 is not allowed", 0},
		{"check -c latin1.yaml", "latin1.yaml:2:6: byte 0xe9 is not UTF-8", 0},
		{"check -c laughs.yaml", "laughs.yaml:1:4: anchors and aliases (& and *) are not supported; quote the value if it is text", 0},
		{"check -c deep.yaml", "deep.yaml:2:131: nested deeper than 32 levels", 0},
		{"check -c of-fifo.yaml", "of-fifo.yaml:2:34: " + at + "fifo: open: not a regular file", 0},
		{"check -c of-directory.yaml", "of-directory.yaml:2:34: " + at + "directory: open: not a regular file", 0},
		{"check -c of-zero.yaml", "of-zero.yaml:2:34: " + at + "/dev/zero: open: not a regular file", 0},
		{"check -c of-line.routes.yaml", "line.routes:1:1: " + at + "line is longer than 65536 bytes; the rest of the file is not read", 0},
		{"check -c of-crlf.routes.yaml", "crlf.routes:2:11: " + at + "route 10.0.0.0/8 is given twice; the first is at line 1, column 1 (two routes to a prefix need different metrics or tos)", 0},
		{"check -c crlf.yaml", "", 0},
		{"explain -c crlf.yaml --packets missing", "weir: open missing: no such file or directory", 0},
		{"explain -c crlf.yaml --packets directory", "weir: directory: line 1: read: read directory: is a directory", 0},
		{"explain -c crlf.yaml --packets /dev/zero", "weir: /dev/zero: line 1: longer than 65536 bytes", 0},
		{"explain -c crlf.yaml --packets line.json", "weir: line.json: line 2: longer than 65536 bytes", 1},
		{"explain -c crlf.yaml --packets nul.json", `weir: nul.json: line 3: parse packet: column 1: '\x00' where { belongs`, 1},
		{"explain -c crlf.yaml --packets latin1.json", "weir: latin1.json: line 2: parse packet: not UTF-8", 1},
		{"explain -c crlf.yaml --packets bom.json", `weir: bom.json: line 1: parse packet: column 1: '\ufeff' where { belongs`, 0},
		{"explain -c crlf.yaml --packets deep.json", "weir: deep.json: line 1: parse packet: column 8: '{' where a string or a number from 0 up belongs", 0},
	} {
		command := exec.CommandContext(testContext(t), executable(t), strings.Fields(c.args)...)
		command.Dir, command.Env = dir, append(os.Environ(), asWeir+"=1")
		var out, complaint strings.Builder
		command.Stdout, command.Stderr = &out, &complaint
		err := command.Run()
		status := 0
		if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
			status = exit.ExitCode()
		}
		if want := min(len(c.want), 1); status != want || strings.TrimSuffix(complaint.String(), "\n") != c.want {
			t.Errorf("%s: status %d, expected %d; got\n%.500s\nexpected\n%s", c.args, status, want, complaint.String(), c.want)
		}
		if got := strings.Count(out.String(), "\n"); got != c.answers {
			t.Errorf("%s: %d answers, expected %d: %.200s", c.args, got, c.answers, out.String())
		}
		const kilobytes = 100 << 10
		if used := command.ProcessState.SysUsage().(*syscall.Rusage).Maxrss; used > kilobytes && !raceEnabled {
			t.Errorf("%s: %d KB of memory", c.args, used)
		}
	}
}
