package steer

import (
	"net"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

func requireRoot(tb testing.TB) {
	tb.Helper()
	if os.Geteuid() != 0 {
		tb.Skip("needs root, to load BPF programs and to make network namespaces")
	}
}

// enterNS moves the test into a network namespace of its own until the test ends. The namespace goes when its last
// user is gone; the handle lets other goroutines in.
func enterNS(tb testing.TB) netns.NsHandle {
	tb.Helper()
	requireRoot(tb)
	runtime.LockOSThread()
	home, err := netns.Get()
	if err != nil {
		tb.Fatal(err)
	}
	ns, err := netns.New()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		ns.Close()
		err := netns.Set(home)
		home.Close()
		if err != nil {
			tb.Fatal(err) // and the thread, still locked, dies with the goroutine
		}
		runtime.UnlockOSThread()
	})
	return ns
}

// goInNS runs f in a goroutine inside the namespace; done is closed after it.
func goInNS(tb testing.TB, ns netns.NsHandle, f func()) (done chan struct{}) {
	done = make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if err := netns.Set(ns); err != nil {
			tb.Error(err)
			return
		}
		f()
	}()
	return done
}

// addVeth makes a pair of virtual Ethernet devices in the current namespace and sets both up.
func addVeth(tb testing.TB, pair netlink.Veth) (a, b netlink.Link) {
	tb.Helper()
	if err := netlink.LinkAdd(&pair); err != nil {
		tb.Fatalf("add veth: %v", err)
	}
	a, b = linkByName(tb, pair.Name), linkByName(tb, pair.PeerName)
	for _, l := range []netlink.Link{a, b} {
		if err := netlink.LinkSetUp(l); err != nil {
			tb.Fatal(err)
		}
	}
	// The tests of one process run one after the other, and a namespace is taken down in the background.
	tb.Cleanup(func() { netlink.LinkDel(a) })
	return a, b
}

func plainVeth() netlink.Veth {
	return netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "a"}, PeerName: "b"}
}

func linkByName(tb testing.TB, name string) netlink.Link {
	tb.Helper()
	l, err := netlink.LinkByName(name)
	if err != nil {
		tb.Fatal(err)
	}
	return l
}

// attachedID is the id of the XDP program on an interface, 0 for none.
func attachedID(tb testing.TB, ifindex int) uint32 {
	tb.Helper()
	l, err := netlink.LinkByIndex(ifindex)
	if err != nil {
		tb.Fatal(err)
	}
	if x := l.Attrs().Xdp; x != nil && x.Attached {
		return x.ProgId
	}
	return 0
}

// eventually waits for a condition that the kernel or another goroutine brings about.
func eventually(tb testing.TB, what string, condition func() bool) {
	tb.Helper()
	for deadline := time.Now().Add(10 * time.Second); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			tb.Fatalf("gave up waiting: %s", what)
		}
	}
}

// wire is a raw socket on an interface: it puts frames on the wire, and sees those that the kernel gets.
type wire struct {
	tb      testing.TB
	fd      int
	ifindex int
}

func openWire(tb testing.TB, on netlink.Link) wire {
	tb.Helper()
	const everything = unix.ETH_P_ALL<<8&0xff00 | unix.ETH_P_ALL>>8
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, everything)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { unix.Close(fd) })
	w := wire{tb, fd, on.Attrs().Index}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: everything, Ifindex: w.ifindex}); err != nil {
		tb.Fatal(err)
	}
	return w
}

func (w wire) send(frame []byte) {
	w.tb.Helper()
	if err := unix.Sendto(w.fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: w.ifindex}); err != nil {
		w.tb.Fatalf("send frame: %v", err)
	}
}

// awaitKernel waits until the kernel has got the frame, and returns what the kernel took it for (unix.PACKET_HOST …)
// and the frames that it got before.
func (w wire) awaitKernel(frame []byte) (kind uint8, before [][]byte) {
	w.tb.Helper()
	eventually(w.tb, "frame reaches the kernel", func() bool {
		for {
			buf := make([]byte, 2048)
			n, from, err := unix.Recvfrom(w.fd, buf, 0)
			if err != nil {
				return false
			}
			if from.(*unix.SockaddrLinklayer).Pkttype == unix.PACKET_OUTGOING {
				continue
			}
			if string(buf[:n]) == string(frame) {
				kind = from.(*unix.SockaddrLinklayer).Pkttype
				return true
			}
			before = append(before, buf[:n])
		}
	})
	return kind, before
}

// openDescriptors counts the file descriptors of the process.
func openDescriptors(tb testing.TB) int {
	tb.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		tb.Fatal(err)
	}
	return len(list)
}

func parseMAC(s string) net.HardwareAddr {
	mac, err := net.ParseMAC(s)
	if err != nil {
		panic(err)
	}
	return mac
}
