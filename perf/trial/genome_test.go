package trial

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestGenome(t *testing.T) {
	for text, want := range map[string]Sizes{
		"aaafg":                {64, 64, 64, 1280, 1518},
		"bcdehij":              {128, 256, 512, 1024, 2112, 9000, 16000},
		"3a2g":                 {64, 64, 64, 1518, 1518},
		"7a4Ag,A=570":          {64, 64, 64, 64, 64, 64, 64, 570, 570, 570, 570, 1518},
		"aBA, A=100, B=101":    {64, 101, 100},
		"aaaaaaa":              {64},
		"12c1d":                append(slices.Repeat(Sizes{256}, 12), 512),
		"28a16A4g,A=570":       append(append(slices.Repeat(Sizes{64}, 28), slices.Repeat(Sizes{570}, 16)...), 1518, 1518, 1518, 1518),
		"agagagagagagagagagag": slices.Repeat(Sizes{64, 1518}, 10),
	} {
		if got, err := ParseSizes(text); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for text, part := range map[string]string{
		",A=70":    "has no letters",
		"ak":       `"k" is no size`,
		"aA":       `"A" is no size`,
		"a3":       "ends with a number",
		"0ab":      `"0a": its number must be 1 to 64`,
		"60a5b":    "the longest mix is 64",
		"aA,A=63":  "must be 64 to 16000",
		"aA,A":     "a capital and its size",
		"aA,a=100": "a capital and its size",
		"a b":      `" " is no size`,
	} {
		if _, err := ParseSizes(text); err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestSizesReadBack writes what was read and reads it again, as JSON too.
func TestSizesReadBack(t *testing.T) {
	size := rapid.OneOf(rapid.SampledFrom([]int{64, 128, 570, 1518, 9000}), rapid.IntRange(SizeMin, SizeMax))
	rapid.Check(t, func(t *rapid.T) {
		want := Sizes(rapid.SliceOfN(size, 1, 26).Draw(t, "sizes"))
		if slices.Min(want) == slices.Max(want) {
			want = want[:1]
		}
		got, err := ParseSizes(want.String())
		if err != nil || !slices.Equal(got, want) {
			t.Fatalf("%v is %q, read as %v, %v", []int(want), want, []int(got), err)
		}
		text, err := json.Marshal(want)
		var back Sizes
		if err != nil || json.Unmarshal(text, &back) != nil || !slices.Equal(back, want) {
			t.Fatalf("%v is %s, read as %v, %v", []int(want), text, []int(back), err)
		}
	})
}

func FuzzParseSizes(f *testing.F) {
	for _, text := range []string{"64", "64x7,570x4,1518x1", "imix", "7a4Ag,A=570", "3a2g"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		sizes, err := ParseSizes(text)
		if err != nil {
			return
		}
		if len(sizes) == 0 || len(sizes) > MixMax || slices.Min(sizes) < SizeMin || slices.Max(sizes) > SizeMax {
			t.Fatalf("%q: %v", text, []int(sizes))
		}
		if again, err := ParseSizes(sizes.String()); err != nil || !slices.Equal(again, sizes) {
			t.Fatalf("%q: %v is %q, read as %v, %v", text, []int(sizes), sizes, []int(again), err)
		}
	})
}
