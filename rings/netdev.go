package rings

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/safchain/ethtool"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Features are the XDP abilities that a driver announces by the netdev generic netlink family (Linux 6.3;
// Documentation/netlink/specs/netdev.yaml, attribute xdp-features).
type Features uint64

// Bits of Features.
const (
	FeatureBasic       Features = 1 << 0 // native XDP
	FeatureRedirect    Features = 1 << 1 // XDP_REDIRECT out of it
	FeatureNdoXmit     Features = 1 << 2 // may be redirected into
	FeatureXSKZeroCopy Features = 1 << 3
)

const (
	netdevCmdDevGet        = 1
	netdevAttrDevIfindex   = 1
	netdevAttrDevXDP       = 3
	netdevFamily           = "netdev"
	rxVLANOffload          = "rx-vlan-hw-parse"
	rxVLANStagOffload      = "rx-vlan-stag-hw-parse"
	featuresUnknown        = Features(0)
	netlinkAttrTypeMask    = uint16(0x3fff) // NLA_TYPE_MASK of linux/netlink.h
	genericNetlinkHdrBytes = 4
)

// genericHeader is struct genlmsghdr: command, version, and two reserved bytes that must be 0. (nl.Genlmsg has no room for
// those and sends whatever lies behind it, which the kernel refuses or not, as it comes.)
type genericHeader [genericNetlinkHdrBytes]byte

func (h genericHeader) Len() int          { return len(h) }
func (h genericHeader) Serialize() []byte { return h[:] }

// xdpFeatures asks the driver. Where the kernel cannot tell, the answer is 0 and false.
func xdpFeatures(ifindex int) (Features, bool) {
	family, err := netlink.GenlFamilyGet(netdevFamily)
	if err != nil {
		return featuresUnknown, false
	}
	req := nl.NewNetlinkRequest(int(family.ID), 0)
	req.AddData(genericHeader{netdevCmdDevGet, uint8(family.Version)})
	req.AddData(nl.NewRtAttr(netdevAttrDevIfindex, nl.Uint32Attr(uint32(ifindex))))
	messages, err := req.Execute(unix.NETLINK_GENERIC, 0)
	if err != nil || len(messages) == 0 || len(messages[0]) < genericNetlinkHdrBytes {
		return featuresUnknown, false
	}
	attrs, err := nl.ParseRouteAttr(messages[0][genericNetlinkHdrBytes:])
	if err != nil {
		return featuresUnknown, false
	}
	for _, a := range attrs {
		if a.Attr.Type&netlinkAttrTypeMask == netdevAttrDevXDP && len(a.Value) >= 8 {
			return Features(binary.NativeEndian.Uint64(a.Value)), true
		}
	}
	return featuresUnknown, false
}

// queueCount asks the driver how many queues a netdev has now (ethtool -l): those that both receive and transmit.
// It is asked after XDP is attached, because some drivers change the number then.
func queueCount(name string) (int, error) {
	e, err := ethtool.NewEthtool()
	if err != nil {
		return 0, fmt.Errorf("open ethtool: %w", err)
	}
	defer e.Close()
	c, err := e.GetChannels(name)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return 1, nil
	}
	if err != nil {
		return 0, fmt.Errorf("get queues of %s: %w", name, err)
	}
	return max(1, int(c.CombinedCount)+int(min(c.RxCount, c.TxCount))), nil
}

// disableVLANOffload makes the NIC leave VLAN tags in the frames, where XDP sees them. It returns the features that were
// on, for restoreOffload.
func disableVLANOffload(name string) (was []string, err error) {
	e, err := ethtool.NewEthtool()
	if err != nil {
		return nil, fmt.Errorf("open ethtool: %w", err)
	}
	defer e.Close()
	features, err := e.FeaturesWithState(name)
	if err != nil {
		return nil, fmt.Errorf("get offloads of %s: %w", name, err)
	}
	for _, f := range []string{rxVLANOffload, rxVLANStagOffload} {
		if s := features[f]; s.Active && s.Available && !s.NeverChanged {
			was = append(was, f)
		}
	}
	return was, setOffloads(e, name, was, false)
}

// RestoreOffloads switches features of a netdev on again. It is also for what an earlier process left behind.
func RestoreOffloads(name string, features []string) error {
	if len(features) == 0 {
		return nil
	}
	e, err := ethtool.NewEthtool()
	if err != nil {
		return fmt.Errorf("open ethtool: %w", err)
	}
	defer e.Close()
	return setOffloads(e, name, features, true)
}

func setOffloads(e *ethtool.Ethtool, name string, features []string, on bool) error {
	if len(features) == 0 {
		return nil
	}
	change := make(map[string]bool, len(features))
	for _, f := range features {
		change[f] = on
	}
	if err := e.Change(name, change); err != nil {
		return fmt.Errorf("set offloads %v of %s to %v: %w", features, name, on, err)
	}
	return nil
}
