package packet

import (
	"os/exec"
	"strings"
	"testing"
)

// TestInlined asks the compiler whether the small functions of the packet path are still small enough to be
// inlined. A call costs more than most of them do.
func TestInlined(t *testing.T) {
	if testing.Short() {
		t.Skip("runs the compiler")
	}
	out, err := exec.CommandContext(t.Context(), "go", "build", "-gcflags=-m", ".").CombinedOutput()
	if err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	for _, name := range []string{
		"isTag", "isExtension", "sumIPv4Header", "mapIPv4", "parsePorts", "fold", "updateChecksum", "putTag", "(*Key).L3",
	} {
		if !strings.Contains(string(out), "can inline "+name+"\n") {
			t.Errorf("%s is not inlined", name)
		}
	}
}
