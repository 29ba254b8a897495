package image_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"weir/appliance/image"
)

// TestKernelPackages: the pinned kernel's package, given as a file, makes the same image, byte by byte.
func TestKernelPackages(t *testing.T) {
	o := image.Options{Format: "raw", Flavour: "cloud", Binary: buildStandin(t), Version: "test", SignKey: newKey(t), Cache: t.TempDir()}
	if cache, err := os.UserCacheDir(); err == nil {
		o.Cache = filepath.Join(cache, "weir")
	}
	var built [2][]byte
	for i := range built {
		o.Upgrade = filepath.Join(t.TempDir(), "weir.efi")
		m := build(t, o)
		var err error
		if built[i], err = os.ReadFile(o.Upgrade); err != nil {
			t.Fatal(err)
		}
		o.Kernel = []string{filepath.Join(o.Cache, m.Parts[0].Name+"_"+m.Parts[0].Version+".deb")}
	}
	if !bytes.Equal(built[0], built[1]) {
		t.Errorf("%d bytes and %d, which differ", len(built[0]), len(built[1]))
	}
}

// TestKernelPackagesRefused: what holds no kernel that an image starts with is refused, by name where it is no package.
func TestKernelPackagesRefused(t *testing.T) {
	needTools(t)
	standin := buildStandin(t)
	text := filepath.Join(t.TempDir(), "text.deb")
	if err := os.WriteFile(text, []byte("no package"), 0o644); err != nil {
		t.Fatal(err)
	}
	kernel := map[string]string{"boot/vmlinuz-1": "", "lib/modules/1/kernel/no.ko": ""}
	for says, file := range map[string]string{
		text:                  text,
		"open /absent.deb":    "/absent.deb",
		"not one for amd64":   pack(t, "arm64", kernel),
		"the packages have 0": pack(t, "amd64", nil),
		"linux-base-1":        pack(t, "amd64", kernel),
		"kernel 1: it has no ext4, vfat": pack(t, "amd64", map[string]string{
			"boot/vmlinuz-1": "", "lib/modules/1/kernel/no.ko": "", "lib/modules/1/modules.builtin": "kernel/drivers/net/tun.ko\n",
		}),
	} {
		disk := filepath.Join(t.TempDir(), "weir.img")
		_, err := image.Build(image.Options{Disk: disk, Format: "raw", Flavour: "cloud", Binary: standin, Version: "test", Kernel: []string{file}})
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v, expected %q", err, says)
		}
		if _, err := os.Stat(disk); !os.IsNotExist(err) {
			t.Errorf("%q, and yet a disk: %v", says, err)
		}
	}
}

// pack makes a package.
func pack(t *testing.T, architecture string, files map[string]string) (deb string) {
	t.Helper()
	tree := filepath.Join(t.TempDir(), "tree")
	write := func(name, data string) {
		file := filepath.Join(tree, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("DEBIAN/control", "Package: linux-image-1\nVersion: 1-1\nMaintainer: nobody\nDescription: none\nArchitecture: "+architecture+"\n")
	for name, data := range files {
		write(name, data)
	}
	if out, err := exec.Command("dpkg-deb", "-b", tree, tree+".deb").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return tree + ".deb"
}
