package appliance

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weir/perf/lab"
)

// inNamespace runs a test in a namespace with a link em0, whose MTU is 1500 and which is down.
func inNamespace(t *testing.T, f func(link netlink.Link)) {
	t.Helper()
	l := lab.ForTest(t)
	a, err := l.Host("a")
	need(t, err)
	b, err := l.Host("b")
	need(t, err)
	_, err = l.Link(a, "em0", b, "em0", lab.LinkOptions{Down: true})
	need(t, err)
	need(t, a.Do(func() error {
		link, err := netlink.LinkByName("em0")
		if err == nil {
			f(link)
		}
		return err
	}))
}

func addresses(t *testing.T, link netlink.Link) (list []string) {
	t.Helper()
	addrs, err := netlink.AddrList(link, unix.AF_INET)
	need(t, err)
	for _, a := range addrs {
		list = append(list, a.IPNet.String())
	}
	return list
}

func mtuOf(t *testing.T, link netlink.Link) int {
	t.Helper()
	now, err := netlink.LinkByIndex(link.Attrs().Index)
	need(t, err)
	return now.Attrs().MTU
}

func address(link netlink.Link, text string) (setting, func() error) {
	t := setting{Kind: settingAddress, Port: link.Attrs().Name, Ifindex: link.Attrs().Index, Value: text}
	return t, func() error {
		a, err := netlink.ParseAddr(text)
		if err != nil {
			return err
		}
		return netlink.AddrAdd(link, a)
	}
}

// TestSettingsAfterCrash: whoever starts next undoes what is in the file, each thing, and once.
func TestSettingsAfterCrash(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "by", "weir")
	inNamespace(t, func(link netlink.Link) {
		s, err := openSettings(dir)
		need(t, err)
		a := link.Attrs()
		mtu := setting{Kind: settingMTU, Port: a.Name, Ifindex: a.Index, Value: "1400", Was: "1500"}
		up := setting{Kind: settingUp, Port: a.Name, Ifindex: a.Index}
		neighbor := setting{Kind: settingNeighbor, Port: a.Name, Ifindex: a.Index, Value: "192.0.2.9 02:00:00:00:00:09"}
		one, add := address(link, "192.0.2.1/24")
		need(t, s.add(one, add), s.add(mtu, func() error { return netlink.LinkSetMTU(link, 1400) }),
			s.add(up, func() error { return netlink.LinkSetUp(link) }),
			s.add(neighbor, func() error {
				n, err := parseNeighbor(neighbor)
				if err != nil {
					return err
				}
				return netlink.NeighSet(n)
			}))
		// A netdev that has gone since, and one that somebody else has given its number's name.
		need(t, s.add(setting{Kind: settingMTU, Port: "gone0", Ifindex: 9999, Was: "1"}, func() error { return nil }),
			s.add(setting{Kind: settingMTU, Port: "other", Ifindex: a.Index, Was: "1300"}, func() error { return nil }))
		if got := addresses(t, link); len(got) != 1 || mtuOf(t, link) != 1400 {
			t.Errorf("addresses %v, MTU %d", got, mtuOf(t, link))
		}

		after, err := openSettings(dir) // the first one was killed
		if err != nil || len(after.list) != 0 {
			t.Errorf("undo: %v; left in the list: %v", err, after.list)
		}
		now, err := netlink.LinkByIndex(a.Index)
		need(t, err)
		if got := addresses(t, link); len(got) != 0 || mtuOf(t, link) != 1500 || now.Attrs().Flags&1 != 0 {
			t.Errorf("not undone: addresses %v, MTU %d, flags %v", got, mtuOf(t, link), now.Attrs().Flags)
		}
		if files, _ := filepath.Glob(filepath.Join(dir, "*")); len(files) > 0 {
			t.Errorf("files left: %q", files)
		}
	})
}

// TestSettingsUndo: what is picked is undone, the latest first; the file has the rest.
func TestSettingsUndo(t *testing.T) {
	dir := t.TempDir()
	inNamespace(t, func(link netlink.Link) {
		s, err := openSettings(dir)
		need(t, err)
		one, addOne := address(link, "192.0.2.1/24")
		two, addTwo := address(link, "198.51.100.1/24")
		need(t, s.add(one, addOne), s.add(two, addTwo))
		failure := errors.New("no")
		three, _ := address(link, "203.0.113.1/24")
		if err := s.add(three, func() error { return failure }); !errors.Is(err, failure) || s.find(three) != nil {
			t.Errorf("a setting that failed: %v, noted %v", err, s.find(three))
		}
		if s.find(one) == nil || s.find(setting{Kind: settingAddress, Value: "192.0.2.1/24"}) != nil {
			t.Error("find does not tell settings apart")
		}
		need(t, s.undo(func(t setting) bool { return t == one }))
		if got := addresses(t, link); len(got) != 1 || got[0] != "198.51.100.1/24" {
			t.Errorf("addresses %v", got)
		}
		need(t, netlink.AddrDel(link, must(netlink.ParseAddr("198.51.100.1/24")))) // somebody else has undone it
		need(t, s.undoAll())
		if len(s.list) > 0 {
			t.Errorf("left: %v", s.list)
		}

		// What cannot be undone is told, and tried again.
		mtu := setting{Kind: settingMTU, Port: link.Attrs().Name, Ifindex: link.Attrs().Index, Value: "1400", Was: "much"}
		need(t, s.add(mtu, func() error { return nil }))
		if err := s.undoAll(); err == nil || len(s.list) != 1 {
			t.Errorf("undo of nonsense: %v, left: %v", err, s.list)
		}
		if after, err := openSettings(dir); err == nil || after == nil || len(after.list) != 1 {
			t.Errorf("the next start undoes nonsense: %v", err)
		}
		need(t, s.forget(func(setting) bool { return true }))

		// A file that cannot be read is told, and does not keep the router from starting.
		need(t, os.WriteFile(s.path, []byte("{"), 0o600))
		if s, err := openSettings(dir); s == nil || err == nil {
			t.Errorf("a broken file: %v, %v", s, err)
		}
	})
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// TestSettingsAdopted: who takes over what a dead process left undoes nothing at first, and can undo all of it later.
func TestSettingsAdopted(t *testing.T) {
	dir := t.TempDir()
	inNamespace(t, func(link netlink.Link) {
		s, err := openSettings(dir)
		need(t, err)
		a := link.Attrs()
		one, add := address(link, "192.0.2.1/24")
		group := setting{Kind: settingGroup, Port: a.Name, Ifindex: a.Index, Value: "4000000000", Was: "0"}
		need(t, s.add(one, add), s.add(group, func() error { return netlink.LinkSetGroup(link, 4_000_000_000) }))
		after, err := adoptSettings(dir)
		need(t, err)
		groupNow := func() uint32 { return must(netlink.LinkByIndex(a.Index)).Attrs().Group }
		if got := addresses(t, link); len(got) != 1 || groupNow() != 4_000_000_000 || !slices.Equal(after.list, s.list) {
			t.Errorf("addresses %v, group %d, list %v", got, groupNow(), after.list)
		}
		need(t, after.undoAll())
		if got := addresses(t, link); len(got) != 0 || groupNow() != 0 {
			t.Errorf("not undone: addresses %v, group %d", got, groupNow())
		}
	})
}
