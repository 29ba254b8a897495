package image

import (
	"bytes"
	"crypto/sha256"
	_ "embed" // the lock file
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// lock pins the packages of Debian that an image is made of, one a line: what for, name, version, SHA-256.
//
//go:embed packages.lock
var lock string

// roleBoot is what systemd-boot is for; the other roles are flavours.
const roleBoot = "boot"

// debian is a package of Debian's.
type debian struct {
	name, version, sha256 string
	file                  string // where it is; "": in the cache, where apt puts it
}

// pinned returns the package for a role.
func pinned(role string) (debian, error) {
	for line := range strings.Lines(lock) {
		if f := strings.Fields(line); len(f) == 4 && f[0] == role {
			return debian{name: f[1], version: f[2], sha256: f[3]}, nil
		}
	}
	return debian{}, fmt.Errorf("no package is pinned for %s", role)
}

// packageFile is the package in a file that somebody has fetched.
func packageFile(name string) (debian, error) {
	sum, err := fileSHA256(name)
	if err != nil {
		return debian{}, fmt.Errorf("read package: %w", err)
	}
	fields, err := output("", nil, "dpkg-deb", "--show", "--showformat=${Package} ${Version} ${Architecture}", name)
	if err != nil {
		return debian{}, fmt.Errorf("read package: %w", err)
	}
	f := strings.Fields(fields)
	if len(f) != 3 || f[2] != "amd64" && f[2] != "all" {
		return debian{}, fmt.Errorf("read package: %s is %q, not one for amd64", name, fields)
	}
	path, err := filepath.Abs(name)
	return debian{f[0], f[1], sum, path}, err
}

// fetch returns the package's file. A pinned one is in the cache, where apt puts it if it is not there; whoever made the file, it has the
// pinned checksum.
func (d debian) fetch(cache string) (file string, err error) {
	if d.file != "" {
		return d.file, nil
	}
	file = filepath.Join(cache, fmt.Sprintf("%s_%s.deb", d.name, d.version))
	if sum, err := fileSHA256(file); err == nil && sum == d.sha256 {
		return file, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", fmt.Errorf("fetch %s: %w", d.name, err)
	}
	dir, err := os.MkdirTemp(cache, "fetch-")
	if err != nil {
		return "", fmt.Errorf("fetch %s: %w", d.name, err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := run(dir, nil, "apt-get", "-q", "-o", "APT::Sandbox::User=", "download", d.name+":amd64="+d.version); err != nil {
		return "", fmt.Errorf("fetch %s %s (`apt-get update` first; packages.lock pins it, and `make image-lock` pins what there is now): %w", d.name, d.version, err)
	}
	got, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil || len(got) != 1 {
		return "", fmt.Errorf("fetch %s: apt left %d packages", d.name, len(got))
	}
	sum, err := fileSHA256(got[0])
	if err != nil {
		return "", fmt.Errorf("fetch %s: %w", d.name, err)
	}
	if sum != d.sha256 {
		return "", fmt.Errorf("fetch %s %s: its SHA-256 is %s, and %s is pinned", d.name, d.version, sum, d.sha256)
	}
	return file, os.Rename(got[0], file)
}

// unpack fetches the package and extracts it below dir.
func (d debian) unpack(cache, dir string) error {
	file, err := d.fetch(cache)
	if err != nil {
		return err
	}
	if err := run(dir, nil, "dpkg-deb", "-x", file, dir); err != nil {
		return fmt.Errorf("extract %s: %w", d.name, err)
	}
	return nil
}

func fileSHA256(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func bytesSHA256(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// run executes a tool in a directory, with its messages in English, and returns what it said if it failed.
func run(dir string, env []string, name string, args ...string) error {
	_, err := output(dir, env, name, args...)
	return err
}

// output is run for a tool whose answer is of interest.
func output(dir string, env []string, name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.Env = append(append(os.Environ(), "LC_ALL=C", "TZ=UTC"), env...)
	out, err := cmd.CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		return "", fmt.Errorf("%s is not installed: `make setup-image` installs what building an image needs", name)
	}
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", name, err, bytes.TrimSpace(out))
	}
	return string(out), nil
}
