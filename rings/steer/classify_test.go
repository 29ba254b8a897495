package steer

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// classify is the slow and obvious twin of the XDP program, for a queue with a socket.
func classify(frame []byte, mac net.HardwareAddr, own []netip.Addr) Class {
	dst := net.HardwareAddr(frame[:6])
	if dst.String() != mac.String() {
		if dst[0]&1 == 1 {
			return Group
		}
		return NotOurMAC
	}
	rest := frame[12:]
	for range 2 {
		switch binary.BigEndian.Uint16(rest) {
		case 0x8100, 0x88a8, 0x9100:
			if len(rest) < 6 {
				return Unparsable
			}
			rest = rest[4:]
		}
	}
	packet := rest[2:]
	switch binary.BigEndian.Uint16(rest) {
	case 0x0800:
		return classifyIPv4(packet, own)
	case 0x86dd:
		return classifyIPv6(packet, own)
	}
	return NotIP
}

func classifyIPv4(packet []byte, own []netip.Addr) Class {
	if len(packet) < 20 || packet[0]>>4 != 4 || packet[0]&15 < 5 {
		return Unparsable
	}
	dst := netip.AddrFrom4([4]byte(packet[16:]))
	if netip.MustParsePrefix("224.0.0.0/4").Contains(dst) || dst == netip.MustParseAddr("255.255.255.255") {
		return Group
	}
	return classifyAddress(dst, own)
}

func classifyIPv6(packet []byte, own []netip.Addr) Class {
	if len(packet) < 40 || packet[0]>>4 != 6 {
		return Unparsable
	}
	dst := netip.AddrFrom16([16]byte(packet[24:]))
	if netip.MustParsePrefix("ff00::/8").Contains(dst) {
		return Group
	}
	if netip.MustParsePrefix("fe80::/10").Contains(dst) {
		return LinkLocal
	}
	if next, hopLimit := packet[6], packet[7]; next == 58 && hopLimit == 255 && len(packet) > 40 {
		switch packet[40] {
		case 133, 134, 135, 136, 137: // router and neighbour solicitation and advertisement, redirect
			return Neighbor
		}
	}
	return classifyAddress(dst, own)
}

func classifyAddress(dst netip.Addr, own []netip.Addr) Class {
	for _, a := range own {
		if a.Unmap() == dst.Unmap() {
			return OwnAddress
		}
	}
	return Redirected
}

// bench is a program that is not attached: frames are given to it by BPF_PROG_TEST_RUN, which runs it as if they had
// come on queue 0 of the loopback device.
type bench struct {
	*Program
	own *Own
}

func newBench(tb testing.TB, own ...string) bench {
	tb.Helper()
	requireRoot(tb)
	set, err := NewOwn(0)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { set.Close() })
	if err := set.Set(addresses(own...)); err != nil {
		tb.Fatal(err)
	}
	p, err := Load(Options{Own: set, MaxQueues: 1})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { p.Close() })
	if err := p.SetMAC(ourMAC); err != nil {
		tb.Fatal(err)
	}
	return bench{p, set}
}

// plug gives queue 0 a socket. It is not bound, so nothing would arrive there; the program's answer is the same.
func (b bench) plug(tb testing.TB) {
	tb.Helper()
	fd, err := unix.Socket(unix.AF_XDP, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { unix.Close(fd) })
	if err := b.Register(0, fd); err != nil {
		tb.Fatal(err)
	}
}

// run returns the class that the program counted the frame in, and checks that the program's answer to the kernel is
// the one that belongs to that class.
func (b bench) run(tb fataler, frame []byte) Class {
	tb.Helper()
	const xdpPass, xdpRedirect = 2, 4
	before, err := b.Counters()
	if err != nil {
		tb.Fatalf("%v", err)
	}
	action, _, err := b.objects.Steer.Test(frame)
	if err != nil {
		tb.Fatalf("run on %x: %v", frame, err)
	}
	after, err := b.Counters()
	if err != nil {
		tb.Fatalf("%v", err)
	}
	counted := End
	for class := range End {
		switch after[class] - before[class] {
		case 0:
		case 1:
			if counted != End {
				tb.Fatalf("frame %x counted as %v and as %v", frame, counted, class)
			}
			counted = class
		default:
			tb.Fatalf("frame %x counted %d times as %v", frame, after[class]-before[class], class)
		}
	}
	want := uint32(xdpPass)
	if counted == Redirected {
		want = xdpRedirect
	}
	if action != want {
		tb.Fatalf("frame %x counted as %v, but the program answered %d", frame, counted, action)
	}
	return counted
}

// fataler is what *testing.T and *rapid.T have in common.
type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

func addresses(list ...string) []netip.Addr {
	var addrs []netip.Addr
	for _, s := range list {
		addrs = append(addrs, netip.MustParseAddr(s))
	}
	return addrs
}

const (
	ownIPv4, ownIPv6     = "192.0.2.1", "2001:db8::1"
	otherIPv4, otherIPv6 = "203.0.113.9", "2001:db8:1::9"
)

// classified has an example of everything that doc.go promises.
var classified = []struct {
	name  string
	frame []byte // behind the MAC addresses; the destination is ours
	want  Class
}{
	{"ipv4", ipv4(otherIPv4), Redirected},
	{"ipv4 below multicast", ipv4("223.255.255.255"), Redirected},
	{"ipv4 above multicast", ipv4("240.0.0.0"), Redirected},
	{"ipv4 almost broadcast", ipv4("255.255.255.254"), Redirected},
	{"ipv4 multicast, first", ipv4("224.0.0.0"), Group},
	{"ipv4 multicast, last", ipv4("239.255.255.255"), Group},
	{"ipv4 limited broadcast", ipv4("255.255.255.255"), Group},
	{"ipv4 own", ipv4(ownIPv4), OwnAddress},
	{"ipv4 own but for one bit", ipv4("192.0.2.0"), Redirected},
	{"ipv6", ipv6(otherIPv6, 17, 64), Redirected},
	{"ipv6 multicast", ipv6("ff02::1", 17, 64), Group},
	{"ipv6 below multicast", ipv6("feff::1", 17, 64), Redirected},
	{"ipv6 link-local, first", ipv6("fe80::", 17, 64), LinkLocal},
	{"ipv6 link-local, last", ipv6("febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 17, 64), LinkLocal},
	{"ipv6 below link-local", ipv6("fe7f::1", 17, 64), Redirected},
	{"ipv6 above link-local", ipv6("fec0::1", 17, 64), Redirected},
	{"ipv6 own", ipv6(ownIPv6, 17, 64), OwnAddress},
	{"ipv6 own but for one bit", ipv6("2001:db8::", 17, 64), Redirected},
	{"ipv6 echo", ipv6(otherIPv6, 58, 255, 128), Redirected},
	{"ipv6 nd below", ipv6(otherIPv6, 58, 255, 132), Redirected},
	{"ipv6 router solicitation", ipv6(otherIPv6, 58, 255, 133), Neighbor},
	{"ipv6 neighbor solicitation", ipv6(otherIPv6, 58, 255, 135), Neighbor},
	{"ipv6 redirect", ipv6(otherIPv6, 58, 255, 137), Neighbor},
	{"ipv6 nd above", ipv6(otherIPv6, 58, 255, 138), Redirected},
	{"ipv6 nd that was routed", ipv6(otherIPv6, 58, 254, 135), Redirected},
	{"ipv6 udp that looks like nd", ipv6(otherIPv6, 17, 255, 135), Redirected},
	{"ipv4 with version 6", append(etherType(0x0800), ipv6(otherIPv6, 17, 64)[2:]...), Unparsable},
	{"ipv6 with version 4", append(etherType(0x86dd), ipv4(otherIPv4, make([]byte, 40)...)[2:]...), Unparsable},
	{"ipv4 header of 16 bytes", append(etherType(0x0800), append([]byte{0x44}, ipv4(otherIPv4)[3:]...)...), Unparsable},
	{"arp", append(etherType(0x0806), make([]byte, 46)...), NotIP},
	{"lldp", append(etherType(0x88cc), make([]byte, 46)...), NotIP},
	{"mpls", append(etherType(0x8847), make([]byte, 46)...), NotIP},
	{"802.3 length", append(etherType(46), make([]byte, 46)...), NotIP},
}

func TestClassify(t *testing.T) {
	b := newBench(t, ownIPv4, ownIPv6)
	b.plug(t)
	for _, stack := range [][]uint16{{}, {0x8100}, {0x88a8}, {0x9100}, {0x8100, 0x8100}, {0x88a8, 0x8100}, {0x9100, 0x9100}} {
		var tags []byte
		for _, tpid := range stack {
			tags = append(tags, tag(tpid)...)
		}
		for _, c := range classified {
			t.Run(fmt.Sprintf("%s/%x", c.name, stack), func(t *testing.T) {
				frame := join(macs(ourMAC), tags, c.frame)
				if got := b.run(t, frame); got != c.want {
					t.Errorf("%x: %v, want %v", frame, got, c.want)
				}
				if got := classify(frame, ourMAC, addresses(ownIPv4, ownIPv6)); got != c.want {
					t.Errorf("%x: the twin says %v, want %v", frame, got, c.want)
				}
			})
		}
	}
}

func TestClassifyThreeTags(t *testing.T) {
	b := newBench(t)
	b.plug(t)
	frame := join(macs(ourMAC), tag(0x8100), tag(0x8100), tag(0x8100), ipv4(otherIPv4))
	if got := b.run(t, frame); got != NotIP {
		t.Errorf("%v, want %v", got, NotIP)
	}
}

func TestClassifyMAC(t *testing.T) {
	b := newBench(t)
	b.plug(t)
	for _, c := range []struct {
		dst  string
		want Class
	}{
		{ourMAC.String(), Redirected},
		{otherMAC.String(), NotOurMAC},
		{"00:00:00:00:00:00", NotOurMAC},
		{"ff:ff:ff:ff:ff:ff", Group},
		{"01:00:5e:00:00:01", Group},
		{"33:33:00:00:00:01", Group},
		{"01:80:c2:00:00:00", Group},
	} {
		if got := b.run(t, join(macs(parseMAC(c.dst)), ipv4(otherIPv4))); got != c.want {
			t.Errorf("to %s: %v, want %v", c.dst, got, c.want)
		}
	}
	if err := b.SetMAC(otherMAC); err != nil {
		t.Fatal(err)
	}
	if got := b.run(t, join(macs(otherMAC), ipv4(otherIPv4))); got != Redirected {
		t.Errorf("to the new MAC: %v", got)
	}
	if got := b.run(t, join(macs(ourMAC), ipv4(otherIPv4))); got != NotOurMAC {
		t.Errorf("to the former MAC: %v", got)
	}
}

// Before it knows the port's MAC, a program must leave everything to the kernel.
func TestClassifyWithoutMAC(t *testing.T) {
	requireRoot(t)
	own, err := NewOwn(0)
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	p, err := Load(Options{Own: own, MaxQueues: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	b := bench{p, own}
	b.plug(t)
	for _, dst := range []string{ourMAC.String(), "00:00:00:00:00:00", "fe:ff:ff:ff:ff:ff"} {
		if got := b.run(t, join(macs(parseMAC(dst)), ipv4(otherIPv4))); got != NotOurMAC {
			t.Errorf("to %s: %v", dst, got)
		}
	}
}

func TestClassifyTruncated(t *testing.T) {
	b := newBench(t, ownIPv4, ownIPv6)
	b.plug(t)
	own := addresses(ownIPv4, ownIPv6)
	for _, tags := range [][]byte{nil, tag(0x8100), join(tag(0x88a8), tag(0x8100))} {
		for _, packet := range [][]byte{ipv4(otherIPv4, 1, 2, 3, 4), ipv4(ownIPv4), ipv6(otherIPv6, 58, 255, 135, 0), ipv6("fe80::1", 17, 1)} {
			whole := join(macs(ourMAC), tags, packet)
			// The kernel runs no program on less than an Ethernet header.
			for n := 14; n <= len(whole); n++ {
				got, want := b.run(t, whole[:n]), classify(whole[:n], ourMAC, own)
				if got != want {
					t.Errorf("%x (%d of %d bytes): %v, want %v", whole[:n], n, len(whole), got, want)
				}
			}
			if headers := 14 + len(tags) + 20; b.run(t, whole[:headers-1]) != Unparsable {
				t.Errorf("%x: want %v", whole[:headers-1], Unparsable)
			}
		}
	}
}

// TestClassifyTwin compares the program with its twin on frames that are almost right.
func TestClassifyTwin(t *testing.T) {
	b := newBench(t, ownIPv4, ownIPv6)
	b.plug(t)
	own := addresses(ownIPv4, ownIPv6)
	var met Counters
	rapid.Check(t, func(t *rapid.T) {
		for range 50 {
			frame := drawFrame(t)
			got, want := b.run(t, frame), classify(frame, ourMAC, own)
			if got != want {
				t.Fatalf("%x: %v, want %v", frame, got, want)
			}
			met[got]++
		}
	})
	for class, n := range met {
		if n == 0 && Class(class) != NoSocket { // which no frame can be in while there is a socket
			t.Errorf("no frame of class %v was drawn: the comparison has a hole", Class(class))
		}
	}
	t.Logf("drawn: %v", met)
}

func drawFrame(t *rapid.T) []byte {
	dst := rapid.SampledFrom([]net.HardwareAddr{
		ourMAC, ourMAC, ourMAC, ourMAC, ourMAC, ourMAC, otherMAC, parseMAC("01:00:5e:00:00:01"), parseMAC("ff:ff:ff:ff:ff:ff"),
	}).Draw(t, "dst")
	var tags []byte
	for _, tpid := range rapid.SliceOfN(rapid.SampledFrom([]uint16{0x8100, 0x88a8, 0x9100}), 0, 3).Draw(t, "tags") {
		tags = append(tags, tag(tpid)...)
	}
	payload := rapid.SliceOfN(rapid.Byte(), 0, 60).Draw(t, "payload")
	var packet []byte
	switch rapid.SampledFrom([]int{4, 4, 4, 6, 6, 6, 0}).Draw(t, "family") {
	case 4:
		packet = ipv4(rapid.SampledFrom([]string{
			ownIPv4, otherIPv4, "224.0.0.5", "255.255.255.255", "240.0.0.1", "0.0.0.0",
		}).Draw(t, "ipv4"), payload...)
	case 6:
		next := rapid.SampledFrom([]uint8{58, 58, 17, 0}).Draw(t, "next")
		hops := rapid.SampledFrom([]uint8{255, 255, 254, 1}).Draw(t, "hops")
		if len(payload) > 0 && next == 58 {
			payload[0] = rapid.Uint8Range(130, 140).Draw(t, "type")
		}
		packet = ipv6(rapid.SampledFrom([]string{
			ownIPv6, otherIPv6, "ff02::1", "fe80::1", "fec0::1", "::", "::ffff:" + ownIPv4, "::ffff:224.0.0.1",
		}).Draw(t, "ipv6"), next, hops, payload...)
	default:
		packet = join(etherType(rapid.Uint16().Draw(t, "type")), payload)
	}
	frame := join(macs(dst), tags, packet)
	for range rapid.SampledFrom([]int{0, 0, 1, 2}).Draw(t, "flips") {
		bit := rapid.IntRange(0, 8*len(frame)-1).Draw(t, "bit")
		frame[bit/8] ^= 1 << (bit % 8)
	}
	if rapid.SampledFrom([]bool{false, false, true}).Draw(t, "cut") {
		frame = frame[:rapid.IntRange(14, len(frame)).Draw(t, "length")]
	}
	return frame
}

// Without a socket the kernel gets the frame: with one that was never registered, that was unregistered, that was
// closed.
func TestFailOpen(t *testing.T) {
	b := newBench(t)
	frame := join(macs(ourMAC), ipv4(otherIPv4))
	expect := func(when string, want Class) {
		t.Helper()
		if got := b.run(t, frame); got != want {
			t.Errorf("%s: %v, want %v", when, got, want)
		}
	}
	expect("never registered", NoSocket)
	fd, err := unix.Socket(unix.AF_XDP, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Register(0, fd); err != nil {
		t.Fatal(err)
	}
	expect("registered", Redirected)
	if err := b.Unregister(0); err != nil {
		t.Fatal(err)
	}
	expect("unregistered", NoSocket)
	if err := b.Unregister(0); err != nil {
		t.Errorf("unregister twice: %v", err)
	}
	if err := b.Register(0, fd); err != nil {
		t.Fatal(err)
	}
	unix.Close(fd)
	expect("closed", NoSocket)
}
