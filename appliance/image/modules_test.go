package image

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
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
			files, err := m.closure(fl.modules)
			if err != nil {
				t.Fatal(err)
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
			if _, err := m.closure([]string{"no_such_module"}); err == nil {
				t.Error("a module that does not exist: no error")
			}
			t.Logf("%d modules", len(files))
		})
	}
}
