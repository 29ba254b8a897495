package appliance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"weir/policy/packet"
)

// CaptureReport is what came of a capture.
type CaptureReport struct {
	Captured   uint64             `json:"captured"`
	Lost       uint64             `json:"lost"` // selected, but there was no room to copy them
	Interfaces []CaptureInterface `json:"interfaces"`
}

// CaptureInterface is a port's part of it.
type CaptureInterface struct {
	Port     string `json:"port"`
	Captured uint64 `json:"captured"`
	Lost     uint64 `json:"lost"`
}

// String is the report for people.
func (r CaptureReport) String() string {
	packets := "packets"
	if r.Captured == 1 {
		packets = "packet"
	}
	return fmt.Sprintf("%d %s captured, %d lost by the capture", r.Captured, packets, r.Lost)
}

// Capture writes packets to out as pcapng until the context ends, the count is reached, or out fails. The header is
// written when the capture has begun: from then on nothing selected is missed without being counted. There is an interface for
// each logical port; times are of the worker's look at the packet, in ns. What was dropped says why in a comment.
//
// At the end the interfaces' statistics say how many packets were lost.
func (r *Router) Capture(ctx context.Context, o CaptureOptions, out io.Writer) (report CaptureReport, err error) {
	c, err := r.startCapture(o)
	if err != nil {
		return report, err
	}
	w := captureWriter{capture: c, out: out, captured: make([]uint64, interfacesMax)}
	err = w.open()
	for err == nil && !w.full() && c.wait(ctx) {
		err = w.drain(ctx)
	}
	err = errors.Join(err, r.stopCapture(c))
	if err == nil {
		// What was captured before the workers left, and ports of which all was lost.
		err = errors.Join(w.drain(context.Background()), w.addInterfaces())
	}
	report = w.report()
	return report, errors.Join(err, w.finish(err == nil, report))
}

// wait returns true when there is something to write, and false when the context has ended.
func (c *capture) wait(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return false
	case <-c.bell:
		return true
	}
}

// captureWriter writes what one capture has in its rings.
type captureWriter struct {
	*capture
	out      io.Writer
	ng       *pcapgo.NgWriter
	total    uint64
	captured []uint64 // by interface
	written  int      // interfaces that out knows
}

func (w *captureWriter) full() bool { return w.options.Count > 0 && w.total >= w.options.Count }

// open writes the header, with the interfaces that there are.
func (w *captureWriter) open() (err error) {
	options := pcapgo.NgWriterOptions{SectionInfo: pcapgo.NgSectionInfo{Hardware: runtime.GOARCH, OS: runtime.GOOS, Application: "weir"}}
	w.ng, err = pcapgo.NewNgWriterInterface(w.out, w.describe(w.known()[0]), options)
	if err != nil {
		return fmt.Errorf("write capture: %w", err)
	}
	w.written = 1
	return errors.Join(w.addInterfaces(), w.flush())
}

func (w *captureWriter) describe(port string) pcapgo.NgInterface {
	return pcapgo.NgInterface{
		Name: port, Comment: strings.Join(w.options.Filter, " "), OS: runtime.GOOS,
		LinkType: layers.LinkTypeEthernet, SnapLength: uint32(w.options.SnapLength), TimestampResolution: 9,
	}
}

// addInterfaces describes those that have come since.
func (w *captureWriter) addInterfaces() error {
	names := w.known()
	for ; w.written < len(names); w.written++ {
		if _, err := w.ng.AddInterface(w.describe(names[w.written])); err != nil {
			return fmt.Errorf("write capture: %w", err)
		}
	}
	return nil
}

func (w *captureWriter) known() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.names
}

func (w *captureWriter) flush() error {
	if err := w.ng.Flush(); err != nil {
		return fmt.Errorf("write capture: %w", err)
	}
	return nil
}

// drain writes what the rings have, the oldest first, and flushes.
func (w *captureWriter) drain(ctx context.Context) error {
	for ctx.Err() == nil && !w.full() {
		var oldest *captureRing
		for _, ring := range w.rings {
			if p := ring.queue.front(); p != nil && (oldest == nil || p.time < oldest.queue.front().time) {
				oldest = ring
			}
		}
		if oldest == nil {
			break
		}
		if err := w.write(oldest.queue.front()); err != nil {
			return err
		}
		oldest.queue.pop()
	}
	return w.flush()
}

var captureDirections = [...]pcapgo.NgEpbFlag{
	pointIn: pcapgo.NgEpbFlagDirectionInbound, pointOut: pcapgo.NgEpbFlagDirectionOutbound, pointDrop: pcapgo.NgEpbFlagDirectionInbound,
}

func (w *captureWriter) write(p *captured) error {
	if int(p.iface) >= w.written {
		if err := w.addInterfaces(); err != nil {
			return err
		}
	}
	options := pcapgo.NgPacketOptions{Flags: &pcapgo.NgEpbFlags{Direction: captureDirections[p.point]}}
	if p.point == pointDrop {
		options.Comments = []string{dropComment(p.reason)}
	}
	info := gopacket.CaptureInfo{Timestamp: time.Unix(0, p.time+w.offset), CaptureLength: p.n, Length: int(p.length), InterfaceIndex: int(p.iface)}
	if err := w.ng.WritePacketWithOptions(info, p.data[:p.n], options); err != nil {
		return fmt.Errorf("write capture: %w", err)
	}
	w.captured[p.iface]++
	w.total++
	return nil
}

// dropComment says why a packet was dropped, as the counters do.
func dropComment(reason packet.Reason) string {
	return "dropped: " + reason.String() + ": " + reason.Help()
}

// report counts, once no worker writes any more.
func (w *captureWriter) report() CaptureReport {
	r := CaptureReport{Captured: w.total}
	for i, name := range w.known()[:w.written] {
		n := CaptureInterface{Port: name, Captured: w.captured[i]}
		for _, ring := range w.rings {
			n.Lost += ring.lost[i].Load()
		}
		r.Lost += n.Lost
		r.Interfaces = append(r.Interfaces, n)
	}
	return r
}

// finish writes the statistics, if out is there to take them.
func (w *captureWriter) finish(writable bool, r CaptureReport) error {
	if !writable {
		return nil
	}
	now := time.Now()
	for i, n := range r.Interfaces {
		err := w.ng.WriteInterfaceStats(i, pcapgo.NgInterfaceStatistics{
			LastUpdate: now, PacketsReceived: n.Captured + n.Lost, PacketsDropped: n.Lost,
		})
		if err != nil {
			return fmt.Errorf("write capture: %w", err)
		}
	}
	return w.flush()
}
