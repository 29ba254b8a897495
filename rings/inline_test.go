package rings

import (
	"os/exec"
	"strings"
	"testing"
)

// TestInlined asks the compiler whether the ring operations are inlined into the packet path, for both kinds of entry.
// They are called for every packet, and a call costs more than most of them do.
func TestInlined(t *testing.T) {
	if testing.Short() {
		t.Skip("runs the compiler")
	}
	out, err := exec.CommandContext(t.Context(), "go", "build", "-gcflags=-m", ".").CombinedOutput()
	if err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	const address, descriptor = "[go.shape.uint64]", "[go.shape.struct { Addr uint64; Len uint32; Options uint32 }]"
	inlined := make(map[string]bool)
	for line := range strings.Lines(string(out)) {
		// "rings/queue.go:169:16: inlining call to (*consumer[go.shape.uint64]).get"
		where, call, ok := strings.Cut(strings.TrimSpace(line), ": inlining call to ")
		if ok && strings.Contains(where, "queue.go:") {
			inlined[call] = true
		}
	}
	for _, name := range []string{"drained", "needWakeup"} {
		if name = "(*producer" + descriptor + ")." + name; !inlined[name] {
			t.Errorf("%s is not inlined", name)
		}
	}
	for ring, methods := range map[string][]string{
		"producer": {"room", "put", "publish"},
		"consumer": {"available", "get", "release"},
	} {
		for _, method := range methods {
			for _, entry := range []string{address, descriptor} {
				if name := "(*" + ring + entry + ")." + method; !inlined[name] {
					t.Errorf("%s is not inlined", name)
				}
			}
		}
	}
	for _, name := range []string{
		"(*UMEM).Bytes", "(*UMEM).Chunk", "(*UMEM).Alloc", "(*UMEM).Free", "(*Queue).UMEM", "(*Queue).Pending", "(*Queue).count",
	} {
		if !strings.Contains(string(out), "can inline "+name+"\n") {
			t.Errorf("%s cannot be inlined", name)
		}
	}
}
