package appliance

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weir/rings"
)

// setting is one thing that weir changed in the kernel, and knows how to change back. Settings are written to a file
// before they are made, so that a start after a crash can undo what the dead process left.
type setting struct {
	Kind    settingKind
	Port    string // netdev
	Ifindex int    // of the netdev; another one by the same name is left alone
	Value   string // what it was set to
	Was     string // what it was before
}

type settingKind string

const (
	settingUp       settingKind = "up"       // the link was down
	settingMTU      settingKind = "mtu"      // Was is the old one
	settingAddress  settingKind = "address"  // Value was added
	settingNeighbor settingKind = "neighbor" // Value is "address mac", added as permanent
	settingGateway  settingKind = "gateway"  // Value is the address of one that the kernel manages
	settingOffload  settingKind = "offload"  // Value is a list of features, switched off
	settingVLAN     settingKind = "vlan"     // Port is a VLAN netdev that was made
	settingGroup    settingKind = "group"    // the interface group; Was is the old one
)

// same reports whether two settings are about the same thing. A netdev has one MTU and one group, whatever their values, and
// many addresses.
func (s setting) same(t setting) bool {
	return s.Kind == t.Kind && s.Port == t.Port && s.Ifindex == t.Ifindex &&
		(s.Value == t.Value || s.Kind == settingMTU || s.Kind == settingGroup)
}

func (s setting) String() string {
	return strings.TrimSpace(fmt.Sprintf("%s %s %s", s.Port, s.Kind, s.Value))
}

// undo changes the setting back. A netdev that is gone needs nothing.
func (s setting) undo() error {
	link, err := netlink.LinkByIndex(s.Ifindex)
	if err != nil || link.Attrs().Name != s.Port {
		return nil
	}
	switch s.Kind {
	case settingUp:
		err = netlink.LinkSetDown(link)
	case settingMTU:
		var mtu int
		if mtu, err = strconv.Atoi(s.Was); err == nil {
			err = netlink.LinkSetMTU(link, mtu)
		}
	case settingAddress:
		var a *netlink.Addr
		if a, err = netlink.ParseAddr(s.Value); err == nil {
			err = ignore(netlink.AddrDel(link, a), unix.EADDRNOTAVAIL)
		}
	case settingNeighbor:
		var n *netlink.Neigh
		if n, err = parseNeighbor(s); err == nil {
			err = ignore(netlink.NeighDel(n), unix.ENOENT)
		}
	case settingGateway:
		var addr netip.Addr
		if addr, err = netip.ParseAddr(s.Value); err == nil {
			err = ignore(unmanage(addr, s.Ifindex), unix.ENOENT)
		}
	case settingOffload:
		err = rings.RestoreOffloads(s.Port, strings.Fields(s.Value))
	case settingVLAN:
		err = netlink.LinkDel(link)
	case settingGroup:
		var group uint64
		if group, err = strconv.ParseUint(s.Was, 10, 32); err == nil {
			err = netlink.LinkSetGroup(link, int(group))
		}
	default:
		err = errors.New("unknown kind")
	}
	if err != nil {
		return fmt.Errorf("undo %s: %w", s, err)
	}
	return nil
}

func parseNeighbor(s setting) (*netlink.Neigh, error) {
	addr, mac, _ := strings.Cut(s.Value, " ")
	ip, err := netip.ParseAddr(addr)
	if err != nil {
		return nil, err
	}
	hw, err := net.ParseMAC(mac)
	if err != nil {
		return nil, err
	}
	return &netlink.Neigh{LinkIndex: s.Ifindex, State: netlink.NUD_PERMANENT, IP: ip.AsSlice(), HardwareAddr: hw}, nil
}

func ignore(err error, expected error) error {
	if errors.Is(err, expected) {
		return nil
	}
	return err
}

// settings is the list of those in force, kept on disk.
type settings struct {
	path string
	list []setting
}

// openSettings reads what an earlier process left, undoes it, and starts with an empty list. What could not be undone is
// returned for the log.
func openSettings(dir string) (*settings, error) {
	s, err := readSettings(dir)
	if err != nil {
		return s, err
	}
	return s, s.undoAll()
}

// adoptSettings reads what an earlier process left and goes on with it as its own, but for offloads, which opening the port
// finds out about anew: routes that the kernel forwards by need the links and addresses. The first commit undoes the
// rest.
func adoptSettings(dir string) (*settings, error) {
	s, err := readSettings(dir)
	if err != nil {
		return s, err
	}
	return s, s.undo(func(t setting) bool { return t.Kind == settingOffload })
}

// readSettings reads the list. It is nil if there can be none.
func readSettings(dir string) (*settings, error) {
	path, err := statePath(dir, "settings")
	if err != nil {
		return nil, err
	}
	s := &settings{path: path + ".json"}
	text, err := os.ReadFile(s.path)
	if errors.Is(err, os.ErrNotExist) {
		return s, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &s.list)
	}
	if err != nil {
		return s, fmt.Errorf("read what an earlier weir left: %w", err)
	}
	return s, nil
}

// add notes a setting; do makes it. If do fails nothing is noted.
func (s *settings) add(t setting, do func() error) error {
	s.list = append(s.list, t)
	err := s.save()
	if err == nil {
		err = do()
	}
	if err != nil {
		s.list = s.list[:len(s.list)-1]
		return errors.Join(fmt.Errorf("set %s: %w", t, err), s.save())
	}
	return nil
}

// find returns the setting that is the same, if it is ours.
func (s *settings) find(t setting) *setting {
	for i := range s.list {
		if s.list[i].same(t) {
			return &s.list[i]
		}
	}
	return nil
}

// forget takes settings off the list that somebody else has undone.
func (s *settings) forget(pick func(setting) bool) error {
	s.list = slices.DeleteFunc(s.list, pick)
	return s.save()
}

// undo changes back those that pick selects, the latest first. What cannot be is in the error, and stays on the list.
func (s *settings) undo(pick func(setting) bool) (err error) {
	kept := s.list[:0:0]
	for i := len(s.list) - 1; i >= 0; i-- {
		t := s.list[i]
		if !pick(t) {
			kept = append(kept, t)
			continue
		}
		if e := t.undo(); e != nil { // it stays on the list, for the next one to try
			err = errors.Join(err, e)
			kept = append(kept, t)
		}
	}
	slices.Reverse(kept)
	s.list = kept
	return errors.Join(err, s.save())
}

func (s *settings) undoAll() error { return s.undo(func(setting) bool { return true }) }

// save writes the list, whole or not at all; an empty one is no file.
func (s *settings) save() error {
	if len(s.list) == 0 {
		return ignore(os.Remove(s.path), os.ErrNotExist)
	}
	text, err := json.MarshalIndent(s.list, "", "\t")
	if err != nil {
		return err
	}
	temp := s.path + ".new"
	if err := os.WriteFile(temp, text, 0o600); err != nil {
		return fmt.Errorf("save settings: %w", err)
	}
	if err := os.Rename(temp, s.path); err != nil {
		return fmt.Errorf("save settings: %w", err)
	}
	return nil
}
