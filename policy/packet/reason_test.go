package packet

import "testing"

// TestReasons: every reason has a name of its own, and a description, since counters are shown by them.
func TestReasons(t *testing.T) {
	names := map[string]Reason{}
	for r := None; r < End; r++ {
		if r.String() == "" || r.Help() == "" {
			t.Errorf("reason %d has name %q, help %q", r, r.String(), r.Help())
		}
		if other, ok := names[r.String()]; ok {
			t.Errorf("reasons %d and %d are both called %q", other, r, r.String())
		}
		names[r.String()] = r
	}
	if End.String() != "unknown" || End.Help() != "" {
		t.Errorf("a reason that is none: name %q, help %q", End.String(), End.Help())
	}
}
