package trial

import (
	"slices"
	"strings"
	"testing"
)

func TestParseSizes(t *testing.T) {
	for text, want := range map[string]Sizes{
		"64":              {64},
		"1518":            {1518},
		"64, 1518":        {64, 1518},
		"64x3,128x1":      {64, 64, 128, 64},
		"64x2,100x2":      {64, 100, 64, 100},
		"64x1,64x1,100x1": {64, 64, 100},
		"64x5":            {64},
	} {
		if got, err := ParseSizes(text); err != nil || slices.Compare(slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(want))) != 0 {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	if got, _ := ParseSizes("64x3,128x1"); slices.Index(got, 128) == 3 {
		t.Errorf("a mix is not spread: %v", got)
	}
	imix, err := ParseSizes("imix")
	if err != nil || len(imix) != 48 || imix.String() != SizeImix {
		t.Errorf("imix: %v %v", imix, err)
	}
	for text, part := range map[string]string{
		"":            "must be 64 to 16000",
		"63":          "must be 64 to 16000",
		"16001":       "must be 64 to 16000",
		"64x0":        "must be 1 to 64",
		"64x":         "must be 1 to 64",
		"64x60,65x60": "the longest mix",
	} {
		if _, err := ParseSizes(text); err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%q: %v", text, err)
		}
	}
}
