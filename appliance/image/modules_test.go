package image

import (
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

func TestParseModinfo(t *testing.T) {
	d := parseModinfo("license=GPL\x00depends=virtio_ring,net-failover\x00softdep=pre: crc32c libfoo post: bar-baz\x00softdep=post: more\x00depends=\x00")
	if !slices.Equal(d.hard, []string{"net_failover", "virtio_ring"}) || !slices.Equal(d.pre, []string{"crc32c", "libfoo"}) || !slices.Equal(d.post, []string{"bar_baz", "more"}) {
		t.Errorf("%+v", d)
	}
}

// TestClosure takes the modules of the pinned kernels: each comes once, behind all that it depends on.
func TestClosure(t *testing.T) {
	if _, err := exec.LookPath("dpkg-deb"); err != nil && os.Getenv("CI") != "true" {
		t.Skip("dpkg is not installed: there are no modules to look at")
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	for _, fl := range flavours {
		t.Run(fl.name, func(t *testing.T) {
			d, err := pinned(fl.name)
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			if err := d.unpack(filepath.Join(cache, "weir"), dir); err != nil {
				t.Fatal(err)
			}
			found, err := filepath.Glob(filepath.Join(dir, "lib/modules/*"))
			if err != nil || len(found) != 1 {
				t.Fatalf("modules of %v, %v", found, err)
			}
			m, err := readModules(found[0])
			if err != nil {
				t.Fatal(err)
			}
			files, without, err := m.closure(fl.modules)
			if err != nil || len(without) > 0 {
				t.Fatalf("without %v, %v", without, err)
			}
			loaded := make(map[string]bool)
			for _, file := range files {
				deps, err := readDependencies(file)
				if err != nil {
					t.Fatal(err)
				}
				for _, before := range deps.hard {
					if !loaded[before] && !m.builtin[before] {
						t.Errorf("%s comes before %s, which it needs", filepath.Base(file), before)
					}
				}
				if name := moduleName(file); loaded[name] {
					t.Errorf("%s comes twice", name)
				} else {
					loaded[name] = true
				}
			}
			for _, name := range fl.modules {
				if !loaded[name] && !m.builtin[name] {
					t.Errorf("%s is asked for and does not come", name)
				}
			}
			if files, without, err := m.closure([]string{"no_such_module"}); err != nil || len(files) > 0 || !slices.Equal(without, []string{"no_such_module"}) {
				t.Errorf("a module that does not exist: %v, without %v, %v", files, without, err)
			}
			t.Logf("%d modules", len(files))
		})
	}
}

// TestCompressedModules takes one module as it is and in every compression that Linux knows: it is the same one.
func TestCompressedModules(t *testing.T) {
	plain := bytes.Repeat([]byte("module "), 10_000)
	var gz, xzs, zst bytes.Buffer
	z := gzip.NewWriter(&gz)
	x, err := xz.NewWriter(&xzs)
	if err != nil {
		t.Fatal(err)
	}
	s, err := zstd.NewWriter(&zst)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range []io.WriteCloser{z, x, s} {
		if _, err := w.Write(plain); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	read := func(name string, data []byte) ([]byte, error) {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, data, 0o644); err != nil {
			t.Fatal(err)
		}
		if got := moduleName(file); got != "net_failover" {
			t.Errorf("%s is module %s", name, got)
		}
		return readModule(file)
	}
	for name, data := range map[string][]byte{"net-failover.ko": plain, "net-failover.ko.gz": gz.Bytes(), "net_failover.ko.xz": xzs.Bytes(), "net-failover.ko.zst": zst.Bytes()} {
		if got, err := read(name, data); err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
		if name == "net-failover.ko" {
			continue
		}
		if _, err := read(name, data[:len(data)/2]); err == nil {
			t.Errorf("half of %s is taken", name)
		}
	}
	if _, err := read("net-failover.ko.lz4", plain); err == nil {
		t.Error("a compression that Linux does not know is taken")
	}
}

// TestFindKernel looks where Debian has kernels, old and new, and says what is missing.
func TestFindKernel(t *testing.T) {
	for _, c := range []struct {
		files   []string
		release string // "": an error, which
		says    string
	}{
		{[]string{"boot/vmlinuz-6.1.0-1", "lib/modules/6.1.0-1/kernel/a.ko"}, "6.1.0-1", ""},
		{[]string{"usr/lib/modules/7.3.4/vmlinuz", "usr/lib/modules/7.3.4/kernel/a.ko.xz"}, "7.3.4", ""},
		{nil, "", "the packages have 0"},
		{[]string{"boot/vmlinuz-6.1.0-1", "usr/lib/modules/7.3.4/vmlinuz"}, "", "the packages have 2"},
		{[]string{"usr/lib/modules/7.3.4/vmlinuz"}, "", "linux-modules-7.3.4"},
	} {
		dir := t.TempDir()
		for _, name := range c.files {
			file := filepath.Join(dir, name)
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		k, err := findKernel(dir)
		switch {
		case c.release == "":
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v: %+v, %v", c.files, k, err)
			}
		case err != nil || k.release != c.release || k.file != filepath.Join(dir, c.files[0]) || !strings.HasSuffix(k.modules, "/lib/modules/"+c.release):
			t.Errorf("%v: %+v, %v", c.files, k, err)
		}
	}
}
