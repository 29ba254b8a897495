package image

import (
	"bytes"
	"debug/pe"
	"encoding/binary"
	"testing"

	"pgregory.net/rapid"

	"weir/appliance/image/layout"
)

// smallStub is the least that is a PE file for x86-64, with one section and room for the headers of more.
func smallStub() []byte {
	const headers, header = 0x400, 0x80
	b := make([]byte, headers+0x200)
	copy(b, "MZ")
	binary.LittleEndian.PutUint32(b[peOffset:], header)
	copy(b[header:], "PE\x00\x00")
	file := pe.FileHeader{Machine: pe.IMAGE_FILE_MACHINE_AMD64, NumberOfSections: 1, SizeOfOptionalHeader: 240}
	optional := pe.OptionalHeader64{Magic: 0x20b, SectionAlignment: 0x200, FileAlignment: 0x200, SizeOfHeaders: headers, NumberOfRvaAndSizes: 16}
	text := pe.SectionHeader32{Name: [8]uint8{'.', 't', 'e', 'x', 't'}, VirtualSize: 0x1f0, VirtualAddress: 0x4000, SizeOfRawData: 0x200, PointerToRawData: headers}
	var all bytes.Buffer
	for _, v := range []any{file, optional, text} {
		_ = binary.Write(&all, binary.LittleEndian, v) // into memory
	}
	copy(b[header+4:], all.Bytes())
	return b
}

// TestAppendSections reads back what was appended, and holds it to what firmware and systemd's stub want of it.
func TestAppendSections(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var add []section
		for _, name := range []string{".osrel", ".cmdline", ".uname", ".initrd", ".linux"} {
			add = append(add, section{name, rapid.SliceOfN(rapid.Byte(), 1, 5000).Draw(t, name)})
		}
		out, err := appendSections(smallStub(), add)
		if err != nil {
			t.Fatal(err)
		}
		f, err := pe.NewFile(bytes.NewReader(out))
		if err != nil {
			t.Fatal(err)
		}
		end := uint32(0)
		for i, s := range f.Sections {
			if s.VirtualAddress < end || s.Offset%0x200 != 0 || i > 0 && s.VirtualAddress%pageSize != 0 {
				t.Fatalf("section %s: %+v, and the one before ends at %#x", s.Name, s.SectionHeader, end)
			}
			end = s.VirtualAddress + s.VirtualSize
			if i == 0 {
				continue
			}
			data, err := s.Data()
			if err != nil || s.Name != add[i-1].name || s.VirtualSize != uint32(len(add[i-1].data)) || !bytes.Equal(data[:s.VirtualSize], add[i-1].data) {
				t.Fatalf("section %s, %v: not as it was appended as %s", s.Name, err, add[i-1].name)
			}
		}
		if size := f.OptionalHeader.(*pe.OptionalHeader64).SizeOfImage; size < end || size%pageSize != 0 {
			t.Fatalf("the size of the image is %#x, its last section ends at %#x", size, end)
		}
	})
}

func TestAppendSectionsRefuses(t *testing.T) {
	many := make([]section, 40)
	for _, c := range []struct {
		name string
		stub []byte
		add  []section
	}{{"no PE file", []byte("#!/bin/sh"), nil}, {"more sections than have room", smallStub(), many}} {
		if _, err := appendSections(c.stub, c.add); err == nil {
			t.Errorf("%s: no error", c.name)
		}
	}
}

// TestPlace writes every slot and generation that there is room for into an image, and nothing but that.
func TestPlace(t *testing.T) {
	p := parts{stub: smallStub(), kernel: []byte("kernel"), initrd: []byte("initrd")}
	p.commandLine, _ = Options{}.commandLine()
	before, err := p.uki(Options{Version: "1.2"})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := layout.ReadPlace(bytes.NewReader(before)); err != nil || got != (layout.Placed{Slot: layout.SlotA, Generation: 1}) {
		t.Fatalf("as built: %+v, %v", got, err)
	}
	rapid.Check(t, func(t *rapid.T) {
		want := layout.Placed{Slot: rapid.SampledFrom([]layout.Slot{layout.SlotA, layout.SlotB}).Draw(t, "slot"), Generation: rapid.IntRange(1, layout.GenerationMax).Draw(t, "generation")}
		after := bytes.Clone(before)
		if err := layout.Place(after, want); err != nil {
			t.Fatal(err)
		}
		if got, err := layout.ReadPlace(bytes.NewReader(after)); err != nil || got != want {
			t.Fatalf("%+v, %v: expected %+v", got, err, want)
		}
		differ := 0
		for i := range after {
			if after[i] != before[i] {
				differ++
			}
		}
		if len(after) != len(before) || differ > 9 {
			t.Fatalf("%d bytes differ", differ)
		}
	})
	for _, p := range []layout.Placed{{Slot: "C", Generation: 1}, {Slot: layout.SlotA}, {Slot: layout.SlotA, Generation: layout.GenerationMax + 1}} {
		if err := layout.Place(bytes.Clone(before), p); err == nil {
			t.Errorf("%+v: no error", p)
		}
	}
}

// FuzzPlace feeds what may lie on an ESP: a place that can be read can be written, and is the same then.
func FuzzPlace(f *testing.F) {
	p := parts{stub: smallStub(), kernel: []byte("kernel"), initrd: []byte("initrd")}
	p.commandLine, _ = Options{}.commandLine()
	uki, err := p.uki(Options{Version: "1.2"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uki)
	f.Add([]byte("MZ"))
	f.Fuzz(func(t *testing.T, file []byte) {
		place, err := layout.ReadPlace(bytes.NewReader(file))
		if err != nil {
			return
		}
		before := bytes.Clone(file)
		if err := layout.Place(file, place); err != nil || !bytes.Equal(file, before) {
			t.Errorf("%+v was read, and is written as another: %v", place, err)
		}
	})
}
