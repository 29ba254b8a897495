package lab

import (
	"fmt"
	"strings"

	"github.com/safchain/ethtool"
	"github.com/vishvananda/netlink"
)

// SetFeatures switches offloads of a device by the names that `ethtool -k` of the kernel uses ("rx-gro",
// "tx-checksum-ip-generic"). Features that the device does not have, or cannot change, are an error unless they
// already are as wanted.
func (h *Host) SetFeatures(device string, want map[string]bool) error {
	return h.withFeatures(device, func(e *ethtool.Ethtool, have map[string]ethtool.FeatureState) (map[string]bool, error) {
		return want, nil
	})
}

// DisableTransmitOffloads makes the kernel hand finished frames to the device: checksums computed, segments cut, VLAN
// tags in place. What the device cannot do in the first place is left alone.
func (h *Host) DisableTransmitOffloads(device string) error {
	return h.withFeatures(device, func(e *ethtool.Ethtool, have map[string]ethtool.FeatureState) (map[string]bool, error) {
		want := make(map[string]bool)
		for name, state := range have {
			if state.Available && !state.NeverChanged && isTransmitOffload(name) {
				want[name] = false
			}
		}
		return want, nil
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

func (h *Host) withFeatures(device string, choose func(*ethtool.Ethtool, map[string]ethtool.FeatureState) (map[string]bool, error)) error {
	err := h.Do(func() error {
		e, err := ethtool.NewEthtool()
		if err != nil {
			return err
		}
		defer e.Close()
		have, err := e.FeaturesWithState(device)
		if err != nil {
			return err
		}
		want, err := choose(e, have)
		if err != nil {
			return err
		}
		change := make(map[string]bool)
		for name, on := range want {
			state, known := have[name]
			if !known && on {
				return fmt.Errorf("no feature %s", name)
			}
			if known && state.Active != on {
				change[name] = on
			}
		}
		if len(change) == 0 {
			return nil
		}
		if err := e.Change(device, change); err != nil {
			return err
		}
		after, err := e.Features(device) // the kernel refuses silently
		if err != nil {
			return err
		}
		for name, on := range change {
			if after[name] != on {
				return fmt.Errorf("%s stays %v", name, after[name])
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("set features of %s of %s: %w", device, h.name, err)
	}
	return nil
}

// Features are the device's offloads that are on.
func (h *Host) Features(device string) (map[string]bool, error) {
	var features map[string]bool
	err := h.Do(func() error {
		e, err := ethtool.NewEthtool()
		if err != nil {
			return err
		}
		defer e.Close()
		features, err = e.Features(device)
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
