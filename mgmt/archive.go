package mgmt

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"weir/mgmt/document"
)

// archiveMax bounds the routes-files of an archive together, in bytes.
const archiveMax = 1 << 30

// ErrNoInput says that there was nothing where a configuration was expected.
var ErrNoInput = errors.New("no configuration on standard input")

// ReadChange reads a configuration: its text, or a tar archive of it and its routes-files, either of them possibly compressed
// by gzip. In an archive the text is weir.yaml, or else its only *.yaml; the names of the others are those that the text gives
// them. Routes-files go to a temporary directory, so Close the change.
func ReadChange(r io.Reader) (c Change, err error) {
	input := peekable(r)
	magic, err := input.Peek(2)
	if err == nil && magic[0] == 0x1f && magic[1] == 0x8b {
		z, err := gzip.NewReader(input)
		if err != nil {
			return c, fmt.Errorf("read configuration: %w", err)
		}
		input = bufio.NewReaderSize(z, peekSize)
	}
	begin, err := input.Peek(tarMagicAt + len(tarMagic))
	switch {
	case len(begin) == 0 && errors.Is(err, io.EOF):
		return c, ErrNoInput
	case err != nil && !errors.Is(err, io.EOF):
		return c, fmt.Errorf("read configuration: %w", err)
	case len(begin) == tarMagicAt+len(tarMagic) && string(begin[tarMagicAt:]) == tarMagic:
		if err := c.unpack(input); err != nil {
			return Change{}, errors.Join(fmt.Errorf("read archive: %w", err), c.Close())
		}
		return c, nil
	}
	c.Text, err = readText(input)
	return c, err
}

// zeroEnd counts the zeros that what was read ends with: an archive ends with two blocks of them.
type zeroEnd struct {
	r     io.Reader
	zeros int
}

const tarEnd = 1024

func (z *zeroEnd) Read(p []byte) (int, error) {
	n, err := z.r.Read(p)
	if rest := len(bytes.TrimRight(p[:n], "\x00")); rest > 0 {
		z.zeros = n - rest
	} else {
		z.zeros += n
	}
	return n, err
}

const (
	tarMagic   = "ustar" // of POSIX and GNU
	tarMagicAt = 257
	peekSize   = 4096
)

func peekable(r io.Reader) *bufio.Reader { return bufio.NewReaderSize(r, peekSize) }

func readText(r io.Reader) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, document.TextMax+1)) // one more, for Parse to see that it is too long
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	return text, nil
}

// unpack takes an archive apart.
func (c *Change) unpack(r io.Reader) error {
	var err error
	c.Files = map[string]string{}
	if c.temporary, err = os.MkdirTemp("", "weir-commit-"); err != nil {
		return err
	}
	end := &zeroEnd{r: r}
	archive := tar.NewReader(end)
	room := int64(archiveMax)
	texts := map[string][]byte{}
	for files := 0; ; files++ {
		header, err := archive.Next()
		if err == io.EOF && end.zeros < tarEnd { // one that was cut off, which package tar takes
			return io.ErrUnexpectedEOF
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		name := filepath.Clean(header.Name)
		switch {
		case header.Typeflag == tar.TypeDir || header.Typeflag == tar.TypeXGlobalHeader:
			continue
		case header.Typeflag != tar.TypeReg:
			return fmt.Errorf("%s: %w", clip(header.Name), errNotRegular)
		case !filepath.IsLocal(name):
			return fmt.Errorf("%s: not below the directory of the configuration", clip(header.Name))
		case files >= filesMax:
			return fmt.Errorf("more than %d files", filesMax)
		}
		if strings.HasSuffix(name, ".yaml") || strings.HasSuffix(name, ".yml") {
			if len(texts) > 1 {
				return errors.New("several *.yaml")
			}
			text, err := readText(archive)
			if err != nil {
				return fmt.Errorf("%s: %w", clip(name), err)
			}
			texts[name] = text
			continue
		}
		if c.Files[name] != "" {
			return fmt.Errorf("%s: it is there twice", clip(name))
		}
		to := filepath.Join(c.temporary, strconv.Itoa(files))
		size, err := unpackFile(io.LimitReader(archive, room+1), to)
		if err == nil && size > room {
			err = errTooLarge
		}
		if err != nil {
			return fmt.Errorf("%s: %w", clip(name), err)
		}
		room -= size
		c.Files[name] = to
	}
	text, ok := texts["weir.yaml"]
	for _, only := range texts {
		if len(texts) == 1 {
			text, ok = only, true
		}
	}
	if !ok {
		return errors.New("it has no weir.yaml, and not one *.yaml alone")
	}
	c.Text = text
	return nil
}

func unpackFile(r io.Reader, to string) (size int64, err error) {
	f, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return 0, err
	}
	size, err = io.Copy(f, r)
	return size, errors.Join(err, f.Close())
}
