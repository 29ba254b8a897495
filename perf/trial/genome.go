package trial

import (
	"fmt"
	"strconv"
	"strings"
)

// letters are the sizes that RFC 6985 gives letters to.
var letters = map[byte]int{'a': 64, 'b': 128, 'c': 256, 'd': 512, 'e': 1024, 'f': 1280, 'g': 1518, 'h': 2112, 'i': 9000, 'j': 16000}

// isGenome tells a genome from sizes: it has letters other than the x between a size and its number.
func isGenome(text string) bool {
	return strings.ContainsFunc(text, func(r rune) bool { return r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' && r != 'x' })
}

// parseGenome reads a sequence of letters of RFC 6985 section 3 ("aaaaaaaddddg"), each of which may have a number before it that
// repeats it ("7a4dg"). Capitals are sizes of one's own, which follow behind the sequence ("7a4Ag,A=570").
func parseGenome(text string) (Sizes, error) {
	sequence, rest, _ := strings.Cut(text, ",")
	own := make(map[byte]int)
	for rest != "" {
		var field string
		field, rest, _ = strings.Cut(rest, ",")
		name, size, ok := strings.Cut(strings.TrimSpace(field), "=")
		if !ok || len(name) != 1 || name[0] < 'A' || name[0] > 'Z' {
			return nil, fmt.Errorf("genome %q: %q must be a capital and its size, as in A=570", text, field)
		}
		var err error
		if own[name[0]], err = parseSize(size); err != nil {
			return nil, fmt.Errorf("genome %q: %w", text, err)
		}
	}
	if sequence == "" {
		return nil, fmt.Errorf("genome %q: has no letters", text)
	}
	var sizes Sizes
	for at := 0; at < len(sequence); {
		from := at
		for at < len(sequence) && sequence[at] >= '0' && sequence[at] <= '9' {
			at++
		}
		count := 1
		if at > from {
			var err error
			if count, err = parseCount(sequence[from:at], sequence[from:min(at+1, len(sequence))]); err != nil {
				return nil, fmt.Errorf("genome %q: %w", text, err)
			}
		}
		if at == len(sequence) {
			return nil, fmt.Errorf("genome %q: ends with a number", text)
		}
		size := letters[sequence[at]]
		if size == 0 {
			size = own[sequence[at]]
		}
		if size == 0 {
			return nil, fmt.Errorf("genome %q: %q is no size; a to j are, and capitals that are given one, as in A=570", text, sequence[at:at+1])
		}
		for range count {
			sizes = append(sizes, size)
		}
		if len(sizes) > MixMax {
			return nil, tooLong(text, len(sizes))
		}
		at++
	}
	return collapse(sizes), nil
}

// genome is the sequence as parseGenome reads it; there is none with more than 26 sizes of one's own.
func (s Sizes) genome() (string, bool) {
	byName := make(map[int]byte)
	for letter, size := range letters {
		byName[size] = letter
	}
	var sequence, own strings.Builder
	next := byte('A')
	for i := 0; i < len(s); {
		size := s[i]
		if byName[size] == 0 {
			if next > 'Z' {
				return "", false
			}
			byName[size] = next
			fmt.Fprintf(&own, ",%c=%d", next, size)
			next++
		}
		run := 1
		for i+run < len(s) && s[i+run] == size {
			run++
		}
		if run > 1 {
			sequence.WriteString(strconv.Itoa(run))
		}
		sequence.WriteByte(byName[size])
		i += run
	}
	return sequence.String() + own.String(), true
}
