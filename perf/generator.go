package perf

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"weir/perf/lab"
	"weir/perf/trial"
)

// stream describes the packets that a generator sends: UDP over IPv4, to addresses × ports flows in turn.
type stream struct {
	device    string
	src, dst  net.HardwareAddr
	from      netip.Addr // source address
	to        netip.Addr // first destination
	addresses int        // destinations, consecutive; or, where they are listed, as many as are
	listed    []netip.Addr
	ports     int    // source ports, consecutive
	port      uint16 // destination port: what the counter knows the stream by
	sizes     trial.Sizes
	cpu       int // that it runs on
}

const (
	streamPort      = 9 // discard (RFC 863)
	streamFirstPort = 1024
	clockShift      = 16 // CLOCK_SHIFT of generator.c
	batchMax        = 64
	unpacedMax      = 20e6
	fcsLen          = 4    // frame check sequence, which the sizes of frames count and memory does not hold
	sizeMax         = 1518 // Ethernet's
	burstPackets    = 16   // what veth moves at once (DEV_MAP_BULK_SIZE)
)

// pace is what makes the generator send at a rate.
type pace struct {
	interval uint64 // between packets, in 1/65536 ns; 0: as fast as possible
	burst    uint64 // time that it may catch up
	batch    uint32 // frames that the kernel runs the program over before it passes them on
	limit    uint64 // packets
	end      uint64 // ns
}

// paceFor computes the pace of a rate in packets per second (0: as fast as possible, which no machine can at more than
// unpacedMax) for a time.
func paceFor(rate float64, window time.Duration) pace {
	p := pace{batch: batchMax, limit: uint64(unpacedMax * window.Seconds()), end: uint64(window)}
	if rate <= 0 {
		return p
	}
	p.interval = uint64(math.Round(1e9 * (1 << clockShift) / rate))
	p.burst = burstPackets * p.interval
	p.limit = uint64(math.Round(rate * window.Seconds()))
	// A batch is on its way when its last frame is due. So that the first waits 200 µs for that at most:
	p.batch = uint32(min(max(rate*200e-6, 1), batchMax))
	return p
}

// generator sends a stream. It is not for concurrent use.
type generator struct {
	host    *lab.Host
	stream  stream
	objects generatorObjects
	set     generatorSettings
	frame   []byte
}

func newGenerator(host *lab.Host, s stream) (*generator, error) {
	g := &generator{host: host, stream: s}
	index, err := host.Index(s.device)
	if err != nil {
		return nil, err
	}
	largest := 0
	g.set = generatorSettings{
		Ifindex: uint32(index), Flows: uint32(s.addresses * s.ports), Addresses: uint32(s.addresses),
		FirstAddress: number(s.to), Source: number(s.from), FirstPort: streamFirstPort, Port: s.port,
		Dst: macWords(s.dst), Src: macWords(s.src), Sizes: uint16(len(s.sizes)),
	}
	if len(s.sizes) == 0 || len(s.sizes) > len(g.set.Size) {
		return nil, fmt.Errorf("%d frame sizes: must be 1 to %d", len(s.sizes), len(g.set.Size))
	}
	for i, size := range s.sizes {
		g.set.Size[i] = uint16(size - fcsLen)
		largest = max(largest, size-fcsLen)
	}
	g.set.SizeMax, g.frame = uint16(largest), make([]byte, largest)
	if err := g.load(); err != nil {
		return nil, fmt.Errorf("load generator: %w", err)
	}
	return g, nil
}

func (g *generator) load() error {
	spec, err := loadGenerator()
	if err != nil {
		return err
	}
	list := g.stream.listed
	spec.Maps["destinations"].MaxEntries = uint32(max(1, len(list)))
	if err := spec.LoadAndAssign(&g.objects, nil); err != nil {
		return err
	}
	if len(list) == 0 {
		return nil
	}
	g.set.Listed, g.set.Addresses, g.set.Flows = 1, uint32(len(list)), uint32(len(list)*g.stream.ports)
	keys, values := make([]uint32, len(list)), make([]uint32, len(list))
	for i, a := range list {
		keys[i], values[i] = uint32(i), number(a)
	}
	_, err = g.objects.Destinations.BatchUpdate(keys, values, nil)
	if err != nil {
		return errors.Join(err, g.objects.Close())
	}
	return nil
}

// offered is what a generator has sent.
type offered struct {
	packets uint64
	time    time.Duration // from the first to the last packet, and one interval
	skipped time.Duration // what it was behind its plan by, and did not catch up with
}

func (o offered) rate() float64 {
	if o.time == 0 {
		return 0
	}
	return float64(o.packets) / o.time.Seconds()
}

// run sends at a rate for a time, or until ctx ends. What was sent before an error is returned with it.
func (g *generator) run(ctx context.Context, rate float64, window time.Duration) (offered, error) {
	p := paceFor(rate, window)
	set := g.set
	set.Interval, set.Burst, set.Limit, set.End = p.interval, p.burst, p.limit, p.end
	if err := errors.Join(g.objects.Settings.Set(&set), g.objects.State.Set(&generatorState{})); err != nil {
		return offered{}, fmt.Errorf("set generator: %w", err)
	}
	stop := context.AfterFunc(ctx, func() {
		set.Limit = 0
		_ = g.objects.Settings.Set(&set) // it is mapped memory
	})
	defer stop()
	err := g.host.Do(func() error {
		restore, err := pinUrgent(g.stream.cpu)
		if err != nil {
			return err
		}
		defer restore()
		// A signal ends a run early; the library then starts it again from the beginning, and the state of the program
		// makes it the rest. What is repeated beyond the end of the stream costs some 50 ns each.
		_, err = g.objects.Generate.Run(&ebpf.RunOptions{
			Data: g.frame, Repeat: uint32(p.limit), Flags: unix.BPF_F_TEST_XDP_LIVE_FRAMES, BatchSize: p.batch,
		})
		return err
	})
	var state generatorState
	err = errors.Join(err, g.objects.State.Get(&state), ctx.Err())
	sent := offered{packets: state.Sent, skipped: time.Duration(state.Skipped)}
	if state.Sent > 0 {
		sent.time = time.Duration(state.Last + p.interval>>clockShift)
	}
	if err != nil {
		return sent, fmt.Errorf("send: %w", err)
	}
	return sent, nil
}

func (g *generator) close() error { return g.objects.Close() }

// number is an IPv4 address as generator.c takes it.
func number(a netip.Addr) uint32 {
	four := a.As4()
	return binary.BigEndian.Uint32(four[:])
}

// macWords is a MAC address as the programs take it: three words as memory has them.
func macWords(mac net.HardwareAddr) (w [3]uint16) {
	for i := range w {
		w[i] = binary.LittleEndian.Uint16(mac[2*i:])
	}
	return w
}
