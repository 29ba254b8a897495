package boot

import (
	"bytes"
	"crypto/ed25519"
	"debug/pe"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"weir/appliance/image/layout"
)

// ukiOf is the least that has what a unified kernel image has: sections .cmdline and .osrel.
func ukiOf(t *testing.T, placed layout.Placed) []byte {
	t.Helper()
	texts := []struct{ name, text string }{{".cmdline", "weir.boot=1 " + layout.TokenSlot + "A quiet"}, {".osrel", "NAME=weir\n" + layout.FirstGeneration + "\n"}}
	var b bytes.Buffer
	write := func(v any) {
		if err := binary.Write(&b, binary.LittleEndian, v); err != nil {
			t.Fatal(err)
		}
	}
	dos := make([]byte, 64)
	dos[0], dos[1], dos[60] = 'M', 'Z', 64
	write(dos)
	write([]byte("PE\x00\x00"))
	write(pe.FileHeader{Machine: pe.IMAGE_FILE_MACHINE_AMD64, NumberOfSections: uint16(len(texts))})
	at := b.Len() + len(texts)*40
	for _, s := range texts {
		h := pe.SectionHeader32{VirtualSize: uint32(len(s.text)), SizeOfRawData: uint32(len(s.text)), PointerToRawData: uint32(at)}
		copy(h.Name[:], s.name)
		write(h)
		at += len(s.text)
	}
	for _, s := range texts {
		write([]byte(s.text))
	}
	uki := b.Bytes()
	if err := layout.Place(uki, placed); err != nil {
		t.Fatal(err)
	}
	return uki
}

// esp is a directory of slots, with a file for each name: its generation is that in the map.
func esp(t *testing.T, running layout.Slot, files map[string]int) slots {
	t.Helper()
	s := slots{t.TempDir(), running}
	for name, generation := range files {
		f, ok := layout.ParseSlotFile(name)
		if !ok {
			t.Fatalf("%s is no slot", name)
		}
		if err := os.WriteFile(filepath.Join(s.dir, name), ukiOf(t, layout.Placed{Slot: f.Slot, Generation: generation}), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func (s slots) names(t *testing.T) (names []string) {
	t.Helper()
	list, err := os.ReadDir(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}

func expectNames(t *testing.T, s slots, want ...string) {
	t.Helper()
	if got := s.names(t); !slices.Equal(got, want) {
		t.Errorf("slots %v, expected %v", got, want)
	}
}

func TestSlotsInOrder(t *testing.T) {
	for _, c := range []struct {
		files map[string]int
		want  string
	}{
		{map[string]int{"weir-A.efi": 1, "weir-B+3.efi": 2}, "B A"},
		{map[string]int{"weir-A.efi": 1, "weir-B+1-2.efi": 2}, "B A"},
		{map[string]int{"weir-A.efi": 1, "weir-B+0-3.efi": 2}, "A B"},
		{map[string]int{"weir-A.efi": 3, "weir-B.efi": 2}, "A B"},
		{map[string]int{"weir-A+0-1.efi": 3, "weir-B.efi": 2}, "B A"},
	} {
		images, err := esp(t, "A", c.files).list()
		if err != nil {
			t.Fatal(err)
		}
		var order []string
		for _, i := range images {
			order = append(order, string(i.Slot))
			if i.Running != (i.Slot == "A") || i.Generation != c.files[i.Name()] {
				t.Errorf("%+v", i)
			}
		}
		if got := strings.Join(order, " "); got != c.want {
			t.Errorf("%v: %s, expected %s", c.files, got, c.want)
		}
	}
}

func TestBlessAndGiveUp(t *testing.T) {
	s := esp(t, "B", map[string]int{"weir-A.efi": 1, "weir-B+2-1.efi": 2})
	own, err := s.own()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.bless(own); err != nil {
		t.Fatal(err)
	}
	expectNames(t, s, "weir-A.efi", "weir-B.efi")
	if own, err = s.own(); err != nil || !own.Blessed {
		t.Fatalf("%+v, %v", own, err)
	}
	if other, err := s.rollback(); err != nil || other.Slot != "A" {
		t.Fatalf("%+v, %v", other, err)
	}
	expectNames(t, s, "weir-A.efi", "weir-B+0-1.efi")
	s.running = "A"
	if _, err := s.rollback(); err == nil {
		t.Error("went back to what was given up")
	}
	expectNames(t, s, "weir-A.efi", "weir-B+0-1.efi")
}

func TestInstall(t *testing.T) {
	s := esp(t, "A", map[string]int{"weir-A.efi": 5, "weir-B+0-3.efi": 6})
	if err := os.WriteFile(filepath.Join(s.dir, temporaryImage), []byte("of a power cut"), 0o600); err != nil {
		t.Fatal(err)
	}
	image, err := s.install(ukiOf(t, layout.Placed{Slot: "A", Generation: 1}))
	if err != nil {
		t.Fatal(err)
	}
	expectNames(t, s, "weir-A.efi", "weir-B+3.efi")
	if placed, err := readPlace(filepath.Join(s.dir, "weir-B+3.efi")); err != nil || placed != (layout.Placed{Slot: "B", Generation: 7}) || image.Generation != 7 {
		t.Errorf("%+v, %v, %+v", placed, err, image)
	}
	images, err := s.list()
	if err != nil || images[0].Slot != "B" {
		t.Errorf("what boots next: %+v, %v", images, err)
	}

	// What runs has to have shown that it works: else there might be nothing that does.
	s = esp(t, "A", map[string]int{"weir-A+2-1.efi": 5, "weir-B.efi": 4})
	if _, err := s.install(ukiOf(t, layout.Placed{Slot: "A", Generation: 1})); err == nil {
		t.Error("the only image that works was replaced")
	}
	expectNames(t, s, "weir-A+2-1.efi", "weir-B.efi")
	s = esp(t, "A", map[string]int{"weir-A.efi": 5, "weir-B.efi": 4})
	if _, err := s.install([]byte("no image")); err == nil {
		t.Error("something that is no image was installed")
	}
	expectNames(t, s, "weir-A.efi", "weir-B.efi")
}

// TestUpgradeFile: an upgrade is taken whole, as it was signed, or not at all.
func TestUpgradeFile(t *testing.T) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	uki := ukiOf(t, layout.Placed{Slot: "A", Generation: 1})
	good, err := layout.SealUpgrade(uki, private)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := openUpgrade(bytes.NewReader(good), public); err != nil || !bytes.Equal(got, uki) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 1
		if _, err := openUpgrade(bytes.NewReader(bad), public); err == nil {
			t.Errorf("byte %d was changed, and nobody saw it", i)
		}
		if _, err := openUpgrade(bytes.NewReader(good[:i]), public); err == nil {
			t.Errorf("it ended after %d bytes, and nobody saw it", i)
		}
	}
	if _, err := openUpgrade(bytes.NewReader(append(bytes.Clone(good), 0)), public); err == nil {
		t.Error("something follows it, and nobody saw it")
	}
	other, _, _ := ed25519.GenerateKey(nil)
	if _, err := openUpgrade(bytes.NewReader(good), other); !errors.Is(err, layout.ErrUpgradeSignature) {
		t.Errorf("with another key: %v", err)
	}
	if _, err := openUpgrade(bytes.NewReader(good), nil); !errors.Is(err, layout.ErrNoUpgradeKey) {
		t.Errorf("without a key: %v", err)
	}
	if _, err := openUpgrade(io.MultiReader(bytes.NewReader(good), &failing{}), public); !errors.Is(err, errBroken) {
		t.Errorf("from a connection that breaks: %v", err)
	}
}

var errBroken = errors.New("broken")

type failing struct{}

func (*failing) Read([]byte) (int, error) { return 0, errBroken }

// TestSettle: what became of an upgrade is told by whichever image runs after it.
func TestSettle(t *testing.T) {
	dir := t.TempDir()
	if _, ok, err := settleUpgrade(dir, "A", nil); ok || err != nil {
		t.Errorf("without an upgrade: %v", err)
	}
	tried := Upgrade{Slot: "B", Generation: 2, Outcome: Tried}
	settle := func(u Upgrade, running layout.Slot, files map[string]int) Upgrade {
		t.Helper()
		if err := writeUpgrade(dir, u); err != nil {
			t.Fatal(err)
		}
		images, err := esp(t, running, files).list()
		if err != nil {
			t.Fatal(err)
		}
		got, ok, err := settleUpgrade(dir, running, images)
		if kept, _ := readUpgrade(dir); !ok || err != nil || kept.Outcome != got.Outcome || kept.Reason != got.Reason {
			t.Errorf("%+v, %v, %v; kept %+v", got, ok, err, kept)
		}
		return got
	}
	if u := settle(tried, "B", map[string]int{"weir-A.efi": 1, "weir-B+2-1.efi": 2}); u.Outcome != Tried {
		t.Errorf("%+v", u)
	}
	if u := settle(tried, "A", map[string]int{"weir-A.efi": 1, "weir-B+0-3.efi": 2}); u.Outcome != Failed || !strings.HasSuffix(u.Reason, "tries: 3") {
		t.Errorf("%+v", u)
	}
	failed := Upgrade{Slot: "B", Generation: 2, Outcome: Failed, Reason: "it said why"}
	if u := settle(failed, "A", map[string]int{"weir-A.efi": 1, "weir-B+0-1.efi": 2}); u.Reason != failed.Reason {
		t.Errorf("%+v", u)
	}
}
