package steer

import (
	"sync/atomic"
	"testing"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// TestEndToEnd sends frames over a wire and looks where they come out: at the AF_XDP socket, or in the kernel.
func TestEndToEnd(t *testing.T) {
	for _, mode := range []Mode{Driver, Generic} {
		t.Run(mode.String(), func(t *testing.T) {
			enterNS(t)
			a, b := addVeth(t, plainVeth())
			mac := a.Attrs().HardwareAddr
			p := load(t, 1)
			if _, _, err := p.Attach(a.Attrs().Index, mode); err != nil {
				t.Fatal(err)
			}
			far, near := openWire(t, b), openWire(t, a)
			awaitCarrier(t, "a", "b")
			transit := join(macs(mac), ipv4(otherIPv4, []byte("first of four packets")...))
			arp := func(n byte) []byte { return join(macs(mac), etherType(0x0806), make([]byte, 45), []byte{n}) }

			far.send(transit)
			if kind, _ := near.awaitKernel(transit); kind != unix.PACKET_HOST {
				t.Errorf("without a socket: packet of type %d", kind)
			}
			stray := join(macs(otherMAC), ipv4(otherIPv4, []byte("to somebody else's MAC")...))
			far.send(stray)
			if kind, _ := near.awaitKernel(stray); kind != unix.PACKET_OTHERHOST {
				t.Errorf("to another MAC: packet of type %d, which the kernel would route", kind)
			}

			xsk := openXSK(t, a)
			if err := p.Register(0, xsk.fd); err != nil {
				t.Fatal(err)
			}
			far.send(transit)
			if got := xsk.await(t); string(got) != string(transit) {
				t.Errorf("the socket got %x, want %x", got, transit)
			}
			// Frames keep their order: had the kernel got the packet, then before this one.
			far.send(arp(1))
			if _, before := near.awaitKernel(arp(1)); containsFrame(before, transit) {
				t.Error("the kernel got the packet too")
			}

			// The interface changes its MAC; the program is told.
			if err := netlink.LinkSetHardwareAddr(a, ourMAC); err != nil {
				t.Fatal(err)
			}
			if err := p.SetMAC(ourMAC); err != nil {
				t.Fatal(err)
			}
			moved := join(macs(ourMAC), ipv4(otherIPv4, []byte("to the new MAC")...))
			far.send(moved)
			if got := xsk.await(t); string(got) != string(moved) {
				t.Errorf("the socket got %x, want %x", got, moved)
			}

			if err := p.Unregister(0); err != nil {
				t.Fatal(err)
			}
			far.send(moved)
			near.awaitKernel(moved)

			if err := p.Register(0, xsk.fd); err != nil {
				t.Fatal(err)
			}
			c, err := p.Counters()
			if err != nil {
				t.Fatal(err)
			}
			if c[Redirected] != 2 || c[NoSocket] != 2 || c[NotOurMAC] != 1 || c[NotIP] != 1 {
				t.Errorf("counters: %v", c)
			}
			if err := p.Close(); err != nil {
				t.Fatal(err)
			}
			eventually(t, "program is off the interface", func() bool { return attachedID(t, a.Attrs().Index) == 0 })
			far.send(moved)
			near.awaitKernel(moved)
		})
	}
}

func awaitCarrier(tb testing.TB, names ...string) {
	tb.Helper()
	for _, name := range names {
		eventually(tb, name+" is up", func() bool { return linkByName(tb, name).Attrs().OperState == netlink.OperUp })
	}
}

func containsFrame(frames [][]byte, frame []byte) bool {
	for _, f := range frames {
		if string(f) == string(frame) {
			return true
		}
	}
	return false
}

// xsk is an AF_XDP socket on queue 0 that can receive: just enough of one to see a frame arrive.
type xsk struct {
	fd       int
	umem     []byte
	received ring
}

// ring is one of a socket's rings in shared memory; the kernel writes the producer's index.
type ring struct {
	memory  []byte
	offsets unix.XDPRingOffset
	taken   uint32
}

const (
	chunks    = 64
	chunkSize = 2048
)

func openXSK(tb testing.TB, on netlink.Link) *xsk {
	tb.Helper()
	must := func(what string, err error) {
		tb.Helper()
		if err != nil {
			tb.Fatalf("%s: %v", what, err)
		}
	}
	fd, err := unix.Socket(unix.AF_XDP, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	must("socket", err)
	tb.Cleanup(func() { unix.Close(fd) })
	mapped := func(what string, fd int, offset int64, size, flags int) []byte {
		tb.Helper()
		m, err := unix.Mmap(fd, offset, size, unix.PROT_READ|unix.PROT_WRITE, flags|unix.MAP_POPULATE)
		must("map "+what, err)
		tb.Cleanup(func() { unix.Munmap(m) })
		return m
	}
	setsockopt := func(what string, option int, value unsafe.Pointer, size uintptr) {
		tb.Helper()
		_, _, errno := unix.Syscall6(unix.SYS_SETSOCKOPT, uintptr(fd), unix.SOL_XDP, uintptr(option), uintptr(value), size, 0)
		if errno != 0 {
			tb.Fatalf("%s: %v", what, errno)
		}
	}

	umem := mapped("UMEM", -1, 0, chunks*chunkSize, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	reg := unix.XDPUmemReg{Addr: uint64(uintptr(unsafe.Pointer(&umem[0]))), Len: uint64(len(umem)), Size: chunkSize}
	setsockopt("register UMEM", unix.XDP_UMEM_REG, unsafe.Pointer(&reg), unsafe.Sizeof(reg))
	for _, option := range []int{unix.XDP_UMEM_FILL_RING, unix.XDP_UMEM_COMPLETION_RING, unix.XDP_RX_RING} {
		must("size of a ring", unix.SetsockoptInt(fd, unix.SOL_XDP, option, chunks))
	}
	var offsets unix.XDPMmapOffsets
	size := uint32(unsafe.Sizeof(offsets))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_XDP, unix.XDP_MMAP_OFFSETS,
		uintptr(unsafe.Pointer(&offsets)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		tb.Fatalf("offsets of the rings: %v", errno)
	}

	fill := mapped("fill ring", fd, unix.XDP_UMEM_PGOFF_FILL_RING, int(offsets.Fr.Desc)+chunks*8, unix.MAP_SHARED)
	for i := range chunks {
		*(*uint64)(unsafe.Pointer(&fill[int(offsets.Fr.Desc)+i*8])) = uint64(i * chunkSize)
	}
	atomic.StoreUint32((*uint32)(unsafe.Pointer(&fill[offsets.Fr.Producer])), chunks)
	received := mapped("rx ring", fd, unix.XDP_PGOFF_RX_RING, int(offsets.Rx.Desc)+chunks*16, unix.MAP_SHARED)

	must("bind", unix.Bind(fd, &unix.SockaddrXDP{Flags: unix.XDP_COPY, Ifindex: uint32(on.Attrs().Index), QueueID: 0}))
	return &xsk{fd: fd, umem: umem, received: ring{memory: received, offsets: offsets.Rx}}
}

// await returns the next frame that the socket receives.
func (x *xsk) await(tb testing.TB) []byte {
	tb.Helper()
	r := &x.received
	produced := (*uint32)(unsafe.Pointer(&r.memory[r.offsets.Producer]))
	eventually(tb, "the socket receives a frame", func() bool { return atomic.LoadUint32(produced) != r.taken })
	desc := (*unix.XDPDesc)(unsafe.Pointer(&r.memory[r.offsets.Desc+uint64(r.taken%chunks)*16]))
	r.taken++
	return append([]byte(nil), x.umem[desc.Addr:desc.Addr+uint64(desc.Len)]...)
}
