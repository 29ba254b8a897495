package main

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"weir/appliance"
	"weir/mgmt"
	"weir/policy/packet"
)

// TestShow: every noun as text and as JSON, with the figures of packets that were sent.
func TestShow(t *testing.T) {
	n, w := captureNetwork(t)
	from, to := n.ends[0], n.ends[1]
	to.watch()
	before := w.rest()
	const forwarded, dropped = 40, 7
	var size uint64
	for i := range forwarded + dropped {
		s := spec{src: from.addr4(), dst: to.addr4(), proto: 253, id: uint32(i), payload: 100 + i}
		if i >= forwarded {
			s.dst = netip.MustParseAddr("198.51.100.1")
		}
		f := from.frame(s)
		size += uint64(len(f))
		from.send(f)
	}
	eventually(t, "all packets have come", func() (bool, any) {
		s := w.look()
		return s.Totals.Received-before.Totals.Received >= forwarded+dropped, s.Totals
	})
	s := w.rest()
	was, is := before.Ports[0], s.Ports[0]
	if is.Received-was.Received < forwarded+dropped || is.ReceivedBytes-was.ReceivedBytes < size || is.Drops["blackhole"] != dropped || s.Ports[1].Drops["blackhole"] != 0 {
		t.Errorf("port em0 was %+v, is %+v", was, is)
	}
	if s.Ports[1].Transmitted-before.Ports[1].Transmitted < forwarded {
		t.Errorf("port em1 %+v", s.Ports[1])
	}
	var ports []appliance.PortState
	var queues []portQueue
	var drops []drop
	var neighbors []appliance.NeighborState
	var workers []appliance.WorkerState
	w.show(&ports, "ports")
	w.show(&queues, "queues")
	w.show(&drops, "drops")
	w.show(&neighbors, "neighbors")
	w.show(&workers, "workers")
	if len(ports) != 2 || ports[0].Name != "em0" || ports[0].Received != is.Received || ports[0].MTU != 1500 || ports[0].State != "up" || ports[0].MAC != from.portMAC().String() || ports[0].Queues != nil {
		t.Errorf("ports: %+v", ports)
	}
	if len(queues) != 2 || queues[1].Port != "em1" || queues[1].Transmitted != s.Ports[1].Transmitted || queues[1].Completed != queues[1].Transmitted {
		t.Errorf("queues: %+v", queues)
	}
	if len(drops) != 1 || drops[0].Reason != "blackhole" || drops[0].Help != packet.Blackhole.Help() || drops[0].Packets != dropped || drops[0].Ports["em0"] != dropped {
		t.Errorf("drops: %+v", drops)
	}
	i := slices.IndexFunc(neighbors, func(n appliance.NeighborState) bool { return n.Address == to.addr4().String() })
	if i < 0 || neighbors[i].State != "resolved" || neighbors[i].MAC != to.mac().String() || neighbors[i].Kernel == "" || neighbors[i].Since == nil ||
		neighbors[i].Used == nil || time.Since(*neighbors[i].Used) > time.Hour || time.Since(*neighbors[i].Since) > time.Hour {
		t.Errorf("neighbours: %+v", neighbors)
	}
	if len(workers) != 1 || workers[0].Packets != s.Totals.Received || workers[0].Batches == 0 || workers[0].Batches > workers[0].Packets || workers[0].Asleep <= 0 || workers[0].Asleep > workers[0].Uptime {
		t.Errorf("workers: %+v, totals %+v", workers, s.Totals)
	}
	for what, want := range map[string]string{
		"ports":     `em0 +up +copy +driver +veth +1500 +` + from.portMAC().String() + ` +` + count(is.Received) + ` +` + count(is.ReceivedBytes),
		"queues":    `em1 +0 +0 +\d+ +` + count(queues[1].Transmitted),
		"drops":     `blackhole +7 +em0 7 +rule or route of type blackhole`,
		"neighbors": to.addr4().String() + ` +em1 +` + to.mac().String() + ` +resolved +[a-z]+ +[0-9a-z.]+ +[0-9a-z.]+`,
		"workers":   `0 +\d+ +\d+\.\d% +` + count(s.Totals.Received) + ` +\d+ +\d+\.\d`,
		"counters":  `dropped +7\n +blackhole +7`,
	} {
		if out, status := w.call("show", what); status != mgmt.StatusOK || !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("show %s: status %d, does not say %q:\n%s", what, status, want, out)
		}
		if out, status := w.call("show", what, "more"); status != mgmt.StatusBadCommand {
			t.Errorf("show %s more: status %d: %s", what, status, out)
		}
	}
	need(t, n.router.SetDown("em1"))
	defer func() { need(t, n.router.SetUp("em1")) }()
	w.unbalanced = true
	eventually(t, "the link is down", func() (bool, any) {
		s := w.look()
		return s.Ports[1].State == "down", s.Ports[1].State
	})
}

// TestMonitorLines: elsewhere than on a terminal, a look is lines with the time, and rates that fit what was sent.
func TestMonitorLines(t *testing.T) {
	n, w := captureNetwork(t)
	from, to := n.ends[0], n.ends[1]
	c := w.client("monitor", "--interval", "100ms", "--count", "5")
	out := must[[]byte](t)(c.Output())
	line := regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d) (port em[01] in \d+ pkt/s \d+ bit/s out \d+ pkt/s \d+ bit/s dropped \d+ pkt/s link up|drop [a-z-]+ \d+ pkt/s|worker 0 cpu \d+ busy \d+\.\d% \d+ pkt/s \d+\.\d pkt/batch)$`)
	ports := 0
	for l := range strings.Lines(string(out)) {
		if !line.MatchString(strings.TrimSuffix(l, "\n")) {
			t.Errorf("line %q", l)
		}
		if strings.Contains(l, " port ") {
			ports++
		}
	}
	if ports != 2*5 {
		t.Errorf("%d lines for ports:\n%s", ports, out)
	}

	c = w.client("monitor", "--interval", "100ms")
	lines := must[*os.File](t)(os.Create(filepath.Join(w.dir, "lines")))
	defer lines.Close()
	c.Stdout = lines
	need(t, c.Start())
	eventually(t, "monitor shows something", func() (bool, any) { // until then an interrupt just ends it
		info := must[os.FileInfo](t)(lines.Stat())
		return info.Size() > 0, info.Size()
	})
	before := w.look()
	const packets = 300
	for i := range packets {
		s := spec{src: from.addr4(), dst: to.addr4(), proto: 253, id: uint32(i)}
		if i%3 == 0 {
			s.dst = netip.MustParseAddr("198.51.100.1")
		}
		from.sent(s)
	}
	n.exchange(from, to)
	after := w.rest()
	after.Uptime = before.Uptime + time.Second // rest takes the times out of a state
	rates := ratesOf(before, after, time.Now())
	if p := rates.ports[0]; p.in.packets < packets || p.dropped != packets/3 || rates.drops[0] != (dropRate{"blackhole", packets / 3}) || p.in.bits != 8*float64(after.Ports[0].ReceivedBytes-before.Ports[0].ReceivedBytes) {
		t.Errorf("rates %+v", rates)
	}
	need(t, c.Process.Signal(syscall.SIGINT))
	if err := c.Wait(); err != nil || c.stderr.Len() > 0 {
		t.Errorf("interrupted: %v: %s", err, c.stderr.String())
	}
	for _, args := range [][]string{{"--interval", "1ms"}, {"--count", "-1"}} {
		c := w.client(append([]string{"monitor"}, args...)...)
		if err := c.Run(); c.ProcessState.ExitCode() != exitUsage || c.stderr.Len() == 0 {
			t.Errorf("monitor %v: %v: %s", args, err, c.stderr.String())
		}
	}
}

func TestScaled(t *testing.T) {
	for x, want := range map[float64]string{0: "0", 1: "1", 999.4: "999", 1000: "1.00k", 1234: "1.23k", 9994: "9.99k", 9996: "10.0k", 99960: "100k", 999499: "999k",
		999500: "1.00M", 12.34e6: "12.3M", 1e9: "1.00G", 5e15: "5000T"} {
		if got := scaled(x); got != want {
			t.Errorf("%v is %s, expected %s", x, got, want)
		}
	}
}

// terminal is a pseudo-terminal: what a program writes to file can be read from master.
type terminal struct {
	fd           int // of master
	master, file *os.File
}

func newTerminal(t *testing.T, columns, rows uint16) terminal {
	t.Helper()
	fd := must[int](t)(unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0))
	master := os.NewFile(uintptr(fd), "/dev/ptmx") // not blocking, so that a deadline ends a read
	t.Cleanup(func() { master.Close() })
	need(t, unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0), master.SetReadDeadline(time.Now().Add(30*time.Second)))
	number := must[int](t)(unix.IoctlGetInt(fd, unix.TIOCGPTN))
	file := must[*os.File](t)(os.OpenFile("/dev/pts/"+strconv.Itoa(number), os.O_RDWR|unix.O_NOCTTY, 0))
	t.Cleanup(func() { file.Close() })
	tt := terminal{fd, master, file}
	tt.resize(t, columns, rows)
	return tt
}

func (tt terminal) resize(t *testing.T, columns, rows uint16) {
	need(t, unix.IoctlSetWinsize(tt.fd, unix.TIOCSWINSZ, &unix.Winsize{Col: columns, Row: rows}))
}

// TestMonitorTerminal: on a terminal the table is drawn in place, within its size also when that changes, without styles under
// NO_COLOR, and Ctrl-C leaves the cursor as it was.
func TestMonitorTerminal(t *testing.T) {
	_, w := captureNetwork(t)
	escape := regexp.MustCompile("\x1b\\[[0-9;?]*[a-zA-Z]")
	for _, noColor := range []string{"", "1"} {
		t.Run("NO_COLOR="+noColor, func(t *testing.T) {
			tt := newTerminal(t, 100, 30)
			c := w.client("monitor", "--interval", "100ms")
			c.Env = append(c.Env, "NO_COLOR="+noColor)
			c.Stdin, c.Stdout, c.Stderr = tt.file, tt.file, tt.file
			c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
			need(t, c.Start())
			need(t, tt.file.Close())
			var seen bytes.Buffer
			read := func(until func(frames []string) bool) []string {
				t.Helper()
				chunk := make([]byte, 4096)
				for {
					frames := strings.Split(seen.String(), screenHome)
					if complete := frames[1:max(1, len(frames)-1)]; until(complete) {
						return complete
					}
					n, err := tt.master.Read(chunk)
					if err != nil {
						t.Fatalf("%v after %q", err, seen.String())
					}
					seen.Write(chunk[:n])
				}
			}
			frames := read(func(frames []string) bool { return len(frames) >= 3 })
			for _, want := range []string{"PORT", "IN PKT/S", "em0", "em1", "WORKER", "BUSY", "DROPPED", "generation 1"} {
				if !strings.Contains(frames[2], want) {
					t.Errorf("the table has no %s:\n%s", want, frames[2])
				}
			}
			if styled := strings.Contains(seen.String(), styleBold); styled == (noColor != "") {
				t.Errorf("styles: %v, with NO_COLOR=%q", styled, noColor)
			}
			const columns, rows = 24, 6
			tt.resize(t, columns, rows)
			read(func(frames []string) bool {
				last := ""
				if len(frames) > 0 {
					last = escape.ReplaceAllString(frames[len(frames)-1], "")
				}
				lines := strings.Split(strings.TrimSuffix(last, "\r\n"), "\r\n")
				fits := len(lines) == rows-1
				for _, l := range lines {
					fits = fits && utf8.RuneCountInString(l) <= columns
				}
				return fits && last != ""
			})
			must[int](t)(tt.master.Write([]byte{3})) // Ctrl-C
			if err := c.Wait(); err != nil {
				t.Errorf("after Ctrl-C: %v", err)
			}
			rest := make([]byte, 1<<16)
			for {
				n, err := tt.master.Read(rest)
				seen.Write(rest[:n])
				if err != nil { // EIO: nobody has the terminal any more
					break
				}
			}
			if i := strings.LastIndex(seen.String(), cursorShow); i < strings.LastIndex(seen.String(), cursorHide) {
				t.Errorf("the cursor stays hidden: %q", seen.String()[max(0, seen.Len()-200):])
			}
			if text := seen.String(); strings.Contains(text, "goroutine") || strings.Contains(text, "weir:") {
				t.Errorf("it said %q", text)
			}
		})
	}
	c := w.client("capture")
	tt := newTerminal(t, 80, 24)
	c.Stdout = tt.file
	if err := c.Run(); c.ProcessState.ExitCode() != exitUsage {
		t.Errorf("a capture on a terminal: %v", err)
	}
}
