package vm

import (
	"io"
	"regexp"
	"slices"
	"testing"
	"time"
)

func TestConsole(t *testing.T) {
	c := newConsole()
	await := func(expression string) []string {
		t.Helper()
		match, err := c.await(regexp.MustCompile(expression), Patience)
		if err != nil {
			t.Fatal(err)
		}
		return match
	}
	found := make(chan []string)
	go func() {
		match, _ := c.await(regexp.MustCompile(`at (\S+)\n`), Patience)
		found <- match
	}()
	for _, part := range []string{"ready ", "a", "t 192.0.2.1", "\nready at", " fd00::1\nlast"} {
		if _, err := io.WriteString(c, part); err != nil {
			t.Fatal(err)
		}
	}
	if got := <-found; !slices.Equal(got, []string{"at 192.0.2.1\n", "192.0.2.1"}) {
		t.Errorf("the first: %q", got)
	}
	if got := await(`at (\S+)\n`); got[1] != "fd00::1" {
		t.Errorf("behind the first: %q", got)
	}
	if _, err := c.await(regexp.MustCompile("ready"), time.Nanosecond); err == nil {
		t.Error("what was passed is found again")
	}
	c.end()
	if got := await("last"); got[0] != "last" {
		t.Errorf("after the end: %q", got)
	}
	if _, err := c.await(regexp.MustCompile("never"), Patience); err == nil {
		t.Error("what a machine that is off never said is found")
	}
	if got, want := c.text(), "ready at 192.0.2.1\nready at fd00::1\nlast"; got != want {
		t.Errorf("all: %q, expected %q", got, want)
	}
}
