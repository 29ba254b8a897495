package image

import (
	"bytes"
	"debug/pe"
	"encoding/binary"
	"errors"
	"fmt"
)

// section is one of those that systemd's stub looks for: see systemd-stub(7).
type section struct {
	name string
	data []byte
}

// pageSize is what sections are loaded at multiples of.
const pageSize = 4096

// Offsets in a PE file, from Microsoft's PE format: where the header begins is at 0x3c; the optional header comes 24 bytes behind that.
const (
	peOffset          = 0x3c
	peSections        = 6  // from the header: number of sections
	peOptional        = 24 // from the header: the optional header
	peSizeInitialized = 8  // from the optional header: size of initialized data
	peSizeImage       = 56
	peChecksum        = 64
	sectionHeaderSize = 40
)

// sectionFlags: initialized data that can be read.
const sectionFlags = 0x00000040 | 0x40000000

// appendSections returns systemd's stub with sections behind its own: each begins at the page behind the one before.
func appendSections(stub []byte, add []section) ([]byte, error) {
	f, err := pe.NewFile(bytes.NewReader(stub))
	if err != nil {
		return nil, fmt.Errorf("read the boot stub: %w", err)
	}
	optional, ok := f.OptionalHeader.(*pe.OptionalHeader64)
	if !ok || f.Machine != pe.IMAGE_FILE_MACHINE_AMD64 {
		return nil, errors.New("read the boot stub: it is not for x86-64")
	}
	header := int(binary.LittleEndian.Uint32(stub[peOffset:]))
	table := header + peOptional + int(f.SizeOfOptionalHeader)
	used := table + sectionHeaderSize*len(f.Sections)
	if room := int(optional.SizeOfHeaders) - used; room < sectionHeaderSize*len(add) {
		return nil, fmt.Errorf("append to the boot stub: %d bytes of headers have no room for %d sections", room, len(add))
	}
	var end uint32 // of what is loaded
	for _, s := range f.Sections {
		if s.Offset < uint32(used+sectionHeaderSize*len(add)) {
			return nil, fmt.Errorf("append to the boot stub: section %s begins among the headers", s.Name)
		}
		end = max(end, s.VirtualAddress+s.VirtualSize)
	}
	align := func(n, to uint32) uint32 { return (n + to - 1) / to * to }
	out := bytes.Clone(stub)
	initialized := optional.SizeOfInitializedData
	for i, s := range add {
		out = append(out, make([]byte, int(align(uint32(len(out)), optional.FileAlignment))-len(out))...)
		size := uint32(len(s.data))
		raw := align(size, optional.FileAlignment)
		address := align(end, pageSize)
		h := out[used+sectionHeaderSize*i:]
		copy(h[:8], make([]byte, 8))
		copy(h[:8], s.name)
		for j, v := range []uint32{size, address, raw, uint32(len(out)), 0, 0, 0, sectionFlags} {
			binary.LittleEndian.PutUint32(h[8+4*j:], v)
		}
		out = append(append(out, s.data...), make([]byte, raw-size)...)
		end = address + size
		initialized += raw
	}
	binary.LittleEndian.PutUint16(out[header+peSections:], uint16(len(f.Sections)+len(add)))
	o := out[header+peOptional:]
	binary.LittleEndian.PutUint32(o[peSizeInitialized:], initialized)
	binary.LittleEndian.PutUint32(o[peSizeImage:], align(end, pageSize))
	binary.LittleEndian.PutUint32(o[peChecksum:], 0) // firmware looks at it for drivers only; 0 is none
	return out, nil
}
