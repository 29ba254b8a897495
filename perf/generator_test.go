package perf

import (
	"context"
	"encoding/binary"
	"errors"
	"testing"
	"time"

	"weir/perf/lab"
	"weir/perf/trial"
)

func TestPace(t *testing.T) {
	for _, c := range []struct {
		rate     float64
		window   time.Duration
		interval uint64
		batch    uint32
		limit    uint64
	}{
		{1, 3 * time.Second, 1e9 << clockShift, 1, 3},
		{1e6, time.Second, 1000 << clockShift, batchMax, 1e6},
		{3e6, 100 * time.Millisecond, 21845333, batchMax, 3e5}, // 333⅓ ns
		{20e3, 50 * time.Millisecond, 50000 << clockShift, 4, 1000},
		{0, time.Second, 0, batchMax, unpacedMax},
	} {
		p := paceFor(c.rate, c.window)
		if p.interval != c.interval || p.batch != c.batch || p.limit != c.limit || p.end != uint64(c.window) {
			t.Errorf("paceFor(%v, %v) = %+v", c.rate, c.window, p)
		}
		if p.burst != burstPackets*p.interval {
			t.Errorf("paceFor(%v, %v): burst %d", c.rate, c.window, p.burst)
		}
	}
}

// wire is a generator with nothing between it and the other end.
type wire struct {
	near, far *lab.Host
	generator *generator
	stream    stream
}

func newWire(t *testing.T, sizes string, addresses, ports int) *wire {
	t.Helper()
	needRoot(t)
	l := lab.ForTest(t)
	host := must[*lab.Host](t)
	w := &wire{near: host(l.Host("near")), far: host(l.Host("far"))}
	must[*lab.Link](t)(l.Link(w.near, "eth0", w.far, "eth0", lab.LinkOptions{NoMerge: true}))
	w.stream = stream{
		device: "eth0", from: sourceAddress, to: firstFlow, addresses: addresses, ports: ports, port: streamPort,
		sizes: must[trial.Sizes](t)(trial.ParseSizes(sizes)),
	}
	var err error
	w.stream.src, err = w.near.MAC("eth0")
	check(t, err)
	w.stream.dst, err = w.far.MAC("eth0")
	check(t, err)
	w.generator, err = newGenerator(w.near, w.stream)
	check(t, err)
	t.Cleanup(func() { check(t, w.generator.close()) })
	return w
}

// TestGeneratorFrames looks at every frame on the wire: complete, in order, sound, and of the flows that were asked for.
func TestGeneratorFrames(t *testing.T) {
	const count, addresses, ports = 3000, 10, 4
	for _, sizes := range []string{"64", "1518", "64x7,570x4,1518x1"} {
		t.Run(sizes, func(t *testing.T) {
			w := newWire(t, sizes, addresses, ports)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			frames := must[*lab.FrameSocket](t)(w.far.OpenFrames("eth0"))
			rate := 20e3
			sent := must[offered](t)(w.generator.run(ctx, rate, time.Duration(count/rate*float64(time.Second))))
			ours := func(f lab.Frame) bool { return len(f.Data) > 14 && f.Data[12] == 8 && f.Data[13] == 0 }
			flows := make(map[[6]byte]int)
			for i := range sent.packets {
				f := must[lab.Frame](t)(frames.Await(ctx, ours)).Data
				check(t, lab.VerifyChecksums(f))
				if want := w.stream.sizes[i%uint64(len(w.stream.sizes))] - fcsLen; len(f) != want {
					t.Fatalf("packet %d is %d bytes long, not %d", i, len(f), want)
				}
				if n := binary.BigEndian.Uint64(f[42:]); n != i {
					t.Fatalf("packet %d has sequence number %d", i, n)
				}
				if string(f[:6]) != string(w.stream.dst) || string(f[6:12]) != string(w.stream.src) {
					t.Fatalf("packet %d: MAC addresses % x", i, f[:12])
				}
				if length := binary.BigEndian.Uint16(f[16:]); int(length) != len(f)-14 {
					t.Fatalf("packet %d: IP length %d in a frame of %d bytes", i, length, len(f))
				}
				if length := binary.BigEndian.Uint16(f[38:]); int(length) != len(f)-34 {
					t.Fatalf("packet %d: UDP length %d in a frame of %d bytes", i, length, len(f))
				}
				if f[22] != 64 || binary.BigEndian.Uint16(f[36:]) != streamPort {
					t.Fatalf("packet %d: TTL %d, port % x", i, f[22], f[36:38])
				}
				address, port := binary.BigEndian.Uint32(f[30:])-number(firstFlow), binary.BigEndian.Uint16(f[34:])-streamFirstPort
				if address >= addresses || port >= ports {
					t.Fatalf("packet %d goes to address %d, port %d", i, address, port)
				}
				flows[[6]byte(append(f[30:34:34], f[34:36]...))]++
			}
			if len(flows) != addresses*ports {
				t.Errorf("%d flows, not %d", len(flows), addresses*ports)
			}
			for flow, n := range flows {
				if mean := int(sent.packets) / (addresses * ports); n < mean-mean/10 || n > mean+mean/10 {
					t.Errorf("flow % x has %d packets, the mean is %d", flow, n, mean)
				}
			}
		})
	}
}

// TestGeneratorPace checks the generator's own account, which holds on a busy machine too: it is never ahead of its
// plan, and behind by what it says it has skipped, and a burst.
func TestGeneratorPace(t *testing.T) {
	w := newWire(t, "64", 1, 1)
	for _, rate := range []float64{1e3, 50e3, 1e6} {
		sent := must[offered](t)(w.generator.run(t.Context(), rate, 100*time.Millisecond))
		interval := time.Duration(1e9 / rate)
		plan := time.Duration(float64(sent.packets) / rate * 1e9)
		if sent.packets == 0 || float64(sent.packets) > rate*0.1 {
			t.Errorf("at %.0f packets per second: %d in 100 ms", rate, sent.packets)
		}
		if early := plan - sent.time; early > 2*interval {
			t.Errorf("at %.0f packets per second: %d took %v, %v too little", rate, sent.packets, sent.time, early)
		}
		if late := sent.time - plan - sent.skipped; late > (burstPackets+2)*interval {
			t.Errorf("at %.0f packets per second: %d took %v, skipped %v: %v too much", rate, sent.packets, sent.time, sent.skipped, late)
		}
	}
}

// TestGeneratorCancel ends a run that would go on for a minute.
func TestGeneratorCancel(t *testing.T) {
	w := newWire(t, "64", 1, 1)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	if sent, err := w.generator.run(ctx, 1e3, time.Minute); !errors.Is(err, context.Canceled) || sent.packets > 30e3 {
		t.Errorf("%d packets, error %v", sent.packets, err)
	}
}

func TestCounter(t *testing.T) {
	w := newWire(t, "64", 1, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	c := must[*counter](t)(newCounter(w.far, "eth0", w.stream))
	defer func() { check(t, c.close()) }()
	frames := must[*lab.FrameSocket](t)(w.near.OpenFrames("eth0"))

	// What is not of the stream: another MAC, another port, another protocol, a short frame.
	good := make([]byte, 60)
	copy(good, w.stream.dst)
	copy(good[6:], w.stream.src)
	copy(good[12:], []byte{8, 0, 0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17})
	good[37] = streamPort
	for _, spoil := range []func(f []byte) []byte{
		func(f []byte) []byte { f[0] ^= 2; return f },
		func(f []byte) []byte { f[37]++; return f },
		func(f []byte) []byte { f[23] = 6; return f },
		func(f []byte) []byte { return f[:42] },
	} {
		check(t, frames.Send(ctx, spoil(append([]byte(nil), good...))))
	}
	before := must[counterCounts](t)(c.settle(ctx, counterCounts{}, 1))
	if before.Frames != 0 || before.Strangers < 4 {
		t.Errorf("of strangers: %+v", before)
	}
	const count = 700
	for range count {
		check(t, frames.Send(ctx, good))
	}
	after := must[counterCounts](t)(c.settle(ctx, before, count))
	if got := after.Frames - before.Frames; got != count || after.Bytes != count*60 {
		t.Errorf("of %d frames: %+v", count, after)
	}
}

// TestGeneratorToCounter counts what is sent, at a rate that any machine can do.
func TestGeneratorToCounter(t *testing.T) {
	w := newWire(t, "imix", 100, 1)
	c := must[*counter](t)(newCounter(w.far, "eth0", w.stream))
	defer func() { check(t, c.close()) }()
	sent := must[offered](t)(w.generator.run(t.Context(), 30e3, 100*time.Millisecond))
	got := must[counterCounts](t)(c.settle(t.Context(), counterCounts{}, sent.packets))
	if got.Frames != sent.packets {
		t.Errorf("%d sent, %+v", sent.packets, got)
	}
}
