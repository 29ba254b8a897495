package policy

import (
	"os/exec"
	"strings"
	"testing"
)

// TestInlined asks the compiler whether the small functions that rules and statements are found by are still small enough to
// be inlined. They are called for every packet, some for every list or field of it, and a call costs more than most of them do.
func TestInlined(t *testing.T) {
	if testing.Short() {
		t.Skip("runs the compiler")
	}
	out, err := exec.CommandContext(t.Context(), "go", "build", "-gcflags=-m", ".").CombinedOutput()
	if err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	for _, name := range []string{
		"(*facet).from", "(*facet).page", "(*list).find", "(*line).has", "(*homes).next", "(*matcher).checked", "(*rule).matches",
		"(*Tally).hit", "(*Tally).hitRoute", "familyIndex", "hasPorts", "ipv4Word", "(*ownSet).kind",
	} {
		if !strings.Contains(string(out), "can inline "+name+"\n") {
			t.Errorf("%s is not inlined", name)
		}
	}
}
