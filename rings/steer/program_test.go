package steer

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

func TestRegisterErrors(t *testing.T) {
	requireRoot(t)
	p := load(t, 2)
	plain, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(plain)
	xsk, err := unix.Socket(unix.AF_XDP, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(xsk)
	for _, c := range []struct {
		name      string
		queue, fd int
		want      error
	}{
		{"first queue", 0, xsk, nil},
		{"last queue", 1, xsk, nil},
		{"again", 1, xsk, nil},
		{"queue beyond", 2, xsk, ErrQueue},
		{"negative queue", -1, xsk, ErrQueue},
		{"other socket", 0, plain, ErrNotSocket},
		{"no descriptor", 0, 99999, ErrNotSocket},
		{"negative descriptor", 0, -1, ErrNotSocket},
	} {
		if err := p.Register(c.queue, c.fd); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	if err := p.Unregister(2); !errors.Is(err, ErrQueue) {
		t.Errorf("unregister: %v, want %v", err, ErrQueue)
	}
}

func TestClosed(t *testing.T) {
	requireRoot(t)
	p := load(t, 1)
	p.Close()
	_, counters := p.Counters()
	for name, err := range map[string]error{
		"Register": p.Register(0, 0), "Unregister": p.Unregister(0), "SetMAC": p.SetMAC(ourMAC), "Counters": counters,
	} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%s: %v, want %v", name, err, ErrClosed)
		}
	}
}

func TestSetMACErrors(t *testing.T) {
	requireRoot(t)
	p := load(t, 1)
	for _, mac := range []string{"00:00:00:00:fe:80:00:00:00:00:00:00:02:00:5e:10:00:00:00:01", "02:00:5e:10:00:00:00:01"} {
		if err := p.SetMAC(parseMAC(mac)); !errors.Is(err, ErrNotEthernet) {
			t.Errorf("%s: %v, want %v", mac, err, ErrNotEthernet)
		}
	}
	if err := p.SetMAC(nil); !errors.Is(err, ErrNotEthernet) {
		t.Errorf("none: %v, want %v", err, ErrNotEthernet)
	}
}

// A thread that has given its capabilities away.
func TestLoadWithoutPermission(t *testing.T) {
	requireRoot(t)
	own, err := NewOwn(0)
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	result := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var none [2]unix.CapUserData // version 3 has two words of each set
		if err := unix.Capset(&header, &none[0]); err != nil {
			result <- err
			return
		}
		p, err := Load(Options{Own: own, MaxQueues: 1})
		if err == nil {
			p.Close()
		}
		result <- err
	}()
	err = <-result
	if !errors.Is(err, ErrPermission) || !strings.Contains(err.Error(), "CAP_BPF") {
		t.Errorf("%v, want %v", err, ErrPermission)
	}
}

func TestExplain(t *testing.T) {
	if err := explain(ebpf.ErrNotSupported); !errors.Is(err, ErrUnsupported) {
		t.Errorf("%v, want %v", err, ErrUnsupported)
	}
	if err := explain(nil); err != nil {
		t.Errorf("%v", err)
	}
}

func TestOwn(t *testing.T) {
	b := newBench(t)
	second, err := Load(Options{Own: b.own, MaxQueues: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	if err := second.SetMAC(ourMAC); err != nil {
		t.Fatal(err)
	}
	other := bench{second, b.own}
	b.plug(t)
	other.plug(t)

	for _, step := range [][]string{
		{"192.0.2.1"},
		{"192.0.2.1", "192.0.2.2", "2001:db8::1"},
		{"192.0.2.2", "192.0.2.2", "::ffff:192.0.2.3", "2001:db8::2%em0"},
		{},
		{"192.0.2.1"},
	} {
		if err := b.own.Set(addresses(step...)); err != nil {
			t.Fatal(err)
		}
		for _, dst := range []string{"192.0.2.1", "192.0.2.2", "192.0.2.3", "2001:db8::1", "2001:db8::2"} {
			want := Redirected
			for _, own := range addresses(step...) {
				if own.Unmap().WithZone("") == netip.MustParseAddr(dst) {
					want = OwnAddress
				}
			}
			frame := join(macs(ourMAC), packetTo(netip.MustParseAddr(dst)))
			for i, p := range []bench{b, other} {
				if got := p.run(t, frame); got != want {
					t.Errorf("own %v, program %d, to %s: %v, want %v", step, i, dst, got, want)
				}
			}
		}
	}
}

// An address that stays in the set is never missing from it, whatever else comes and goes.
func TestOwnSetKeepsWhatStays(t *testing.T) {
	b := newBench(t, ownIPv4)
	b.plug(t)
	others := make([]netip.Addr, 500)
	for i := range others {
		others[i] = netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
	}
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			set := addresses(ownIPv4)
			if i%2 == 0 {
				set = append(set, others...)
			}
			if err := b.own.Set(set); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	frame := join(macs(ourMAC), ipv4(ownIPv4))
	for range 5000 {
		if got := b.run(t, frame); got != OwnAddress {
			t.Errorf("while others come and go: %v", got)
			break
		}
	}
	close(stop)
	<-done
}

// Each address of a large set is known, by the program's filter and by its hash.
func TestOwnFull(t *testing.T) {
	b := newBench(t)
	b.plug(t)
	random := rand.New(rand.NewPCG(3, 4))
	var own []netip.Addr
	for len(own) < ownAddressesMax {
		var a [16]byte
		for i := range a {
			a[i] = byte(random.Uint32())
		}
		a[0] &= 0x3f // neither multicast nor link-local
		own = append(own, netip.AddrFrom16(a), netip.AddrFrom4([4]byte(a[:4])))
	}
	if err := b.own.Set(own); err != nil {
		t.Fatal(err)
	}
	for _, dst := range own {
		if got := b.run(t, join(macs(ourMAC), packetTo(dst))); got != OwnAddress {
			t.Fatalf("to %v: %v", dst, got)
		}
	}
}

func TestOwnLimit(t *testing.T) {
	requireRoot(t)
	const max = 100
	own, err := NewOwn(max)
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	network := func(third byte, n int) []netip.Addr {
		var list []netip.Addr
		for i := range n {
			list = append(list, netip.AddrFrom4([4]byte{192, 0, third, byte(i)}))
		}
		return list
	}
	// The second set shares nothing with the first: both must fit for a moment.
	for third := range byte(3) {
		if err := own.Set(network(third, max)); err != nil {
			t.Fatal(err)
		}
	}
	if err := own.Set(network(0, max+1)); !errors.Is(err, ErrTooManyAddresses) {
		t.Errorf("%v, want %v", err, ErrTooManyAddresses)
	}
	// Link-local addresses take no room: they are not asked for.
	withLocal := append(network(0, max), netip.MustParseAddr("fe80::1"))
	if err := own.Set(withLocal); err != nil {
		t.Errorf("with a link-local address: %v", err)
	}
}

func TestClasses(t *testing.T) {
	seen := map[string]bool{}
	for class := range End {
		if class.String() == "" || class.Help() == "" || seen[class.String()] {
			t.Errorf("class %d: name %q, help %q", class, class, class.Help())
		}
		seen[class.String()] = true
	}
	c := Counters{Redirected: 5, NoSocket: 1, OwnAddress: 2}
	if c.Kernel() != 3 {
		t.Errorf("%d frames to the kernel, want 3", c.Kernel())
	}
}
