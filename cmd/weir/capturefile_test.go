package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

// client is weir as a client of the router, beside it.
type client struct {
	*exec.Cmd
	t      *testing.T
	stderr bytes.Buffer
}

// client prepares a command of weir; the control socket comes behind its words.
func (w *weir) client(words ...string) *client {
	c := &client{t: w.t, Cmd: exec.CommandContext(w.t.Context(), executable(w.t), append(words, "--control", w.control)...)}
	c.Env = append(os.Environ(), asWeir+"=1", "GORACE=atexit_sleep_ms=0", "NO_COLOR=", "TERM=xterm")
	c.Stderr = &c.stderr
	return c
}

// captured is a capture that runs, into a file.
type captured struct {
	*client
	file string
}

// capture begins one, and returns when it is in force.
func (w *weir) capture(args ...string) *captured {
	w.t.Helper()
	c := &captured{file: filepath.Join(w.dir, fmt.Sprintf("capture-%d.pcapng", time.Now().UnixNano()))}
	c.client = w.client(append([]string{"capture", "-w", c.file}, args...)...)
	need(w.t, c.Start())
	eventually(w.t, "the capture begins", func() (bool, any) {
		info, err := os.Stat(c.file)
		return err == nil && info.Size() > 0, err
	})
	return c
}

// record is a packet of a capture.
type record struct {
	data      []byte
	length    int
	at        time.Time
	port      string
	direction pcapgo.NgEpbFlag
	comment   string
}

// interrupt ends the capture as Ctrl-C does, and returns what it has.
func (c *captured) interrupt() ([]record, map[string]uint64) {
	c.t.Helper()
	need(c.t, c.Process.Signal(syscall.SIGINT))
	return c.end()
}

// end waits for the end of the capture and returns its packets, and by port those lost.
func (c *captured) end() ([]record, map[string]uint64) {
	c.t.Helper()
	if err := c.Wait(); err != nil {
		c.t.Fatalf("capture: %v: %s", err, c.stderr.String())
	}
	file := must[*os.File](c.t)(os.Open(c.file))
	defer file.Close()
	records, lost := readCapture(c.t, file)
	sum := uint64(0)
	for _, n := range lost {
		sum += n
	}
	packets := "packets"
	if len(records) == 1 {
		packets = "packet"
	}
	if want := fmt.Sprintf("%d %s captured, %d lost by the capture\n", len(records), packets, sum); c.stderr.String() != want {
		c.t.Errorf("capture says %q, expected %q", c.stderr.String(), want)
	}
	return records, lost
}

// readCapture reads pcapng by another implementation's eyes, and checks what every capture has.
func readCapture(t *testing.T, in io.Reader) (records []record, lost map[string]uint64) {
	t.Helper()
	statistics := map[int]pcapgo.NgInterfaceStatistics{}
	r := must[*pcapgo.NgReader](t)(pcapgo.NewNgReader(in, pcapgo.NgReaderOptions{
		StatisticsCallback: func(i int, s pcapgo.NgInterfaceStatistics) { statistics[i] = s },
	}))
	count := map[string]uint64{}
	for {
		data, info, options, err := r.ReadPacketDataWithOptions()
		if errors.Is(err, io.EOF) {
			break
		}
		need(t, err)
		i := must[pcapgo.NgInterface](t)(r.Interface(info.InterfaceIndex))
		if i.TimestampResolution.Exponent() != 9 || i.LinkType != layers.LinkTypeEthernet {
			t.Fatalf("interface %+v", i)
		}
		rec := record{data: data, length: info.Length, at: info.Timestamp, port: i.Name, comment: strings.Join(options.Comments, "; ")}
		if options.Flags != nil {
			rec.direction = options.Flags.Direction
		}
		records = append(records, rec)
		count[i.Name]++
	}
	lost = map[string]uint64{}
	for i := range r.NInterfaces() {
		name := must[pcapgo.NgInterface](t)(r.Interface(i)).Name
		s, ok := statistics[i]
		if !ok || s.PacketsReceived != count[name]+s.PacketsDropped {
			t.Errorf("statistics of %s: %+v, there are %d packets", name, s, count[name])
		}
		if s.PacketsDropped > 0 {
			lost[name] = s.PacketsDropped
		}
	}
	return records, lost
}

// having keeps the records of the packet with the id, or that quote it.
func having(records []record, id uint32) (list []record) {
	for _, r := range records {
		if is(id)(r.data) {
			list = append(list, r)
		}
	}
	return list
}

// tshark runs the real one on a capture, and returns the fields asked for, a line a packet, separated by bars.
func tshark(t *testing.T, file string, fields ...string) []string {
	t.Helper()
	program(t, "tshark", "tshark")
	args := []string{"-r", file, "-T", "fields", "-E", "separator=|", "-o", "ip.check_checksum:TRUE"}
	for _, f := range fields {
		args = append(args, "-e", f)
	}
	out, err := exec.CommandContext(t.Context(), "tshark", args...).Output()
	if err != nil {
		t.Fatalf("tshark: %v: %s", err, err.(*exec.ExitError).Stderr)
	}
	return strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
}
