package image_test

import (
	"bytes"
	"crypto/ed25519"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"weir/appliance/image"
	"weir/appliance/image/layout"
)

// TestBuildIsReproducible builds twice, at other times and in other places, and compares every byte of every file.
func TestBuildIsReproducible(t *testing.T) {
	standin := buildStandin(t)
	for _, format := range []string{"raw", "qcow2"} {
		t.Run(format, func(t *testing.T) {
			key := newKey(t)
			var built [2]string
			for i := range built {
				built[i] = t.TempDir()
				t.Setenv("TZ", []string{"UTC", "Asia/Tokyo"}[i])
				o := image.Options{
					Disk: filepath.Join(built[i], "weir.img"), Format: format, Upgrade: filepath.Join(built[i], "weir.efi"), Flavour: "cloud",
					Binary: standin, Version: "test", SignKey: key, Keys: []byte("ssh-ed25519 AAAA\n"),
					Config: []image.File{{Name: layout.ConfigFile, Data: []byte("version: 1\n")}, {Name: "x.routes", Data: bytes.Repeat([]byte("10.0.0.0/8 via 192.0.2.1\n"), 5000)}},
				}
				build(t, o)
			}
			files, err := os.ReadDir(built[0])
			if err != nil || len(files) != 4 {
				t.Fatalf("%v, %v", files, err)
			}
			for _, f := range files {
				if out, err := exec.Command("cmp", filepath.Join(built[0], f.Name()), filepath.Join(built[1], f.Name())).CombinedOutput(); err != nil {
					t.Errorf("%v: %s", err, out)
				}
			}
			verify(t, filepath.Join(built[0], "weir.img"+image.ManifestSuffix), key)
		})
	}
}

// verify checks a manifest, and that it does not hold for another key, for another manifest, or for a file that has changed.
func verify(t *testing.T, manifest string, key ed25519.PrivateKey) {
	t.Helper()
	public := key.Public().(ed25519.PublicKey)
	if m, err := image.Verify(manifest, public); err != nil || len(m.Files) != 2 {
		t.Errorf("%+v, %v", m, err)
	}
	if _, err := image.Verify(manifest, newKey(t).Public().(ed25519.PublicKey)); err == nil {
		t.Error("another key's manifest is taken")
	}
	upgrade := filepath.Join(filepath.Dir(manifest), "weir.efi")
	file, err := os.ReadFile(upgrade)
	if err != nil {
		t.Fatal(err)
	}
	if uki, err := layout.OpenUpgrade(file, public); err != nil {
		t.Error(err)
	} else if p, err := layout.ReadPlace(bytes.NewReader(uki)); err != nil || p != (layout.Placed{Slot: layout.SlotA, Generation: 1}) {
		t.Errorf("the upgrade is for %+v, %v", p, err)
	}
	for name, change := range map[string]int64{upgrade: 1000, manifest: 3} {
		flip(t, name, change)
		if _, err := image.Verify(manifest, public); err == nil {
			t.Errorf("%s has changed, and is taken", filepath.Base(name))
		}
		flip(t, name, change)
	}
}

// flip changes one bit of a file, or changes it back.
func flip(t *testing.T, name string, at int64) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b [1]byte
	if _, err := f.ReadAt(b[:], at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1
	if _, err := f.WriteAt(b[:], at); err != nil {
		t.Fatal(err)
	}
}

// newKey makes a key by way of the files that keys are kept in.
func newKey(t *testing.T) ed25519.PrivateKey {
	t.Helper()
	file := filepath.Join(t.TempDir(), "key")
	if err := image.NewKey(file); err != nil {
		t.Fatal(err)
	}
	if err := image.NewKey(file); err == nil {
		t.Error("a key is overwritten")
	}
	key, err := image.ReadKey(file)
	if err != nil {
		t.Fatal(err)
	}
	public, err := image.ReadPublicKey(file + ".pub")
	if err != nil || !public.Equal(key.Public()) {
		t.Fatalf("the public half is another one, %v", err)
	}
	if _, err := image.ReadKey(file + ".pub"); err == nil {
		t.Error("the public half is taken for the key")
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key's file: %v, %v", info.Mode(), err)
	}
	return key
}

// TestBuildRefuses has what is wrong said before anything is fetched or written.
func TestBuildRefuses(t *testing.T) {
	disk := filepath.Join(t.TempDir(), "weir.img")
	for want, o := range map[string]image.Options{
		"neither a disk nor an upgrade":  {Format: "raw", Flavour: "cloud"},
		"needs a key":                    {Format: "raw", Flavour: "cloud", Upgrade: disk},
		`"vmdk" is no format`:            {Format: "vmdk", Flavour: "cloud", Disk: disk},
		`"tiny" is no flavour`:           {Format: "raw", Flavour: "tiny", Disk: disk},
		`no file "../x"`:                 {Format: "raw", Flavour: "cloud", Disk: disk, Config: []image.File{{Name: "../x"}}},
		`no file "a b"`:                  {Format: "raw", Flavour: "cloud", Disk: disk, Config: []image.File{{Name: "a b"}}},
		"CPU 0 is for interrupts":        {Format: "raw", Flavour: "cloud", Disk: disk, WorkerCPUs: "0-3"},
		"is no version":                  {Format: "raw", Flavour: "cloud", Disk: disk, Version: "1\nID=x"},
		"read binary: open /nonexistent": {Format: "raw", Flavour: "cloud", Disk: disk, Binary: "/nonexistent"},
		"is not static":                  {Format: "raw", Flavour: "cloud", Disk: disk, Binary: "/bin/true"},
	} {
		if _, err := image.Build(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, expected %s", err, want)
		}
	}
	if left, err := os.ReadDir(filepath.Dir(disk)); err != nil || len(left) > 0 {
		t.Errorf("left over: %v, %v", left, err)
	}
}
