package layout

import (
	"bytes"
	"debug/pe"
	"fmt"
	"io"
	"regexp"
	"strconv"
)

// Slot is one of the two places for a unified kernel image.
type Slot string

// The slots.
const (
	SlotA Slot = "A"
	SlotB Slot = "B"
)

// Other is the slot that is not s.
func (s Slot) Other() Slot {
	if s == SlotA {
		return SlotB
	}
	return SlotA
}

// SlotsDir is where slots lie on the ESP.
const SlotsDir = "EFI/Linux"

// Tries is how often a new slot may start without becoming good.
const Tries = 3

// A SlotFile is what the name of a slot's file says.
type SlotFile struct {
	Slot     Slot `json:"slot"`
	Counting bool `json:"counting"`       // there is a counter; without one the slot is good
	Left     int  `json:"left,omitempty"` // tries left
	Done     int  `json:"done,omitempty"` // tries used
}

// Name is that of the file, as systemd-boot writes it.
func (f SlotFile) Name() string {
	switch {
	case !f.Counting:
		return fmt.Sprintf("weir-%s.efi", f.Slot)
	case f.Done == 0:
		return fmt.Sprintf("weir-%s+%d.efi", f.Slot, f.Left)
	}
	return fmt.Sprintf("weir-%s+%d-%d.efi", f.Slot, f.Left, f.Done)
}

var slotName = regexp.MustCompile(`(?i)^weir-([AB])(?:\+([0-9]{1,9})(?:-([0-9]{1,9}))?)?\.efi$`)

// ParseSlotFile reads the name of a file in SlotsDir; it is false for one that is no slot.
func ParseSlotFile(name string) (SlotFile, bool) {
	m := slotName.FindStringSubmatch(name)
	if m == nil {
		return SlotFile{}, false
	}
	f := SlotFile{Slot: Slot(bytes.ToUpper([]byte(m[1]))), Counting: m[2] != ""}
	f.Left, _ = strconv.Atoi(m[2]) // digits, or nothing
	f.Done, _ = strconv.Atoi(m[3])
	return f, true
}

// GenerationMax is the highest generation that has room.
const GenerationMax = 99_999_999

// What Place writes, and where. The prefix of each occurs once in its section.
const (
	generationPrefix = "IMAGE_VERSION="
	generationDigits = 8
	sectionRelease   = ".osrel"
	sectionCommand   = ".cmdline"
)

// FirstGeneration is the line of .osrel that has the generation.
const FirstGeneration = generationPrefix + "00000001"

// Placed is what an image says of its place.
type Placed struct {
	Slot       Slot
	Generation int
}

// ReadPlace says where a unified kernel image was placed.
func ReadPlace(uki io.ReaderAt) (Placed, error) {
	slot, err := find(uki, sectionCommand, TokenSlot, 1)
	if err != nil {
		return Placed{}, err
	}
	generation, err := find(uki, sectionRelease, generationPrefix, generationDigits)
	if err != nil {
		return Placed{}, err
	}
	n, err := strconv.ParseUint(generation.text, 10, 32) // no signs
	if s := Slot(slot.text); err != nil || n < 1 || s != SlotA && s != SlotB {
		return Placed{}, fmt.Errorf("slot %q, generation %q: not as weir writes them", slot.text, generation.text)
	}
	return Placed{Slot: Slot(slot.text), Generation: int(n)}, nil
}

// Place writes slot and generation into a unified kernel image. Nothing else of it changes, nor does its size.
func Place(uki []byte, p Placed) error {
	if p.Slot != SlotA && p.Slot != SlotB || p.Generation < 1 || p.Generation > GenerationMax {
		return fmt.Errorf("place an image in slot %q as generation %d: there is no such place", p.Slot, p.Generation)
	}
	slot, err := find(bytes.NewReader(uki), sectionCommand, TokenSlot, 1)
	if err != nil {
		return err
	}
	generation, err := find(bytes.NewReader(uki), sectionRelease, generationPrefix, generationDigits)
	if err != nil {
		return err
	}
	copy(uki[slot.offset:], p.Slot)
	copy(uki[generation.offset:], fmt.Sprintf("%0*d", generationDigits, p.Generation))
	return nil
}

// field is a text in a file, and where.
type field struct {
	offset int64
	text   string
}

// find returns the n bytes behind a prefix in a section.
func find(uki io.ReaderAt, section, prefix string, n int) (field, error) {
	f, err := pe.NewFile(uki)
	if err != nil {
		return field{}, fmt.Errorf("read a unified kernel image: %w", err)
	}
	s := f.Section(section)
	if s == nil {
		return field{}, fmt.Errorf("read a unified kernel image: no section %s", section)
	}
	if s.Size > sectionMax {
		return field{}, fmt.Errorf("read a unified kernel image: section %s has %d bytes, %d are the most", section, s.Size, sectionMax)
	}
	text, err := s.Data()
	if err != nil {
		return field{}, fmt.Errorf("read section %s: %w", section, err)
	}
	at := bytes.Index(text, []byte(prefix))
	if at < 0 || at+len(prefix)+n > len(text) {
		return field{}, fmt.Errorf("read a unified kernel image: no %s in section %s", prefix, section)
	}
	at += len(prefix)
	return field{int64(s.Offset) + int64(at), string(text[at : at+n])}, nil
}

// sectionMax bounds what is read of a section that has a few lines.
const sectionMax = 64 << 10
