package trial

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Frame sizes in bytes, with FCS. The smallest holds the headers and a sequence number; the largest is RFC 6985's.
const (
	SizeMin  = 64
	SizeMax  = 16000
	SizeImix = "64x28,570x16,1518x4" // as FD.io CSIT mixes them
)

// MixMax is the longest mix, in frames. SIZES_MAX of the generators.
const MixMax = 64

// Sizes are the frame sizes of a stream, in the order in which packets have them, over and over.
type Sizes []int

// StandardSizes are those of RFC 2544 section 9.1 for Ethernet.
func StandardSizes() []Sizes {
	return []Sizes{{64}, {128}, {256}, {512}, {1024}, {1280}, {1518}}
}

// ParseSizes reads one size ("64"), a mix ("64x7,570x4,1518x1": seven frames of 64 bytes and so on), which is spread so
// that its sizes alternate, a genome of RFC 6985, whose sizes keep their order (see parseGenome), or "imix", which is
// 28 × 64, 16 × 570 and 4 × 1518.
func ParseSizes(text string) (Sizes, error) {
	if text == "imix" {
		text = SizeImix
	}
	if isGenome(text) {
		return parseGenome(text)
	}
	var parts []part
	total := 0
	for field := range strings.SplitSeq(text, ",") {
		sizeText, countText, mixed := strings.Cut(strings.TrimSpace(field), "x")
		p := part{count: 1}
		var err error
		if p.size, err = parseSize(sizeText); err != nil {
			return nil, err
		}
		if mixed {
			if p.count, err = parseCount(countText, field); err != nil {
				return nil, err
			}
		}
		total += p.count
		parts = append(parts, p)
	}
	if total > MixMax {
		return nil, tooLong(text, total)
	}
	return collapse(spread(parts, total)), nil
}

func parseSize(text string) (int, error) {
	size, err := strconv.Atoi(text)
	if err != nil || size < SizeMin || size > SizeMax {
		return 0, fmt.Errorf("frame size %q: must be %d to %d bytes", text, SizeMin, SizeMax)
	}
	return size, nil
}

func parseCount(text, of string) (int, error) {
	count, err := strconv.Atoi(text)
	if err != nil || count < 1 || count > MixMax {
		return 0, fmt.Errorf("frame size %q: its number must be 1 to %d", of, MixMax)
	}
	return count, nil
}

func tooLong(text string, frames int) error {
	return fmt.Errorf("frame sizes %q: %d frames, the longest mix is %d", text, frames, MixMax)
}

// collapse makes one of sizes that are all the same.
func collapse(s Sizes) Sizes {
	if slices.Min(s) == slices.Max(s) {
		return s[:1]
	}
	return s
}

// part is a size of a mix, how many frames have it, and how many have been given out.
type part struct{ size, count, given int }

func spread(parts []part, total int) (sizes Sizes) {
	for n := 1; n <= total; n++ {
		// The size that is furthest behind its share of the first n frames is next.
		next := slices.MaxFunc(parts, func(a, b part) int { return (a.count*n - a.given*total) - (b.count*n - b.given*total) })
		for i := range parts {
			if parts[i] == next {
				parts[i].given++
				break
			}
		}
		sizes = append(sizes, next.size)
	}
	return sizes
}

// String is one size, a mix or a genome, as ParseSizes reads it.
func (s Sizes) String() string {
	var order []int
	count := make(map[int]int)
	for _, size := range s {
		if count[size] == 0 {
			order = append(order, size)
		}
		count[size]++
	}
	if len(order) == 1 {
		return strconv.Itoa(order[0])
	}
	slices.Sort(order)
	texts := make([]string, len(order))
	parts := make([]part, len(order))
	for i, size := range order {
		texts[i] = fmt.Sprintf("%dx%d", size, count[size])
		parts[i] = part{size: size, count: count[size]}
	}
	if genome, ok := s.genome(); ok && !slices.Equal(spread(parts, len(s)), s) {
		return genome
	}
	return strings.Join(texts, ",")
}

// MarshalText is String.
func (s Sizes) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText is ParseSizes.
func (s *Sizes) UnmarshalText(text []byte) (err error) {
	*s, err = ParseSizes(string(text))
	return err
}
