package appliance

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"weir/policy/packet"
)

// TestDatagramsAreTheTwin compares what is remembered with a map that forgets by age alone, of as many datagrams as one
// set holds: none of them has to make room.
func TestDatagramsAreTheTwin(t *testing.T) {
	type entry struct {
		first packet.L4Fields
		since int64
	}
	found, expired := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		ds, twin := newDatagrams(), map[datagram]entry{}
		base := datagram{family: packet.IPv4}
		known := []datagram{base}
		for range datagramWays - 1 { // each differs from another one in one field
			d := rapid.SampledFrom(known).Draw(t, "base")
			switch rapid.IntRange(0, 5).Draw(t, "field") {
			case 0:
				d.src[15]++
			case 1:
				d.dst[0]++
			case 2:
				d.id++
			case 3:
				d.ingress++
			case 4:
				d.family = packet.IPv6
			case 5:
				d.proto++
			}
			known = append(known, d)
		}
		now := int64(time.Hour)
		for range rapid.IntRange(1, 100).Draw(t, "steps") {
			d := rapid.SampledFrom(known).Draw(t, "datagram")
			if rapid.IntRange(0, 2).Draw(t, "step") == 0 {
				first := packet.L4Fields{SrcPort: rapid.Uint16().Draw(t, "port"), TCPFlags: rapid.Uint8().Draw(t, "flags")}
				ds.open(&d, &first, now)
				twin[d] = entry{first, now}
			}
			e, ok := twin[d]
			if old := now-e.since >= int64(30*time.Second); ok && old {
				ok = false
				expired++
			}
			if got := ds.find(&d, now); (got != nil) != ok || ok && *got != e.first {
				t.Fatalf("found %+v, expected %v %+v", got, ok, e)
			} else if ok {
				found++
			}
			now += rapid.SampledFrom([]int64{0, 1, int64(10 * time.Second), int64(30*time.Second) - 1, int64(30 * time.Second)}).Draw(t, "time")
		}
	})
	if found == 0 || expired == 0 {
		t.Errorf("%d found, %d expired", found, expired)
	}
}

// TestDatagramsFlood: many more datagrams than there are places. Each is remembered for a while: none is forgotten while as
// many came after it as a set holds, and the memory is what it was.
func TestDatagramsFlood(t *testing.T) {
	ds := newDatagrams()
	now := int64(time.Hour)
	first := packet.L4Fields{}
	d := datagram{family: packet.IPv6}
	next := func() {
		d.id++
		now++
		first.SrcPort = uint16(d.id)
		ds.open(&d, &first, now)
	}
	if n := testing.AllocsPerRun(20*datagramSets*datagramWays, next); n != 0 {
		t.Errorf("%v allocations", n)
	}
	for i := range ds.opened {
		for j := range ds.opened[i] {
			if ds.opened[i][j].since == 0 {
				t.Fatalf("place %d of set %d is free after %d datagrams", j, i, d.id)
			}
		}
	}
	kept := 0
	const recent = datagramSets * datagramWays / 4
	for range recent {
		if f := ds.find(&d, now); f != nil && f.SrcPort == uint16(d.id) {
			kept++
		} else if kept < datagramWays {
			t.Errorf("number %d is forgotten, of the last %d", d.id, datagramWays)
		}
		d.id--
	}
	if kept < recent*99/100 { // a set has 2 of these on average, and 8 places
		t.Errorf("%d of the last %d are remembered", kept, recent)
	}
}

// BenchmarkDatagrams remembers a datagram and finds it again, while all places are taken.
func BenchmarkDatagrams(b *testing.B) {
	ds, first := newDatagrams(), packet.L4Fields{}
	d := datagram{family: packet.IPv4}
	b.ReportAllocs()
	for b.Loop() {
		d.id++
		ds.open(&d, &first, int64(d.id))
		ds.find(&d, int64(d.id))
	}
}
