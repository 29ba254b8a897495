package cpulist

import (
	"slices"
	"testing"
)

func TestParse(t *testing.T) {
	for text, want := range map[string][]int{
		"": nil, "\n": nil, "0\n": {0}, "0-3,6\n": {0, 1, 2, 3, 6}, "2-3": {2, 3}, "5,1": {5, 1}, "1\n": {1}, "2-4,7\n": {2, 3, 4, 7}, "0,2-2": {0, 2}, "3-2": nil, "managed_irq,domain,2-4": {2, 3, 4}, "1-x,7": {7},
	} {
		if got := Parse(text); !slices.Equal(got, want) {
			t.Errorf("%q: %v", text, got)
		}
	}
}
