package rings

import (
	"encoding/binary"
	"fmt"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"weir/rings/ethtool"
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
	netdevVersion          = 1
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
	id := askGeneric(nl.GENL_ID_CTRL, genericHeader{nl.GENL_CTRL_CMD_GETFAMILY, nl.GENL_CTRL_VERSION},
		nl.NewRtAttr(nl.GENL_CTRL_ATTR_FAMILY_NAME, nl.ZeroTerminated(netdevFamily)), nl.GENL_CTRL_ATTR_FAMILY_ID)
	if len(id) < 2 {
		return featuresUnknown, false
	}
	features := askGeneric(int(binary.NativeEndian.Uint16(id)), genericHeader{netdevCmdDevGet, netdevVersion},
		nl.NewRtAttr(netdevAttrDevIfindex, nl.Uint32Attr(uint32(ifindex))), netdevAttrDevXDP)
	if len(features) < 8 {
		return featuresUnknown, false
	}
	return Features(binary.NativeEndian.Uint64(features)), true
}

// askGeneric sends a request of one attribute to a generic netlink family and returns the wanted attribute of the answer, nil
// if there is none.
func askGeneric(family int, header genericHeader, attr *nl.RtAttr, wanted uint16) []byte {
	req := nl.NewNetlinkRequest(family, 0)
	req.AddData(header)
	req.AddData(attr)
	messages, err := req.Execute(unix.NETLINK_GENERIC, 0)
	if err != nil || len(messages) == 0 || len(messages[0]) < genericNetlinkHdrBytes {
		return nil
	}
	attrs, err := nl.ParseRouteAttr(messages[0][genericNetlinkHdrBytes:])
	if err != nil {
		return nil
	}
	for _, a := range attrs {
		if a.Attr.Type&netlinkAttrTypeMask == wanted {
			return a.Value
		}
	}
	return nil
}

// disableVLANOffload makes the NIC leave VLAN tags in the frames, where XDP sees them. It returns the features that were
// on, for RestoreOffloads.
func disableVLANOffload(name string) (was []string, err error) {
	features, err := ethtool.Features(name)
	if err != nil {
		return nil, fmt.Errorf("get offloads of %s: %w", name, err)
	}
	off := make(map[string]bool)
	for _, f := range []string{rxVLANOffload, rxVLANStagOffload} {
		if features[f].Active && features[f].Changeable {
			was, off[f] = append(was, f), false
		}
	}
	if len(was) == 0 {
		return nil, nil
	}
	if err := ethtool.SetFeatures(name, features, off); err != nil {
		return was, fmt.Errorf("switch offloads %v of %s off: %w", was, name, err)
	}
	return was, nil
}

// RestoreOffloads switches features of a netdev on again. It is also for what an earlier process left behind.
func RestoreOffloads(name string, features []string) error {
	if len(features) == 0 {
		return nil
	}
	have, err := ethtool.Features(name)
	if err != nil {
		return fmt.Errorf("get offloads of %s: %w", name, err)
	}
	on := make(map[string]bool)
	for _, f := range features {
		on[f] = true
	}
	if err := ethtool.SetFeatures(name, have, on); err != nil {
		return fmt.Errorf("switch offloads %v of %s on: %w", features, name, err)
	}
	return nil
}
