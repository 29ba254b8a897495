package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"weir/mgmt"
	"weir/perf/lab"
	"weir/policy/packet"
)

// captureNetwork is em0 and em1, with routes to every kind of end.
func captureNetwork(t *testing.T) (*network, *weir) {
	n := newNetwork(t, "em0", "em1")
	w := n.start(n.config(fmt.Sprintf(`
tables:
  main:
    id: 254
    routes:
      - {to: 203.0.113.0/24, via: %s}
      - {to: 198.51.100.0/24, type: blackhole}
      - {to: 192.0.2.0/24, type: prohibit}
`, n.ends[1].addr4())))
	n.warm([2]*end{n.ends[0], n.ends[1]})
	return n, w
}

// TestCapture: a capture has every packet as it came in and as it ended, each on its port, byte by byte, and what was
// dropped says why; tshark reads the same.
func TestCapture(t *testing.T) {
	n, w := captureNetwork(t)
	from, to := n.ends[0], n.ends[1]
	arrived, back := to.watch(), from.watch()
	begin := time.Now()
	c := w.capture()
	type kind struct {
		spec
		reason packet.Reason // None: forwarded
	}
	var sent []kind
	frames := map[uint32][]byte{}
	for i, s := range []kind{
		{spec{dst: to.addr4(), sport: 7, dport: 9}, packet.None},
		{spec{src: from.addr6(), dst: to.addr6(), proto: layers.IPProtocolTCP, sport: 7, dport: 80}, packet.None},
		{spec{dst: netip.MustParseAddr("203.0.113.5"), proto: 253, payload: 1400, tos: 0xb8}, packet.None},
		{spec{dst: netip.MustParseAddr("198.51.100.1")}, packet.Blackhole},
		{spec{dst: netip.MustParseAddr("192.0.2.1")}, packet.Prohibit},
		{spec{dst: netip.MustParseAddr("100.64.0.1")}, packet.NoRoute},
		{spec{dst: to.addr4(), ttl: 1}, packet.TTLExceeded},
		{spec{src: from.addr6(), dst: to.addr6(), ttl: 1}, packet.TTLExceeded},
		{spec{src: netip.MustParseAddr("127.0.0.5"), dst: to.addr4()}, packet.Martian},
		{spec{src: to.gateway4(), dst: to.addr4()}, packet.OwnSource},
		{spec{dst: to.addr4(), tags: []uint16{77}}, packet.UnknownVLAN},
		{spec{dst: to.addr4(), proto: 254}, packet.BadChecksum},
		{spec{dst: to.addr4(), proto: 253, payload: 700}, packet.None},
	} {
		if !s.src.IsValid() {
			s.src = from.addr4()
		}
		s.id = uint32(1000 + i)
		f := from.frame(s.spec)
		if s.reason == packet.BadChecksum {
			f[24] ^= 0xff
		}
		frames[s.id] = f
		sent = append(sent, s)
		from.send(f)
	}
	n.exchange(from, to)
	w.rest()
	records, lost := c.interrupt()
	end := time.Now()
	if len(lost) > 0 {
		t.Errorf("lost %v", lost)
	}
	last := begin
	for i, r := range records {
		if r.at.Before(last) || r.at.After(end) {
			t.Errorf("record %d is of %v, after one of %v", i, r.at, last)
		}
		last = r.at
	}
	for _, s := range sent {
		list := having(records, s.id)
		if s.reason == packet.None {
			is := arrived.await(t, "packet", is(s.id))
			list = slices.DeleteFunc(list, func(r record) bool { return !from.mine(r.data) }) // a host may answer
			if len(list) != 2 || list[0].port != "em0" || list[0].direction != pcapgo.NgEpbFlagDirectionInbound || !bytes.Equal(list[0].data, frames[s.id]) ||
				list[1].port != "em1" || list[1].direction != pcapgo.NgEpbFlagDirectionOutbound || !bytes.Equal(list[1].data, is) {
				t.Errorf("packet %d sent %x, arrived %x, captured %+v", s.id, frames[s.id], is, list)
			}
			continue
		}
		drops := slices.DeleteFunc(slices.Clone(list), func(r record) bool { return r.comment == "" })
		want := "dropped: " + s.reason.String() + ": " + s.reason.Help()
		if len(drops) != 1 || drops[0].comment != want || drops[0].port != "em0" || !bytes.Equal(list[0].data, frames[s.id]) || list[0].comment != "" || drops[0].length != len(frames[s.id]) {
			t.Errorf("packet %d, dropped for %v: %+v", s.id, s.reason, list)
		}
		for _, answer := range list[2:] {
			got := back.await(t, "answer", func(f []byte) bool { return is(s.id)(f) })
			if answer.direction != pcapgo.NgEpbFlagDirectionOutbound || answer.port != "em0" || !bytes.Equal(answer.data, got) {
				t.Errorf("answer to packet %d: %+v, arrived %x", s.id, answer, got)
			}
		}
	}

	lines := tshark(t, c.file, "frame.interface_name", "frame.packet_flags_direction", "frame.comment", "frame.len", "frame.time_epoch", "_ws.malformed")
	if len(lines) != len(records) {
		t.Fatalf("tshark reads %d packets, not %d", len(lines), len(records))
	}
	for i, line := range lines {
		r := records[i]
		direction := fmt.Sprintf("0x%08x", uint32(r.direction))
		if want := fmt.Sprintf("%s|%s|%s|%d|%d.%09d|", r.port, direction, r.comment, r.length, r.at.Unix(), r.at.Nanosecond()); line != want {
			t.Errorf("tshark reads packet %d as\n%s\nexpected\n%s", i, line, want)
		}
	}
}

// exchange sends a last packet each way: when it has arrived, the router is done with all before.
func (n *network) exchange(a, b *end) {
	n.t.Helper()
	for _, d := range [][2]*end{{a, b}, {b, a}} {
		sentinel++
		s := spec{src: d[0].addr4(), dst: d[1].addr4(), id: sentinel, proto: 253}
		frames := d[1].watch()
		d[0].send(d[0].frame(s))
		frames.await(n.t, "last packet", is(s.id))
	}
}

// TestCaptureOptions: what is selected is captured, and nothing else.
func TestCaptureOptions(t *testing.T) {
	n, w := captureNetwork(t)
	from, to := n.ends[0], n.ends[1]
	ids := func(list ...uint32) []uint32 { return list }
	for _, group := range [][]struct {
		args []string
		want []uint32 // ids; one that is seen twice, twice
	}{
		{
			{[]string{"--direction", "in"}, ids(1, 2, 3, 4, 5)},
			{[]string{"--direction", "out"}, ids(1, 2, 4)},
			{[]string{"--dropped"}, ids(3, 5)},
			{[]string{"--port", "em1"}, ids(1, 2, 4)},
		}, {
			{[]string{"--filter", "proto=udp dport=53"}, ids(1, 1)},
			{[]string{"--filter", "dst=198.51.100.0/24,fd00::/16"}, ids(2, 2, 3, 3)},
			{[]string{"--filter", "iif=em1", "--direction", "out"}, ids(4)},
			{[]string{"--port", "em0", "--port", "em1", "--filter", "src!=10.0.0.0/24"}, ids(4, 4, 5, 5)},
		}, {
			{[]string{"--count", "3", "--direction", "in", "--filter", "proto!=253 iif=em0"}, ids(1, 2, 3)},
			{[]string{"--snaplen", "100", "--filter", "proto=tcp length=400-1500"}, ids(2, 2)},
			{[]string{"--dropped", "--filter", "iif=em0"}, ids(3, 5)},
			{[]string{"--dropped", "--filter", "iif=em1"}, ids()},
		},
	} {
		var running []*captured
		for _, c := range group {
			running = append(running, w.capture(c.args...))
		}
		if _, status := w.call("capture"); status != mgmt.StatusRefused {
			t.Errorf("a fifth capture: status %d", status)
		}
		from.sent(
			spec{src: from.addr4(), dst: to.addr4(), dport: 53, id: 1},
			spec{src: from.addr6(), dst: to.addr6(), proto: layers.IPProtocolTCP, payload: 500, id: 2},
			spec{src: from.addr4(), dst: netip.MustParseAddr("198.51.100.9"), id: 3},
		)
		n.exchange(from, to)
		to.sent(spec{src: to.addr4(), dst: from.addr4(), proto: layers.IPProtocolICMPv4, id: 4})
		n.exchange(to, from)
		from.sent(spec{src: netip.MustParseAddr("127.0.0.1"), dst: to.addr4(), dport: 99, id: 5})
		n.exchange(from, to)
		w.rest()
		for i, c := range group {
			var records []record
			if slices.Contains(c.args, "--count") { // it has ended by itself
				records, _ = running[i].end()
			} else {
				records, _ = running[i].interrupt()
			}
			var got []uint32
			for _, r := range records {
				if id, ok := idOf(r.data); ok && id < 1000 && (len(r.data) < r.length || from.mine(r.data)) {
					got = append(got, id)
				}
			}
			slices.Sort(got) // a batch that came in is captured before any of it goes out
			if !slices.Equal(got, c.want) {
				t.Errorf("capture %q has %d, expected %d", c.args, got, c.want)
			}
			if slices.Contains(c.args, "--snaplen") {
				for _, r := range records {
					if len(r.data) != 100 || r.length < 500 {
						t.Errorf("%d of %d bytes kept", len(r.data), r.length)
					}
				}
			}
		}
	}
	for args, want := range map[string]string{
		"--filter src=x": `src: "x" is not an address`, "--filter iif=em9": `no port "em9"`, "--port em9": `no port "em9"`, "--filter nonsense": "not name=value",
	} {
		c := w.client(append([]string{"capture"}, strings.SplitN(args, " ", 2)...)...)
		out, err := c.Output()
		if err == nil || len(out) > 0 || !strings.Contains(c.stderr.String(), want) {
			t.Errorf("capture %s: %v, %q, %q", args, err, out, c.stderr.String())
		}
	}
	for _, words := range []string{"direction=up", "count=x", "snaplen=-1", "duration=0s", "dropped=1", "dropped direction=out"} {
		if out, status := w.call(append([]string{"capture"}, strings.Fields(words)...)...); status != mgmt.StatusBadCommand {
			t.Errorf("capture %s: status %d: %s", words, status, out)
		}
	}
	if out, status := w.call("capture", "duration=1ms", "|", "json"); status != mgmt.StatusOK || !strings.HasSuffix(out, `"captured":0,"lost":0,"interfaces":[{"port":"em0","captured":0,"lost":0},{"port":"em1","captured":0,"lost":0}]}`+"\n") {
		t.Errorf("capture of 1 ms: status %d, %q", status, out)
	}
}

// mine reports whether a frame is one of a spec and not an error that quotes it.
func (e *end) mine(f []byte) bool {
	k := parsed(e.n.t, f)
	return k.Proto != packet.ProtoICMP && k.Proto != packet.ProtoICMPv6 || k.ICMPType == uint8(layers.ICMPv4TypeEchoRequest)
}

// TestCapturePipe: into tshark, as people do it.
func TestCapturePipe(t *testing.T) {
	program(t, "tshark", "tshark")
	n, w := captureNetwork(t)
	from, to := n.ends[0], n.ends[1]
	c := w.client("capture", "-w", "-", "--direction", "in", "--filter", "dport=4000-4002", "--count", "3")
	shark := exec.CommandContext(t.Context(), "tshark", "-r", "-", "-T", "fields", "-e", "udp.dstport")
	shark.Stdin = must[io.ReadCloser](t)(c.StdoutPipe())
	out := must[io.ReadCloser](t)(shark.StdoutPipe())
	need(t, c.Start(), shark.Start())
	ended := make(chan error, 1)
	var text []byte
	go func() {
		var err error
		text, err = io.ReadAll(out)
		ended <- errors.Join(err, shark.Wait(), c.Wait())
	}()
	for port := uint16(4000); ; port++ { // until it has seen enough
		select {
		case err := <-ended:
			need(t, err)
			if got := strings.Fields(string(text)); len(got) != 3 || slices.ContainsFunc(got, func(p string) bool { return p < "4000" || p > "4002" }) {
				t.Errorf("tshark printed %q", text)
			}
			return
		default:
			from.sent(spec{src: from.addr4(), dst: to.addr4(), dport: 4000 + port%4})
			n.exchange(from, to)
		}
	}
}

// TestCaptureOverload: a capture that nobody reads loses packets and counts each; the router loses none for it.
func TestCaptureOverload(t *testing.T) {
	n, w := captureNetwork(t)
	from, to := n.ends[0], n.ends[1]
	c := w.client("capture", "-w", "-", "--direction", "in", "--filter", "proto=udp dport=7000")
	out := must[io.ReadCloser](t)(c.StdoutPipe())
	need(t, c.Start())
	var first [4096]byte
	k := must[int](t)(out.Read(first[:])) // the header: it has begun
	receiver := must[*lab.UDPReceiver](t)(to.ListenUDP(netip.AddrPortFrom(to.addr4(), 7000)))
	sent := <-stream(t.Context(), from.Host, lab.UDPOptions{To: receiver.Address(), Count: 12_000, Size: 1000, Rate: perSecond(10_000)})
	late := delivered(t, w, delivery{sent, []*lab.UDPReceiver{receiver}})
	if s := w.rest(); s.Totals.Dropped > 0 {
		t.Errorf("drops: %v", s.Totals.Drops)
	}
	need(t, c.Process.Signal(syscall.SIGINT))
	records, lost := readCapture(t, io.MultiReader(bytes.NewReader(first[:k]), out))
	need(t, c.Wait())
	if got := uint64(len(records)) + lost["em0"]; lost["em0"] == 0 || got != sent.sent.Packets-late {
		t.Errorf("captured %d packets and lost %d of %d, %d of them late", len(records), lost["em0"], sent.sent.Packets, late)
	}
	if want := fmt.Sprintf("%d packets captured, %d lost by the capture\n", len(records), lost["em0"]); c.stderr.String() != want {
		t.Errorf("capture says %q, expected %q", c.stderr.String(), want)
	}
}

// TestCaptureOutlives: a capture goes on through commits that bring ports and take them away; clients that are killed leave
// nothing behind; the router that stops ends those that are left in order.
func TestCaptureOutlives(t *testing.T) {
	n := newNetwork(t, "em0", "em1", "em2")
	from, to, late := n.ends[0], n.ends[1], n.ends[2]
	w := n.start(n.config("", "em0", "em1"))
	n.warm([2]*end{from, to})
	c := w.capture("--filter", "proto=253")
	n.exchange(from, to)
	w.write(n.config(""))
	w.reload()
	n.warm([2]*end{from, late})
	n.exchange(from, late)
	w.write(n.config("", "em0", "em2"))
	w.reload()
	n.exchange(from, late)
	records, lost := c.interrupt()
	var got []string
	for _, r := range records {
		got = append(got, r.port)
	}
	want := strings.Fields("em0 em1 em1 em0 em0 em2 em2 em0 em0 em2 em2 em0")
	if !slices.Equal(got, want) || len(lost) > 0 {
		t.Errorf("captured on %v, lost %v, expected %v", got, lost, want)
	}

	for range 3 {
		var killed []*captured
		for range 4 {
			killed = append(killed, w.capture())
		}
		receiver := must[*lab.UDPReceiver](t)(late.ListenUDP(netip.AddrPortFrom(late.addr4(), 7000)))
		streams := stream(t.Context(), from.Host, lab.UDPOptions{To: receiver.Address(), Count: 2000, Size: 64, Rate: perSecond(10_000)})
		eventually(t, "packets are captured", func() (bool, any) {
			info, err := os.Stat(killed[0].file)
			return err == nil && info.Size() > 10_000, err
		})
		for _, c := range killed {
			need(t, c.Process.Kill())
			_ = c.Wait()
		}
		delivered(t, w, delivery{<-streams, []*lab.UDPReceiver{receiver}})
		need(t, receiver.Close())
		eventually(t, "the captures are gone", func() (bool, any) {
			_, status := w.call("capture", "duration=1ms")
			return status == mgmt.StatusOK, status
		})
	}

	c = w.capture("--filter", "proto=253")
	n.exchange(from, late)
	w.finish()
	if records, _ := c.end(); len(records) != 4 {
		t.Errorf("a capture that the router ended has %d packets", len(records))
	}
}
