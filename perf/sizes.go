package perf

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// fcsLen is the frame check sequence, which the sizes of frames count and memory does not hold.
const fcsLen = 4

// Frame sizes in bytes, with FCS. The smallest holds the headers and a sequence number; the largest is Ethernet's.
const (
	sizeMin  = 64
	sizeMax  = 1518
	sizeImix = "64x28,570x16,1518x4" // as FD.io CSIT mixes them
)

// Sizes are the frame sizes of a stream, in the order in which packets have them, over and over.
type Sizes []int

// ParseSizes reads one size ("64"), a mix ("64x7,570x4,1518x1": seven frames of 64 bytes and so on), or "imix", which is
// 28 × 64, 16 × 570 and 4 × 1518. A mix is spread so that its sizes alternate.
func ParseSizes(text string) (Sizes, error) {
	if text == "imix" {
		text = sizeImix
	}
	type part struct{ size, count, given int }
	var parts []part
	total := 0
	for field := range strings.SplitSeq(text, ",") {
		sizeText, countText, mixed := strings.Cut(strings.TrimSpace(field), "x")
		p := part{count: 1}
		var err error
		if p.size, err = strconv.Atoi(sizeText); err != nil || p.size < sizeMin || p.size > sizeMax {
			return nil, fmt.Errorf("frame size %q: must be %d to %d bytes", sizeText, sizeMin, sizeMax)
		}
		if mixed {
			if p.count, err = strconv.Atoi(countText); err != nil || p.count < 1 || p.count > mixMax {
				return nil, fmt.Errorf("frame size %q: its number must be 1 to %d", field, mixMax)
			}
		}
		total += p.count
		parts = append(parts, p)
	}
	if total > mixMax {
		return nil, fmt.Errorf("frame sizes %q: %d frames, the longest mix is %d", text, total, mixMax)
	}
	var sizes Sizes
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
	return sizes, nil
}

// mixMax is SIZES_MAX of generator.c.
const mixMax = 64

// String is one size, or a mix as ParseSizes reads it.
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
	for i, size := range order {
		texts[i] = fmt.Sprintf("%dx%d", size, count[size])
	}
	return strings.Join(texts, ",")
}
