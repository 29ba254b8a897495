package layout

import (
	"testing"

	"pgregory.net/rapid"
)

func TestSlotFileNames(t *testing.T) {
	for name, want := range map[string]SlotFile{
		"weir-A.efi":     {Slot: SlotA},
		"weir-B+3.efi":   {Slot: SlotB, Counting: true, Left: 3},
		"weir-B+0-3.efi": {Slot: SlotB, Counting: true, Done: 3},
		"weir-A+2-1.efi": {Slot: SlotA, Counting: true, Left: 2, Done: 1},
		"WEIR-A+2-1.EFI": {Slot: SlotA, Counting: true, Left: 2, Done: 1}, // FAT does not care
	} {
		if got, ok := ParseSlotFile(name); !ok || got != want {
			t.Errorf("%s: %+v %t, expected %+v", name, got, ok, want)
		}
	}
	for _, name := range []string{"", "weir-C.efi", "weir-A+.efi", "weir-A+1-.efi", "weir-A.efi.part", "xweir-A.efi", "weir-A+9999999999.efi", "weir-A+-1.efi"} {
		if got, ok := ParseSlotFile(name); ok {
			t.Errorf("%q is a slot: %+v", name, got)
		}
	}
}

func TestSlotFileNameRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := SlotFile{Slot: rapid.SampledFrom([]Slot{SlotA, SlotB}).Draw(t, "slot"), Counting: rapid.Bool().Draw(t, "counting")}
		if f.Counting {
			f.Left, f.Done = rapid.IntRange(0, 999_999_999).Draw(t, "left"), rapid.IntRange(0, 999_999_999).Draw(t, "done")
		}
		if got, ok := ParseSlotFile(f.Name()); !ok || got != f {
			t.Fatalf("%s: %+v %t, expected %+v", f.Name(), got, ok, f)
		}
		if f.Slot.Other() == f.Slot || f.Slot.Other().Other() != f.Slot {
			t.Fatalf("the other slot of %s is %s", f.Slot, f.Slot.Other())
		}
	})
}
