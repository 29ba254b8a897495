package oracle

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"weir/perf/lab"
)

var (
	seedFlag    = flag.Uint64("oracle.seed", 0, "seed of the random configurations; 0: another one each time")
	configsFlag = flag.Int("oracle.configs", 0, "number of configurations of each test; 0: as many as take some seconds")
	firstFlag   = flag.Int("oracle.first", 0, "number of the first configuration")
	packetsFlag = flag.Int("oracle.packets", 0, "packets of each configuration; 0: some")
)

// TestMain fails the run if anything is left when all tests are over.
func TestMain(m *testing.M) {
	flag.Parse()
	if *seedFlag == 0 {
		*seedFlag = rand.Uint64()>>1 | 1
	}
	code := m.Run()
	if left, err := lab.Leftovers(); os.Geteuid() == 0 && (err != nil || len(left) > 0) {
		fmt.Fprintln(os.Stderr, "left over:", left, err)
		code = 1
	}
	os.Exit(code)
}

// series runs a test for each configuration that the flags ask for. The source of randomness depends on the seed and the
// configuration's number only.
func series(t *testing.T, configs, packets int, one func(t *testing.T, number, packets int, r *rand.Rand)) {
	t.Helper()
	if *configsFlag != 0 {
		configs = *configsFlag
	}
	if *packetsFlag != 0 {
		packets = *packetsFlag
	}
	t.Logf("seed %d, configurations %d to %d, %d packets each", *seedFlag, *firstFlag, *firstFlag+configs-1, packets)
	begin := time.Now()
	for number := *firstFlag; number < *firstFlag+configs; number++ {
		one(t, number, packets, rand.New(rand.NewPCG(*seedFlag, uint64(number))))
		if t.Failed() {
			t.Fatalf("again: go test ./policy/oracle -run '^%s$' -oracle.seed=%d -oracle.first=%d -oracle.configs=1", t.Name(), *seedFlag, number)
		}
	}
	t.Logf("%.0f packets a second", float64(configs*packets)/time.Since(begin).Seconds())
}

// testContext ends long after any step of a test should have.
func testContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// must returns the value, or ends the test.
func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// check ends the test if something went wrong.
func check(t testing.TB, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}
