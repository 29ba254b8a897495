package document

import (
	"fmt"
	"strings"
)

// Unified is the difference between two texts as diff -u writes it, with three lines around each change; empty if there is none. Time is
// linear but for a logarithm: lines that both texts have once each are kept, and what is between them is taken as changed but for
// its ends. So it is not always the shortest, and it is always right.
func Unified(fromName, toName, from, to string) string {
	const around = 3
	a, b := splitLines(from), splitLines(to)
	var out strings.Builder
	var hunk []change
	flush := func() {
		if len(hunk) == 0 {
			return
		}
		if out.Len() == 0 {
			fmt.Fprintf(&out, "--- %s\n+++ %s\n", fromName, toName)
		}
		writeHunk(&out, a, b, hunk, around)
		hunk = nil
	}
	for _, c := range lineChanges(a, b) {
		if len(hunk) > 0 && c.a-hunk[len(hunk)-1].aEnd > 2*around {
			flush()
		}
		hunk = append(hunk, c)
	}
	flush()
	return out.String()
}

func splitLines(text string) []string {
	if text == "" {
		return nil
	}
	lines := strings.SplitAfter(text, "\n")
	if lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	return lines
}

// change is lines a to aEnd of one text that are lines b to bEnd of the other.
type change struct{ a, aEnd, b, bEnd int }

func lineChanges(a, b []string) (changes []change) {
	at, bt := 0, 0
	add := func(aEnd, bEnd int) {
		for at < aEnd && bt < bEnd && a[at] == b[bt] {
			at, bt = at+1, bt+1
		}
		x, y := aEnd, bEnd
		for x > at && y > bt && a[x-1] == b[y-1] {
			x, y = x-1, y-1
		}
		if at < x || bt < y {
			changes = append(changes, change{at, x, bt, y})
		}
		at, bt = aEnd, bEnd
	}
	for _, pair := range anchors(a, b) {
		if pair[0] < at || pair[1] < bt {
			continue
		}
		add(pair[0], pair[1])
		for at < len(a) && bt < len(b) && a[at] == b[bt] {
			at, bt = at+1, bt+1
		}
	}
	add(len(a), len(b))
	return changes
}

// anchors are pairs of equal lines that both texts have once, in the order of both.
func anchors(a, b []string) (pairs [][2]int) {
	type places struct{ inA, inB, a, b int }
	lines := make(map[string]*places, len(a))
	for i, line := range a {
		p := lines[line]
		if p == nil {
			p = &places{}
			lines[line] = p
		}
		p.inA, p.a = p.inA+1, i
	}
	for i, line := range b {
		if p := lines[line]; p != nil {
			p.inB, p.b = p.inB+1, i
		}
	}
	byB := map[int]int{}
	var list []int
	for i, line := range a {
		if p := lines[line]; p.inA == 1 && p.inB == 1 {
			list = append(list, p.b)
			byB[p.b] = i
		}
	}
	for _, j := range longestRising(list) {
		pairs = append(pairs, [2]int{byB[j], j})
	}
	return pairs
}

func writeHunk(out *strings.Builder, a, b []string, hunk []change, around int) {
	first, last := hunk[0], hunk[len(hunk)-1]
	from, end := max(first.a-around, 0), min(last.aEnd+around, len(a))
	bFrom := first.b - (first.a - from)
	bEnd := last.bEnd + end - last.aEnd
	place := func(from, end int) string {
		switch n := end - from; n {
		case 0:
			return fmt.Sprintf("%d,0", from)
		case 1:
			return fmt.Sprint(from + 1)
		default:
			return fmt.Sprintf("%d,%d", from+1, n)
		}
	}
	fmt.Fprintf(out, "@@ -%s +%s @@\n", place(from, end), place(bFrom, bEnd))
	lines := func(sign string, list []string) {
		for _, line := range list {
			out.WriteString(sign + line)
			if !endsLine(line) {
				out.WriteString("\n\\ No newline at end of file\n")
			}
		}
	}
	at := from
	for _, c := range hunk {
		lines(" ", a[at:c.a])
		lines("-", a[c.a:c.aEnd])
		lines("+", b[c.b:c.bEnd])
		at = c.aEnd
	}
	lines(" ", a[at:end])
}
