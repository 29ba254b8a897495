package lab

import (
	"fmt"
	"strings"

	"github.com/vishvananda/netlink"

	"weir/rings/ethtool"
)

// SetFeatures switches offloads of a device by the names that `ethtool -k` of the kernel uses ("rx-gro",
// "tx-checksum-ip-generic"). Features that the device does not have, or cannot change, are an error unless they
// already are as wanted.
func (h *Host) SetFeatures(device string, want map[string]bool) error {
	return h.changeFeatures(device, func(map[string]ethtool.Feature) map[string]bool { return want })
}

// DisableTransmitOffloads makes the kernel hand finished frames to the device: checksums computed, segments cut, VLAN
// tags in place. What the device cannot do in the first place is left alone.
func (h *Host) DisableTransmitOffloads(device string) error {
	return h.changeFeatures(device, func(have map[string]ethtool.Feature) map[string]bool {
		want := make(map[string]bool)
		for name, f := range have {
			if f.Changeable && isTransmitOffload(name) {
				want[name] = false
			}
		}
		return want
	})
}

func isTransmitOffload(name string) bool {
	if !strings.HasPrefix(name, "tx-") {
		return false
	}
	for _, part := range []string{"checksum", "segmentation", "gso", "vlan"} {
		if strings.Contains(name, part) {
			return true
		}
	}
	return false
}

// changeFeatures lets choose say which features should be on or off, changes those that are not, and checks the result.
func (h *Host) changeFeatures(device string, choose func(have map[string]ethtool.Feature) map[string]bool) error {
	err := h.Do(func() error {
		have, err := ethtool.Features(device)
		if err != nil {
			return err
		}
		change := make(map[string]bool)
		for name, on := range choose(have) {
			f, known := have[name]
			if !known && on {
				return fmt.Errorf("no feature %s", name)
			}
			if known && f.Active != on {
				change[name] = on
			}
		}
		if len(change) == 0 {
			return nil
		}
		if err := ethtool.SetFeatures(device, have, change); err != nil {
			return err
		}
		after, err := ethtool.Features(device)
		if err != nil {
			return err
		}
		for name, on := range change {
			if after[name].Active != on {
				return fmt.Errorf("%s stays %v", name, after[name].Active)
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("set features of %s of %s: %w", device, h.name, err)
	}
	return nil
}

// Features tells of each of the device's offloads whether it is on.
func (h *Host) Features(device string) (map[string]bool, error) {
	features := make(map[string]bool)
	err := h.Do(func() error {
		have, err := ethtool.Features(device)
		for name, f := range have {
			features[name] = f.Active
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read features of %s of %s: %w", device, h.name, err)
	}
	return features, nil
}

// ForbidMerging keeps GRO from merging segments without switching it off: no merged packet may be longer than one
// byte. (Off, a veth device would lose its NAPI.)
func (h *Host) ForbidMerging(device string) error {
	return h.onDevice("forbid merging on", device, func(l netlink.Link) error {
		if err := h.netlink.LinkSetGROMaxSize(l, 1); err != nil {
			return err
		}
		return h.netlink.LinkSetGROIPv4MaxSize(l, 1)
	})
}

// SetQueues changes how many queues a device has, up to those that it was made with (ethtool -L).
func (h *Host) SetQueues(device string, n int) error {
	return h.Do(func() error { return ethtool.SetQueues(device, n) })
}
