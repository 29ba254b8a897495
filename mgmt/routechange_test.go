package mgmt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"weir/fib"
	"weir/policy"
)

func TestParseRouteChange(t *testing.T) {
	four, six := netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32")
	gateway := netip.MustParseAddr("192.0.2.9")
	for line, want := range map[string]policy.RouteChange{
		"add x 10.0.0.0/8 via 192.0.2.9":                         {Table: "x", Prefix: four, Hops: []policy.RouteHop{{Gateway: gateway}}},
		"  replace x 10/8 dev em0 metric 5 mtu 1400 # as before": {Op: policy.ReplaceRoute, Table: "x", Prefix: four, Metric: 5, MTU: 1400, Hops: []policy.RouteHop{{Port: "em0"}}},
		"del x default via 192.0.2.9":                            {Op: policy.DeleteRoute, Table: "x", Prefix: netip.MustParsePrefix("0.0.0.0/0"), Hops: []policy.RouteHop{{Gateway: gateway}}},
		"delete x 2001:db8::/32":                                 {Op: policy.DeleteRoute, Table: "x", Prefix: six},
		"add x blackhole 2001:db8::/32":                          {Table: "x", Prefix: six, Action: fib.Blackhole},
		"add x 2001:db8::/32 prohibit metric 0x10":               {Table: "x", Prefix: six, Action: fib.Prohibit, Metric: 16},
		"add x unicast 10.0.0.0/8 via inet 192.0.2.9 dev em0 tos 0x10 proto bgp scope link onlink": {Table: "x", Prefix: four, TOS: 0x10, Hops: []policy.RouteHop{{Gateway: gateway, Port: "em0"}}},
		"add x 10.0.0.0/8 nexthop via 192.0.2.9 weight 3 nexthop dev em1":                          {Table: "x", Prefix: four, Hops: []policy.RouteHop{{Gateway: gateway, Weight: 3}, {Port: "em1"}}},
	} {
		if got, ok, err := ParseRouteChange(line); err != nil || !ok || !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\n%+v, %v, want\n%+v", line, got, err, want)
		}
	}
	for line, want := range map[string]string{
		"add":                                "expected a table",
		"append x 10.0.0.0/8":                "expected add, replace or delete, found append",
		"add x":                              "expected a prefix, found the end",
		"add x 10.0.0.1/8":                   "did you mean 10.0.0.0/8",
		"add x 10.0.0.0/33 dev em0":          "found 10.0.0.0/33",
		"add x default dev em0":              "of no family",
		"add x 10.0.0.0/8 via em0":           "expected an IP address, found em0",
		"add x 10.0.0.0/8 dev":               "expected a port",
		"add x 10.0.0.0/8 dev em0 metric -1": "expected a number from 0 to 4294967295, found -1",
		"add x 10.0.0.0/8 dev em0 metric":    "expected a number, found the end",
		"add x 10.0.0.0/8 dev em0 tos 3":     "in steps of 4",
		"add x 10.0.0.0/8 dev em0 mtu 20":    "mtu: expected a number",
		"add x 10.0.0.0/8 lookup y":          "unknown word lookup",
		"add x blackhole 10.0.0.0/8 throw":   "unknown word throw",
		"add x 10.0.0.0/8 weight 3":          "weight belongs to nexthop",
		"add x 10.0.0.0/8 dev em0 nexthop":   "either via and dev, or nexthops",
		"add x 10.0.0.0/8 dev \xff":          "not text",
	} {
		if _, ok, err := ParseRouteChange(line); ok || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", line, err, want)
		}
	}
	for _, line := range []string{"", " \t", "# nothing\r\n"} {
		if _, ok, err := ParseRouteChange(line); ok || err != nil {
			t.Errorf("%q is a change: %v", line, err)
		}
	}
}

// FuzzRouteChange: whatever a line is, it is a change of some prefix, nothing, or wrong.
func FuzzRouteChange(f *testing.F) {
	for _, line := range []string{"add x 10.0.0.0/8 via 192.0.2.9 dev em0 tos 0x10 metric 5 mtu 1400", "replace x throw 2001:db8::/32", "delete x default via ::1",
		"add x 10/8 nexthop via inet6 2001:db8::1 weight 3 nexthop dev em1 #", "add x", "del", "# x", "add x 10.0.0.0/8 nexthop weight 65536"} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		c, ok, err := ParseRouteChange(line)
		if ok && (err != nil || c.Table == "" || !c.Prefix.IsValid() || c.Prefix != c.Prefix.Masked() || len(c.Hops) > hopsMax) {
			t.Errorf("%q: %+v, %v", line, c, err)
		}
	})
}

// TestReadRouteChanges: lines keep their numbers, those that are none are told, what has come is not held back, and one that was cut
// off is left out.
func TestReadRouteChanges(t *testing.T) {
	in, out := io.Pipe()
	applied, refused := make(chan []int), make(chan string, 10)
	done := make(chan error, 1)
	go func() {
		done <- ReadRouteChanges(in, func(changes []policy.RouteChange, lines []int) error {
			if len(changes) != len(lines) || changes[0].Table != fmt.Sprintf("t%d", lines[0]) {
				return fmt.Errorf("%+v in lines %v", changes, lines)
			}
			applied <- append([]int(nil), lines...)
			return nil
		}, func(line int, err error) { refused <- fmt.Sprintf("%d: %v", line, err) })
	}()
	write := func(text string) { fmt.Fprint(out, text) }
	line := func(n int) string { return fmt.Sprintf("add t%d 10.0.0.0/8 dev em0\n", n) }
	write(line(1) + "\nfoo\n" + line(4) + "add t5 10.0.0")
	if got := <-applied; !reflect.DeepEqual(got, []int{1, 4}) {
		t.Errorf("lines %v", got)
	}
	go write(".0/8 dev em0\n")
	if got := <-applied; !reflect.DeepEqual(got, []int{5}) {
		t.Errorf("lines %v", got)
	}
	go func() {
		var b strings.Builder
		for n := 6; n < 6+2*routeChangesMost; n++ {
			b.WriteString(line(n))
		}
		write(b.String() + "add t 10.0.0.0/8 dev em0 metric 1")
		out.Close()
	}()
	for n := 6; n < 6+2*routeChangesMost; {
		got := <-applied
		if got[0] != n || len(got) > routeChangesMost {
			t.Fatalf("%d lines from %d, expected %d", len(got), got[0], n)
		}
		n += len(got)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	close(refused)
	if first, last := <-refused, <-refused; !strings.HasPrefix(first, "3: expected add") || !strings.HasPrefix(last, fmt.Sprintf("%d: the line has no end", 6+2*routeChangesMost)) {
		t.Errorf("refused: %s; %s", first, last)
	}
	stop := errors.New("enough")
	if err := ReadRouteChanges(strings.NewReader(line(1)+line(2)), func([]policy.RouteChange, []int) error { return stop }, nil); err != stop {
		t.Error(err)
	}
	if err := ReadRouteChanges(strings.NewReader(line(1)+strings.Repeat("x", lineMax+1)), func([]policy.RouteChange, []int) error { return nil }, nil); err == nil || !strings.Contains(err.Error(), "line 2 is longer") {
		t.Error(err)
	}
}

// TestFeed: a command takes its input to the end, answers meanwhile, and is not kept up by a client that says nothing when the
// server stops.
func TestFeed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control")
	begun := make(chan bool, 1)
	stop := serveCommands(t, path, []*Command{{Name: "upper", Stream: func(_ context.Context, r *Request, w io.Writer) (any, error) {
		begun <- true
		n := 0
		for b := make([]byte, 1000); ; {
			got, err := r.Stdin.Read(b)
			n += got
			if _, err := w.Write(bytes.ToUpper(b[:got])); err != nil {
				return nil, err
			}
			if err == io.EOF {
				return fmt.Sprint(n, r.Args), nil
			} else if err != nil {
				return nil, err
			}
		}
	}}})
	var b bytes.Buffer
	text := strings.Repeat("some text\n", 100_000)
	last, status, err := Feed(t.Context(), path, strings.NewReader(text), &b, "upper", "x")
	if err != nil || status != StatusOK || string(last) != fmt.Sprintln(len(text), []string{"x"}) || b.String() != strings.ToUpper(text) {
		t.Errorf("%q, status %d, %v after %d bytes", last, status, err, b.Len())
	}
	<-begun
	if last, status, err = Feed(t.Context(), path, strings.NewReader(""), &b, "upper"); err != nil || status != StatusOK || string(last) != "0 []\n" {
		t.Errorf("%q, status %d, %v", last, status, err)
	}
	<-begun
	ctx, cancel := context.WithCancel(t.Context())
	in, _ := io.Pipe()
	defer in.Close()
	ended := make(chan error, 1)
	feed := func(ctx context.Context) {
		_, _, err := Feed(ctx, path, in, io.Discard, "upper")
		ended <- err
	}
	go feed(ctx)
	<-begun
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("a client that has enough: %v", err)
	}
	go feed(t.Context())
	<-begun
	if err := stop(); err != nil {
		t.Error(err)
	}
	if err := <-ended; err != nil {
		t.Errorf("a server that stops: %v", err)
	}
}
