package document

import (
	"iter"
	"strings"
)

// unknownMax bounds the work on a word that is no name anyway.
const unknownMax = 64

// Suggest is `; did you mean X?` with the name that is closest to the one that is unknown, or empty where none is
// close. Of equally close ones the alphabetically first is taken, so that messages are stable.
func Suggest(unknown string, known iter.Seq[string]) string {
	if len(unknown) > unknownMax {
		return ""
	}
	best, distance := "", 2+len(unknown)/4
	for name := range known {
		n := editDistance(strings.ToLower(unknown), strings.ToLower(name), distance+1)
		if n < distance || n == distance && best != "" && name < best {
			best, distance = name, n
		}
	}
	if best == "" {
		return ""
	}
	return "; did you mean " + Clip(best) + "?"
}

// editDistance is the number of characters to insert, delete, replace or swap with their neighbour to make b of a
// (optimal string alignment), or limit if it is not below.
func editDistance(a, b string, limit int) int {
	if d := len(a) - len(b); d >= limit || -d >= limit {
		return limit
	}
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return min(last[len(b)], limit)
}
