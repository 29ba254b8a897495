package traffic

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"net/netip"

	"weir/perf/trial"
)

const (
	stampLen = 12 // STAMP_LEN of traffic.h
	fcsLen   = 4  // frame check sequence, which the sizes of frames count and memory does not hold
	slotsMax = 1 << 20
)

// Plan is streams worked out: the header of every flow, and which flow has its turn when.
type Plan struct {
	Streams []Stream
	flows   []sendFlow
	slots   []sendSlot // their number is a power of two
	sizeMax int        // of frames, without FCS

	packetMax int // of what is in the frames: IP headers and what follows
}

// Link is what the frames of a plan have at the Ethernet.
type Link struct{ Source, Destination net.HardwareAddr }

// NewPlan works streams out, for frames from one MAC address to another. With sizes, all streams have those, and what does not fit in
// them is an error. It is the same plan at every call.
func NewPlan(streams []Stream, link Link, sizes trial.Sizes) (*Plan, error) {
	p := &Plan{}
	if len(streams) == 0 {
		return nil, errors.New("plan traffic: no streams")
	}
	if len(link.Source) != 6 || len(link.Destination) != 6 {
		return nil, fmt.Errorf("plan traffic: MAC addresses %v and %v", link.Source, link.Destination)
	}
	total := 0
	for i := range streams {
		s := streams[i]
		if s.Name == "" {
			s.Name = fmt.Sprintf("stream %d", i+1)
		}
		if len(sizes) > 0 {
			s.Sizes = sizes
		}
		if err := s.check(); err != nil {
			return nil, fmt.Errorf("plan traffic: %s: %w", s.Name, err)
		}
		if total += s.Flows; total > FlowsMax {
			return nil, fmt.Errorf("plan traffic: %d flows: at most %d", total, FlowsMax)
		}
		p.Streams = append(p.Streams, s)
		for _, size := range s.Sizes {
			p.sizeMax = max(p.sizeMax, size-fcsLen)
			p.packetMax = max(p.packetMax, size-fcsLen-s.framing())
		}
	}
	rng := rand.New(rand.NewPCG(1, 2))
	first := make([]int, len(p.Streams))
	for i := range p.Streams {
		first[i] = len(p.flows)
		for range p.Streams[i].Flows {
			p.flows = append(p.flows, p.Streams[i].flow(rng, link, uint16(i)))
		}
	}
	p.fill(rng, first)
	return p, nil
}

// FrameMax is the size of the largest frame, without FCS.
func (p *Plan) FrameMax() int { return p.sizeMax }

// Flows is the number of 5-tuples.
func (p *Plan) Flows() int { return len(p.flows) }

// framing is what comes before the packet: addresses, type, and a tag where there is one.
func (s *Stream) framing() int {
	if s.VLAN != 0 {
		return 18
	}
	return 14
}

// fill makes the slots: each stream has its share of them, spread evenly, and in it each flow its own.
func (p *Plan) fill(rng *rand.Rand, first []int) {
	n := 1 << 12
	for n < 4*len(p.flows) && n < slotsMax {
		n *= 2
	}
	weights := 0
	for i := range p.Streams {
		weights += p.Streams[i].Weight
	}
	draw := make([]func(turn int) int, len(p.Streams))
	for i := range p.Streams {
		draw[i] = p.Streams[i].chooser(rng)
	}
	given := make([]int, len(p.Streams))
	p.slots = make([]sendSlot, n)
	for at := range p.slots {
		// The stream that is furthest behind its share is next.
		next, behind := 0, math.MinInt
		for i := range p.Streams {
			if b := p.Streams[i].Weight*(at+1) - given[i]*weights; b > behind {
				next, behind = i, b
			}
		}
		s := &p.Streams[next]
		p.slots[at] = sendSlot{Flow: uint32(first[next] + draw[next](given[next])), Size: uint32(s.Sizes[given[next]%len(s.Sizes)] - fcsLen)}
		given[next]++
	}
}

// chooser chooses the flow of a stream's packet: in turn, or as Zipf's distribution says.
func (s *Stream) chooser(rng *rand.Rand) func(turn int) int {
	if s.Zipf == 0 || s.Flows == 1 {
		order := rng.Perm(s.Flows)
		return func(turn int) int { return order[turn%s.Flows] }
	}
	sums := make([]float64, s.Flows)
	sum := 0.0
	for i := range sums {
		sum += math.Pow(float64(i+1), -s.Zipf)
		sums[i] = sum
	}
	return func(int) int {
		x := rng.Float64() * sum
		low, high := 0, len(sums)-1
		for low < high {
			if middle := (low + high) / 2; sums[middle] < x {
				low = middle + 1
			} else {
				high = middle
			}
		}
		return low
	}
}

// flow draws a 5-tuple, and makes its header.
func (s *Stream) flow(rng *rand.Rand, link Link, stream uint16) sendFlow {
	from, to := s.From.draw(rng), s.To.draw(rng)
	if len(s.Prefixes) > 0 {
		p := s.Prefixes[rng.IntN(len(s.Prefixes))]
		to = Range{p.Addr(), last(p)}.draw(rng)
	}
	port := func(r [2]uint16) uint16 { return r[0] + uint16(rng.IntN(int(r[1])-int(r[0])+1)) }
	sport, dport := port(s.SrcPort), port(s.DstPort)

	h := make([]byte, 0, 96)
	h = append(append(h, link.Destination...), link.Source...)
	if s.VLAN != 0 {
		h = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(h, 0x8100), s.VLAN)
	}
	f := sendFlow{Proto: s.Proto, Stream: stream}
	src, dst := from.AsSlice(), to.AsSlice()
	addresses := wordSum(src) + wordSum(dst)
	if from.Is4() {
		h = binary.BigEndian.AppendUint16(h, 0x0800)
		f.L3 = uint8(len(h))
		h = append(h, 0x45, s.DSCP<<2, 0, 0, 0, 0, 0x40, 0, 64, s.Proto, 0, 0) // lengths and checksums come later; don't fragment
	} else {
		h = binary.BigEndian.AppendUint16(h, 0x86dd)
		f.L3, f.Ipv6 = uint8(len(h)), 1
		h = append(h, 0x60|s.DSCP>>2, s.DSCP<<6, 0, 0, 0, 0, s.Proto, 64)
	}
	h = append(append(h, src...), dst...)
	f.L4 = uint8(len(h))
	if f.Ipv6 == 0 {
		f.IpSum = fold(wordSum(h[f.L3:]))
	}
	pseudo := addresses + wordSum([]byte{0, s.Proto})
	check := addresses + uint32(s.Proto)
	switch s.Proto {
	case udp, tcp:
		h = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(h, sport), dport)
		ports := h[f.L4:]
		check += wordSum(ports[:2]) + 3*wordSum(ports[2:4])
		f.Lengths = 2
		if s.Proto == tcp {
			f.Lengths = 1
			h = append(h, 0, 0, 0, 1, 0, 0, 0, 1, 5<<4, 0x10, 0xff, 0xff) // sequence and acknowledgement; ACK; a window
		}
		h = append(h, 0, 0, 0, 0) // UDP: length, checksum; TCP: checksum, no urgent data
	case icmp:
		pseudo = 0
		h = append(h, 8, 0, 0, 0) // echo request
		h = append(binary.BigEndian.AppendUint16(h, sport), 0, 0)
	case icmpv6:
		f.Lengths = 1
		h = append(h, 128, 0, 0, 0)
		h = append(binary.BigEndian.AppendUint16(h, sport), 0, 0)
	}
	f.L4Sum = pseudo + wordSum(h[f.L4:])
	f.Check = fold2(check)
	f.Length = uint8(len(h))
	for i := range f.Header {
		var word [8]byte
		if 8*i < len(h) {
			copy(word[:], h[8*i:])
		}
		f.Header[i] = binary.LittleEndian.Uint64(word[:])
	}
	return f
}

// draw is a random address of the range.
func (r Range) draw(rng *rand.Rand) netip.Addr {
	if r.First == r.Last {
		return r.First
	}
	if r.First.Is4() {
		a, b := r.First.As4(), r.Last.As4()
		low, high := binary.BigEndian.Uint32(a[:]), binary.BigEndian.Uint32(b[:])
		binary.BigEndian.PutUint32(a[:], low+uint32(rng.Uint64N(uint64(high-low)+1)))
		return netip.AddrFrom4(a)
	}
	// Halves at random, until they make an address of the range: nearly always at once, and after two goes on average at worst.
	a, b := r.First.As16(), r.Last.As16()
	high, low := binary.BigEndian.Uint64(a[:8]), binary.BigEndian.Uint64(a[8:])
	high2, low2 := binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])
	if high == high2 {
		binary.BigEndian.PutUint64(a[8:], low+below(rng, low2-low))
		return netip.AddrFrom16(a)
	}
	for {
		binary.BigEndian.PutUint64(a[:8], high+below(rng, high2-high))
		binary.BigEndian.PutUint64(a[8:], rng.Uint64())
		if x := netip.AddrFrom16(a); !x.Less(r.First) && !r.Last.Less(x) {
			return x
		}
	}
}

// below is a random number up to most.
func below(rng *rand.Rand, most uint64) uint64 {
	if most == math.MaxUint64 {
		return rng.Uint64()
	}
	return rng.Uint64N(most + 1)
}

// wordSum sums 16-bit words as memory has them, which one's complement sums do not mind (RFC 1071 section 2).
func wordSum(b []byte) (sum uint32) {
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.LittleEndian.Uint16(b[i:]))
	}
	return sum
}

// fold makes 16 bits of a sum.
func fold(sum uint32) uint16 {
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	return uint16(sum)
}

// fold2 folds twice, as receive.c does.
func fold2(sum uint32) uint16 {
	sum = sum&0xffff + sum>>16
	return uint16(sum&0xffff + sum>>16)
}
