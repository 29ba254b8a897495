package image

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
)

// unarchive is the format's other half, as its description has it.
func unarchive(t *testing.T, b []byte) (names []string, entries map[string]entry) {
	t.Helper()
	entries = make(map[string]entry)
	for at := 0; ; {
		var f [13]uint32
		if string(b[at:at+6]) != "070701" {
			t.Fatalf("at %d: no entry", at)
		}
		for i := range f {
			if _, err := fmt.Sscanf(string(b[at+6+8*i:at+14+8*i]), "%08x", &f[i]); err != nil {
				t.Fatal(err)
			}
		}
		name := string(b[at+110 : at+110+int(f[11])-1])
		data := (at + 110 + int(f[11]) + 3) &^ 3
		at = (data + int(f[6]) + 3) &^ 3
		if name == "TRAILER!!!" {
			if at != len(b) {
				t.Errorf("%d bytes behind the trailer", len(b)-at)
			}
			return names, entries
		}
		names = append(names, name)
		entries[name] = entry{name: name, mode: f[1], rdev: [2]uint32{f[9], f[10]}, data: b[data : data+int(f[6])]}
		if uid, gid, mtime := f[2], f[3], f[5]; uid != 0 || gid != 0 || mtime != 0 {
			t.Errorf("%s is of %d:%d at %d", name, uid, gid, mtime)
		}
	}
}

func TestArchive(t *testing.T) {
	in := []entry{
		{name: "init", mode: typeRegular | 0o755, data: []byte("binary")},
		{name: "dev/console", mode: typeCharacter | 0o600, rdev: [2]uint32{5, 1}},
		{name: "a/b/c", mode: typeRegular | 0o644, data: []byte("x")},
		{name: "run", mode: typeDirectory | 0o755},
	}
	out, err := archive(in)
	if err != nil {
		t.Fatal(err)
	}
	names, got := unarchive(t, out)
	if want := []string{"a", "a/b", "a/b/c", "dev", "dev/console", "init", "run"}; !slices.Equal(names, want) {
		t.Errorf("%v, expected %v", names, want)
	}
	for _, want := range in {
		if e := got[want.name]; e.mode != want.mode || e.rdev != want.rdev || !bytes.Equal(e.data, want.data) {
			t.Errorf("%s: %+v, expected %+v", want.name, e, want)
		}
	}
	if got["a"].mode != typeDirectory|0o755 {
		t.Errorf("a directory that is implied: %+v", got["a"])
	}
	slices.Reverse(in)
	if again, err := archive(in); err != nil || !bytes.Equal(out, again) {
		t.Errorf("in another order: %v, the same: %t", err, bytes.Equal(out, again))
	}
	for _, bad := range [][]entry{{{name: "/init"}}, {{name: "../x"}}, {{name: "x"}, {name: "x"}}} {
		if _, err := archive(bad); err == nil {
			t.Errorf("%+v: no error", bad)
		}
	}
}
