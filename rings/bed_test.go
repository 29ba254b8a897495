package rings

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"testing"

	"weir/perf/lab"
)

// bed is the laboratory of the wire tests: a router with a port towards each of two hosts.
//
//	left ── em0 router em1 ── right
type bed struct {
	tb     testing.TB
	router *lab.Host
	hosts  [2]*lab.Host
	links  [2]*lab.Link
	steer  *Switch
}

// ports are the names of the router's ports, by the side that they are on.
var ports = [2]string{"em0", "em1"}

// openers are those who open the first socket of a UMEM. They pass the same tests.
var openers = []struct {
	name string
	with UMEMOptions
}{
	{"library", UMEMOptions{Opener: OpenLibrary}},
	{"own", UMEMOptions{Opener: OpenOwn}},
	{"own huge", UMEMOptions{Opener: OpenOwn, HugePages: true}},
}

// eachOpener runs a test with every opener. The options have its settings and small dimensions.
func eachOpener(t *testing.T, test func(*testing.T, UMEMOptions)) {
	for _, o := range openers {
		t.Run(o.name, func(t *testing.T) {
			o.with.Frames, o.with.FrameSize, o.with.RingSize = 1024, 2048, 128
			test(t, o.with)
		})
	}
}

func newBed(tb testing.TB, o lab.LinkOptions) *bed {
	tb.Helper()
	l := lab.ForTest(tb)
	host := must[*lab.Host](tb)
	b := &bed{tb: tb, hosts: [2]*lab.Host{host(l.Host("left")), host(l.Host("right"))}, router: host(l.Host("router"))}
	for side, h := range b.hosts {
		b.links[side] = must[*lab.Link](tb)(l.Link(h, "eth0", b.router, ports[side], o))
	}
	b.steer = must[*Switch](tb)(NewSwitch())
	tb.Cleanup(func() {
		if err := b.steer.Close(); err != nil {
			tb.Error(err)
		}
	})
	return b
}

// inside runs f in the router's namespace.
func (b *bed) inside(f func() error) {
	b.tb.Helper()
	check(b.tb, b.router.Do(f))
}

// port opens the port of a side; the test's end closes it, unless the test has.
func (b *bed) port(side int, mode Mode) (p *Port) {
	b.tb.Helper()
	b.inside(func() (err error) {
		p, err = b.steer.OpenPort(ports[side], mode)
		return err
	})
	b.tb.Cleanup(func() { b.closePort(p) })
	return p
}

func (b *bed) closePort(p *Port) {
	b.tb.Helper()
	if err := b.router.Do(p.Close); err != nil {
		b.tb.Error(err)
	}
}

// umem opens a queue of a port with new memory; the test's end closes both, unless the test has.
func (b *bed) umem(p *Port, index int, o UMEMOptions) (u *UMEM, q *Queue) {
	b.tb.Helper()
	b.inside(func() (err error) {
		u, q, err = p.OpenUMEM(index, o)
		return err
	})
	b.tb.Cleanup(func() {
		if err := u.Close(); err != nil {
			b.tb.Error(err)
		}
	})
	b.closeLater(p, q)
	return u, q
}

// queue opens another queue over memory that there is.
func (b *bed) queue(p *Port, index int, u *UMEM) (q *Queue) {
	b.tb.Helper()
	b.inside(func() (err error) {
		q, err = p.OpenQueue(index, u)
		return err
	})
	b.closeLater(p, q)
	return q
}

func (b *bed) closeLater(p *Port, q *Queue) {
	b.tb.Cleanup(func() {
		if err := p.CloseQueue(q); err != nil {
			b.tb.Error(err)
		}
	})
}

// frames opens a packet socket on the host of a side.
func (b *bed) frames(side int) *lab.FrameSocket {
	b.tb.Helper()
	f := must[*lab.FrameSocket](b.tb)(b.hosts[side].OpenFrames("eth0"))
	b.tb.Cleanup(func() { f.Close() })
	return f
}

func (b *bed) mac(h *lab.Host, device string) net.HardwareAddr {
	b.tb.Helper()
	return must[net.HardwareAddr](b.tb)(h.MAC(device))
}

// hostMAC is the address of the host of a side.
func (b *bed) hostMAC(side int) net.HardwareAddr { return b.mac(b.hosts[side], "eth0") }

// Offsets in test frames: Ethernet 14, IPv4 20, UDP 8, then flow and sequence number.
const (
	flowAt   = 42
	seqAt    = 46
	frameMin = 60
	frameMax = 1514
)

// transit is a UDP packet from nowhere here to nowhere here. Its length and its content follow from its flow and its
// sequence number. Flows differ in their ports.
func transit(dst, src net.HardwareAddr, flow, seq uint32) []byte {
	f := make([]byte, frameMin+int(flow*31+seq*97)%(frameMax-frameMin+1))
	copy(f, dst)
	copy(f[6:], src)
	be := binary.BigEndian
	be.PutUint16(f[12:], 0x0800)
	f[14] = 0x45
	be.PutUint16(f[16:], uint16(len(f)-14))
	f[22], f[23] = 64, 17
	copy(f[26:], []byte{192, 0, 2, 99, 198, 51, 100, 99})
	sum := uint32(0)
	for i := 14; i < 34; i += 2 {
		sum += uint32(be.Uint16(f[i:]))
	}
	sum = sum>>16 + sum&0xffff
	be.PutUint16(f[24:], ^uint16(sum+sum>>16))
	be.PutUint16(f[34:], uint16(20000+flow))
	be.PutUint16(f[36:], 9)
	be.PutUint16(f[38:], uint16(len(f)-34))
	be.PutUint32(f[flowAt:], flow)
	be.PutUint32(f[seqAt:], seq)
	for i := seqAt + 4; i < len(f); i++ {
		f[i] = byte(seq + uint32(i))
	}
	return f
}

// identify tells transit frames from whatever else is on a wire.
func identify(frame []byte) (flow, seq uint32, ok bool) {
	if len(frame) < frameMin || frame[12] != 8 || frame[13] != 0 || frame[23] != 17 || frame[37] != 9 {
		return 0, 0, false
	}
	return binary.BigEndian.Uint32(frame[flowAt:]), binary.BigEndian.Uint32(frame[seqAt:]), true
}

var errDamaged = errors.New("frame is damaged")

// intact compares a transit frame with what was sent.
func intact(frame []byte, dst, src net.HardwareAddr) (flow, seq uint32, err error) {
	flow, seq, ok := identify(frame)
	if !ok || !bytes.Equal(frame, transit(dst, src, flow, seq)) {
		return flow, seq, errDamaged
	}
	return flow, seq, nil
}

// wantCensus fails if chunks are lost, or elsewhere than said.
func wantCensus(tb testing.TB, u *UMEM, free, worker int) {
	tb.Helper()
	c := u.Census()
	if total := len(u.place); c.sum() != total || c.Free != free || c.Worker != worker || len(u.free) != free {
		tb.Fatalf("%d chunks of %d: %d free (%d on the stack), %d with the worker; want %d and %d",
			c.sum(), total, c.Free, len(u.free), c.Worker, free, worker)
	}
}
