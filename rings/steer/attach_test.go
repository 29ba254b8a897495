package steer

import (
	"errors"
	"runtime"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// load loads a program that the test's end closes.
func load(tb testing.TB, queues int) *Program {
	tb.Helper()
	own, err := NewOwn(0)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { own.Close() })
	p, err := Load(Options{Own: own, MaxQueues: queues})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { p.Close() })
	return p
}

// stranger is an XDP program that is not weir's.
func stranger(tb testing.TB) *ebpf.Program {
	tb.Helper()
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name:         "stranger",
		Type:         ebpf.XDP,
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 2), asm.Return()},
		License:      "MIT",
	})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { p.Close() })
	return p
}

func TestAttachModes(t *testing.T) {
	for _, c := range []struct {
		ask, want Mode
		kernel    uint32 // as IFLA_XDP_ATTACHED has it
	}{
		{Auto, Driver, attachedDriver},
		{Driver, Driver, attachedDriver},
		{Generic, Generic, attachedGeneric},
	} {
		t.Run(c.ask.String(), func(t *testing.T) {
			enterNS(t)
			a, b := addVeth(t, plainVeth())
			p := load(t, 1)
			got, reason, err := p.Attach(a.Attrs().Index, c.ask)
			if err != nil {
				t.Fatal(err)
			}
			if got != c.want || reason != "" {
				t.Errorf("mode %v (reason %q), want %v", got, reason, c.want)
			}
			if mode := linkByName(t, "a").Attrs().Xdp.AttachMode; mode != c.kernel {
				t.Errorf("the kernel says mode %d, want %d", mode, c.kernel)
			}
			if _, _, err := p.Attach(b.Attrs().Index, c.ask); !errors.Is(err, ErrAttached) {
				t.Errorf("second attach: %v, want %v", err, ErrAttached)
			}

			// The interface is reachable from p alone, and must stay attached.
			runtime.GC()
			runtime.GC()
			if attachedID(t, a.Attrs().Index) == 0 {
				t.Error("detached by the garbage collector")
			}
			runtime.KeepAlive(p)

			if err := p.Close(); err != nil {
				t.Fatal(err)
			}
			eventually(t, "program is off the interface", func() bool { return attachedID(t, a.Attrs().Index) == 0 })
		})
	}
}

// A veth refuses driver mode while its peer has more transmit queues than it has receive queues.
func TestAttachFallsBack(t *testing.T) {
	enterNS(t)
	a, _ := addVeth(t, netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: "a", NumRxQueues: 1, NumTxQueues: 1},
		PeerName:  "b", PeerNumTxQueues: 4, PeerNumRxQueues: 1,
	})
	p := load(t, 1)
	_, _, err := p.Attach(a.Attrs().Index, Driver)
	if !errors.Is(err, ErrDriverMode) || !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), "ethtool -L a") {
		t.Errorf("driver mode: %v", err)
	}
	got, reason, err := p.Attach(a.Attrs().Index, Auto)
	if err != nil {
		t.Fatal(err)
	}
	if got != Generic || !strings.Contains(reason, "ethtool -L a") {
		t.Errorf("mode %v, reason %q", got, reason)
	}
}

func TestAttachMTU(t *testing.T) {
	enterNS(t)
	a, b := addVeth(t, plainVeth())
	if err := netlink.LinkSetMTU(b, 9000); err != nil {
		t.Fatal(err)
	}
	_, _, err := load(t, 1).Attach(a.Attrs().Index, Driver)
	if !errors.Is(err, ErrDriverMode) || !strings.Contains(err.Error(), "MTU") {
		t.Errorf("%v", err)
	}
}

// A device without XDP in its driver.
func TestAttachNoDriverSupport(t *testing.T) {
	enterNS(t)
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "d"}}
	if err := netlink.LinkAdd(bridge); err != nil {
		t.Fatal(err)
	}
	p := load(t, 1)
	got, reason, err := p.Attach(bridge.Attrs().Index, Auto)
	if err != nil {
		t.Fatal(err)
	}
	if got != Generic || !strings.Contains(reason, "the driver of d has no XDP") {
		t.Errorf("mode %v, reason %q", got, reason)
	}
}

func TestAttachNeverEvicts(t *testing.T) {
	for _, c := range []struct {
		name   string
		attach func(t *testing.T, p *ebpf.Program, on netlink.Link)
	}{
		{"link, driver", func(t *testing.T, p *ebpf.Program, on netlink.Link) { attachLink(t, p, on, link.XDPDriverMode) }},
		{"link, generic", func(t *testing.T, p *ebpf.Program, on netlink.Link) { attachLink(t, p, on, link.XDPGenericMode) }},
		{"netlink, driver", func(t *testing.T, p *ebpf.Program, on netlink.Link) { attachNetlink(t, p, on, flagDriver) }},
		{"netlink, generic", func(t *testing.T, p *ebpf.Program, on netlink.Link) { attachNetlink(t, p, on, flagGeneric) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			enterNS(t)
			a, _ := addVeth(t, plainVeth())
			c.attach(t, stranger(t), a)
			there := attachedID(t, a.Attrs().Index)
			for _, mode := range []Mode{Auto, Driver, Generic} {
				_, _, err := load(t, 1).Attach(a.Attrs().Index, mode)
				var foreign *ForeignProgramError
				if !errors.As(err, &foreign) || !errors.Is(err, ErrForeignProgram) {
					t.Fatalf("mode %v: %v, want a ForeignProgramError", mode, err)
				}
				if foreign.Name != "stranger" || foreign.ID != there || foreign.Interface != "a" {
					t.Errorf("mode %v: %+v", mode, *foreign)
				}
				if !strings.Contains(err.Error(), `"stranger"`) {
					t.Errorf("the program is not named: %v", err)
				}
			}
			if now := attachedID(t, a.Attrs().Index); now != there {
				t.Errorf("program %d became %d", there, now)
			}
		})
	}
}

func attachLink(t *testing.T, p *ebpf.Program, on netlink.Link, mode link.XDPAttachFlags) {
	t.Helper()
	l, err := link.AttachXDP(link.XDPOptions{Program: p, Interface: on.Attrs().Index, Flags: mode})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
}

func attachNetlink(t *testing.T, p *ebpf.Program, on netlink.Link, flags int) {
	t.Helper()
	if err := netlink.LinkSetXdpFdWithFlags(on, p.FD(), flags); err != nil {
		t.Fatal(err)
	}
}

func TestAttachErrors(t *testing.T) {
	enterNS(t)
	p := load(t, 1)
	if _, _, err := p.Attach(4711, Auto); !errors.Is(err, ErrNoInterface) {
		t.Errorf("no interface: %v", err)
	}
	tunnel := &netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: "t"}, Mode: netlink.TUNTAP_MODE_TUN}
	if err := netlink.LinkAdd(tunnel); err != nil {
		t.Fatal(err)
	}
	if _, _, err := p.Attach(linkByName(t, "t").Attrs().Index, Auto); !errors.Is(err, ErrNotEthernet) {
		t.Errorf("tunnel: %v", err)
	}
	p.Close()
	if _, _, err := p.Attach(1, Auto); !errors.Is(err, ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}

// The interface may go before the program does.
func TestCloseAfterInterface(t *testing.T) {
	enterNS(t)
	a, _ := addVeth(t, plainVeth())
	p := load(t, 1)
	if _, _, err := p.Attach(a.Attrs().Index, Auto); err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkDel(a); err != nil {
		t.Fatal(err)
	}
	if err := p.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	if err := p.Close(); err != nil {
		t.Errorf("close twice: %v", err)
	}
}

// Losing the link, as the death of the process does, detaches.
func TestDetachWithLink(t *testing.T) {
	enterNS(t)
	a, _ := addVeth(t, plainVeth())
	p := load(t, 1)
	if _, _, err := p.Attach(a.Attrs().Index, Auto); err != nil {
		t.Fatal(err)
	}
	if err := p.link.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "program is off the interface", func() bool { return attachedID(t, a.Attrs().Index) == 0 })
}

func TestNoDescriptorLeaks(t *testing.T) {
	enterNS(t)
	a, _ := addVeth(t, plainVeth())
	life := func() {
		own, err := NewOwn(0)
		if err != nil {
			t.Fatal(err)
		}
		p, err := Load(Options{Own: own, MaxQueues: 4})
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := p.Attach(a.Attrs().Index, Auto); err != nil {
			t.Fatal(err)
		}
		second, err := Load(Options{Own: own, MaxQueues: 4})
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := second.Attach(a.Attrs().Index, Auto); !errors.Is(err, ErrForeignProgram) {
			t.Fatal(err)
		}
		if err := errors.Join(second.Close(), p.Close(), own.Close()); err != nil {
			t.Fatal(err)
		}
	}
	life() // what the libraries open once and keep
	before := openDescriptors(t)
	for range 10 {
		life()
	}
	if after := openDescriptors(t); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

// The kernel's values, from include/uapi/linux/if_link.h.
const (
	attachedDriver  = 1
	attachedGeneric = 2
	flagGeneric     = 1 << 1
	flagDriver      = 1 << 2
)
