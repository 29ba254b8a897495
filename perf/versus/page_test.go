package versus

import (
	"strings"
	"testing"
)

func TestSpread(t *testing.T) {
	weir, other := Spread{3, 1, 2}, Spread{1, 2, 4}
	if got := weir.Text("%.0f"); got != "2 (1–3)" {
		t.Error(got)
	}
	if got := weir.Per(other).Text("%.1f"); got != "0.5 (0.5–3.0)" {
		t.Error(got)
	}
}

func TestPage(t *testing.T) {
	p := NewPage("Title")
	p.Table("a", "b")
	p.Row("1", "2")
	p.Conditions("make x", [2]string{"what", "else"})
	for _, part := range []string{"# Title\n", "\n| a | b |\n|---|---|\n| 1 | 2 |\n", "| command | `make x` |\n", "| what | else |\n"} {
		if !strings.Contains(p.String(), part) {
			t.Errorf("%q is missing in\n%s", part, p)
		}
	}
}
