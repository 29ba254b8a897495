package perf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"weir/perf/environment"
	"weir/policy/packet"
)

// StagesOptions say what Stages does. The zero value is one route, no rules, and 1,024 destinations.
type StagesOptions struct {
	Load        Load
	Uniform     bool // destinations inside of the routes are drawn uniformly; else as Zipf's distribution says
	Rounds      int  // 0: 5
	Packets     int  // of a pass; 0: as many as there are destinations before they repeat
	CPU         int  // where it runs; negative: the last one
	CommandLine string
	Version     string
}

// stagesRoundsMin is how many rounds a median and a range need.
const stagesRoundsMin = 5

// Complete puts in what was left open, and refuses what cannot be.
func (o *StagesOptions) Complete() error {
	setDefault(&o.Rounds, stagesRoundsMin)
	setDefault(&o.Packets, loadDestinations)
	if o.CPU < 0 {
		o.CPU = runtime.NumCPU() - 1
	}
	errs := []error{o.Load.check()}
	if o.Rounds < stagesRoundsMin {
		errs = append(errs, fmt.Errorf("%d rounds: must be at least %d", o.Rounds, stagesRoundsMin))
	}
	if o.Packets < 1 || o.Packets > loadDestinations {
		errs = append(errs, fmt.Errorf("%d packets: must be 1 to %d", o.Packets, loadDestinations))
	}
	return errors.Join(errs...)
}

// Configuration is the router's, with its routes-file.
func (o *StagesOptions) Configuration() (text, routes []byte) {
	in, out, gateway := portInPrefix, portOutPrefix, sinkAddress
	if o.Load.IPv6 {
		in, out, gateway = "fd00::1/64", "fd00:0:0:1::1/64", netip.MustParseAddr("fd00:0:0:1::10")
	}
	return fmt.Appendf(nil, `version: 1
ports:
  %s: {addresses: ["%s"], mtu: 1500}
  %s: {addresses: ["%s"], mtu: 1500}
neighbors:
- {address: "%s", port: %s, mac: "02:00:00:00:00:02"}
%s`, portIn, in, portOut, out, gateway, portOut, o.Load.configuration(gateway)), o.Load.routes(gateway)
}

// frames are those of a pass: UDP, of 64 bytes with their FCS, IPv6 of 66.
func (o *StagesOptions) frames() [][]byte {
	listed := o.Load.destinations(o.Uniform)
	frames := make([][]byte, o.Packets)
	rng := rand.New(rand.NewPCG(9, 10))
	for i := range frames {
		var to netip.Addr
		if listed != nil {
			to = listed[i]
		} else {
			to = firstFlow
			if o.Load.IPv6 {
				to = netip.MustParsePrefix(flowPrefix6).Addr()
			}
			a := to.AsSlice()
			binary.BigEndian.PutUint16(a[len(a)-2:], uint16(rng.IntN(1024)))
			to, _ = netip.AddrFromSlice(a)
		}
		frames[i] = stageFrame(to, uint16(streamPort+rng.IntN(16)))
	}
	return frames
}

// stageFrame is a frame to an address from a source port.
func stageFrame(to netip.Addr, sport uint16) []byte {
	f := make([]byte, 60, 64)
	copy(f, []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 3, 8, 0})
	ip := f[14:]
	udp := ip[20:]
	if to.Is6() {
		f = f[:62]
		f[12], f[13] = 0x86, 0xdd
		ip, udp = f[14:], f[54:]
		ip[0], ip[5], ip[6], ip[7] = 0x60, byte(len(udp)), packet.ProtoUDP, 64
		from := netip.MustParseAddr("fd00::10").As16()
		copy(ip[8:], from[:])
		copy(ip[24:], to.AsSlice())
	} else {
		ip[0], ip[3], ip[8], ip[9] = 0x45, byte(len(ip)), 64, packet.ProtoUDP
		copy(ip[12:], sourceAddress.AsSlice())
		copy(ip[16:], to.AsSlice())
		binary.BigEndian.PutUint16(ip[10:], packet.Checksum(packet.Sum(0, ip[:20])))
	}
	binary.BigEndian.PutUint16(udp, sport)
	binary.BigEndian.PutUint16(udp[2:], streamPort)
	udp[5] = byte(len(udp))
	return f
}

// StageRunner is a router's packet loop that can stop behind a stage (appliance.Stages).
type StageRunner interface {
	Names() []string             // of the stages, the first of which is not the router's work
	Check(frames [][]byte) error // that each is forwarded
	Run(last int, frames [][]byte) (sent int)
}

// Stages measures what each stage of the packet loop takes of the thread's CPU time. Nothing is timed within the loop: a round
// runs it over all packets as far as the first stage, then as far as the second, and so on, and what a stage takes is
// the difference to the one before. Thereby the stages' sum is the whole.
func Stages(o StagesOptions, r StageRunner) (*StagesResult, error) {
	if err := o.Complete(); err != nil {
		return nil, fmt.Errorf("measure stages: %w", err)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	restore, err := pinUrgent(o.CPU)
	switch {
	case err == nil:
		defer restore()
	case !errors.Is(err, unix.EACCES): // that is setpriority's: without root it runs beside others
		return nil, err
	}
	result := newStagesResult(&o)
	frames := o.frames()
	if err := r.Check(frames); err != nil {
		return nil, fmt.Errorf("measure stages: %w", err)
	}
	names := r.Names()
	took := make([][]float64, len(names)) // by stage, up to its end; by round
	order := make([]int, len(names))
	for i := range order {
		order[i] = i
	}
	runtime.GC()
	for range o.Rounds {
		for _, last := range order {
			began := cpuTime()
			sent := r.Run(last, frames)
			took[last] = append(took[last], float64(cpuTime()-began)/float64(len(frames)))
			if whole := last == len(names)-1; whole && sent != len(frames) {
				return nil, fmt.Errorf("measure stages: %d of %d packets were sent", sent, len(frames))
			}
		}
		slices.Reverse(order) // so that drift meets all of them
	}
	result.finish(names, took)
	return result, nil
}

// cpuTime is that of the calling thread.
func cpuTime() time.Duration {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts)
	return time.Duration(ts.Nano())
}

// finish makes stages of the differences. Of each figure the median is that of the times up to its end, less that up to
// its beginning; the range is that of the differences within a round.
func (r *StagesResult) finish(names []string, took [][]float64) {
	between := func(name string, first, last int) Stage {
		t := Stage{Name: name, NS: spreadOf(took[last]).Median - spreadOf(took[first]).Median, Min: math.Inf(1), Max: math.Inf(-1)}
		for round := range took[first] {
			ns := took[last][round] - took[first][round]
			t.Min, t.Max = min(t.Min, ns), max(t.Max, ns)
		}
		return t
	}
	for i := 1; i < len(names); i++ {
		r.Stages = append(r.Stages, between(names[i], i-1, i))
	}
	r.Total = between("total", 0, len(names)-1)
	r.Deliver = spreadOf(took[0]).Median
	r.LoadAfter = environment.LoadAverage()
	r.Elapsed = time.Since(r.Started).Round(time.Second)
}
