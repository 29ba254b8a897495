package fib

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestInlined asks the compiler whether what the packet path calls for every packet, or batch, is inlined there.
func TestInlined(t *testing.T) {
	out := compile(t, "-m")
	for _, name := range []string{
		"(*Table).Array", "Array.Lookup4", "Array.Lookup6", "Array.Answers", "inVectors", "get", "widen", "(*tail).answer",
		"(*Adjacencies).At", "(*Adjacencies).condition", "(*NextHop).OnLink", "exponential", "mix",
	} {
		if !regexp.MustCompile(`can inline ` + regexp.QuoteMeta(name) + `\n`).MatchString(out) {
			t.Errorf("%s cannot be inlined", name)
		}
	}
}

// TestBoundsChecks: lookups check the bounds of the table's own memory, whose indexes are in that memory, and nothing else: no
// addresses, and not what they found.
func TestBoundsChecks(t *testing.T) {
	out := compile(t, "-d=ssa/check_bce")
	source, err := os.ReadFile("batch.go")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(source), "\n")
	checks := map[int]int{}
	for _, f := range regexp.MustCompile(`batch\.go:(\d+):\d+: Found IsInBounds`).FindAllStringSubmatch(out, -1) {
		n, _ := strconv.Atoi(f[1])
		checks[n]++
	}
	if len(checks) == 0 {
		t.Fatalf("not even the table's memory is checked:\n%s", out)
	}
	own := regexp.MustCompile(`\b(root|blocks|tails)[\[,]`)
	for n, times := range checks {
		if line := lines[n-1]; times > 1 || !own.MatchString(line) {
			t.Errorf("batch.go:%d: bounds are checked, %d times: %s", n, times, strings.TrimSpace(line))
		}
	}
}

// compile is what the compiler says of the package with a flag.
func compile(t *testing.T, flag string) string {
	if testing.Short() {
		t.Skip("runs the compiler")
	}
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(t.TempDir(), "fib.a"), "-gcflags="+flag, ".").CombinedOutput()
	if err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return string(out)
}
