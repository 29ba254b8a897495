package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/vishvananda/netlink"
)

// LinkOptions describe a veth pair. The zero value is a pair with one queue, MTU 1500, random MACs and no addresses.
type LinkOptions struct {
	Queues     int              // receive and transmit queues of both ends; 0: 1
	MTU        int              // of both ends; 0: 1500
	MACA, MACB net.HardwareAddr // nil: random
	AddressesA []string         // CIDR, as for Host.AddAddress
	AddressesB []string
	Offloads   bool // keep transmit offloads: XDP programs and captures will see unfinished checksums
	NoMerge    bool // GRO must not merge segments: frames stay what they were on the wire
	Down       bool // leave both ends down
}

// Link is a veth pair between two hosts.
type Link struct {
	A, B         *Host
	NameA, NameB string

	options LinkOptions
}

// Link connects two hosts by a veth pair; both ends are up and have a carrier when it returns.
func (l *Lab) Link(a *Host, nameA string, b *Host, nameB string, o LinkOptions) (*Link, error) {
	k := &Link{A: a, B: b, NameA: nameA, NameB: nameB, options: o}
	if err := k.create(); err != nil {
		return nil, err
	}
	return k, nil
}

// String names both ends.
func (k *Link) String() string {
	return fmt.Sprintf("%s/%s–%s/%s", k.A.name, k.NameA, k.B.name, k.NameB)
}

// Delete removes both ends, as when a card is pulled.
func (k *Link) Delete() error {
	link, err := k.A.device(k.NameA)
	if err == nil {
		err = k.A.netlink.LinkDel(link)
	}
	if err != nil {
		return fmt.Errorf("delete link %s: %w", k, err)
	}
	return nil
}

// Recreate makes the link again after Delete, with the options that it was first made with. Routes and neighbours that
// went with the devices are not restored, and random MACs are new ones.
func (k *Link) Recreate() error { return k.create() }

func (k *Link) create() (err error) {
	queues := max(k.options.Queues, 1)
	attrs := netlink.NewLinkAttrs()
	attrs.Name = k.NameA
	attrs.MTU = k.options.MTU
	if attrs.MTU == 0 {
		attrs.MTU = 1500
	}
	attrs.NumRxQueues, attrs.NumTxQueues = queues, queues
	attrs.HardwareAddr = k.options.MACA
	veth := netlink.NewVeth(attrs)
	veth.PeerName = k.NameB
	veth.PeerHardwareAddr = k.options.MACB
	veth.PeerNamespace = netlink.NsFd(k.B.ns)
	veth.PeerMTU = uint32(attrs.MTU)
	if err := k.A.netlink.LinkAdd(veth); err != nil {
		return fmt.Errorf("make link %s: %w", k, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("make link %s: %w", k, err), k.Delete())
		}
	}()
	ends := []struct {
		host      *Host
		name      string
		addresses []string
	}{{k.A, k.NameA, k.options.AddressesA}, {k.B, k.NameB, k.options.AddressesB}}
	for _, end := range ends {
		if err := end.host.markOwn(end.name); err != nil {
			return err
		}
		if !k.options.Offloads {
			if err := end.host.DisableTransmitOffloads(end.name); err != nil {
				return err
			}
		}
		if k.options.NoMerge {
			if err := end.host.ForbidMerging(end.name); err != nil {
				return err
			}
		}
		for _, a := range end.addresses {
			if err := end.host.AddAddress(end.name, a); err != nil {
				return err
			}
		}
	}
	if k.options.Down {
		return nil
	}
	return k.raise()
}

// raise sets both ends up and switches GRO on afterwards: veth then has NAPI, which XDP redirects into it need.
func (k *Link) raise() error {
	if err := errors.Join(k.A.SetUp(k.NameA), k.B.SetUp(k.NameB)); err != nil {
		return err
	}
	ctx := context.Background() // a pair whose both ends are up has a carrier: the wait is for the message only
	if err := k.A.WaitUp(ctx, k.NameA); err != nil {
		return err
	}
	if err := k.B.WaitUp(ctx, k.NameB); err != nil {
		return err
	}
	return errors.Join(k.A.SetFeatures(k.NameA, map[string]bool{"rx-gro": true}),
		k.B.SetFeatures(k.NameB, map[string]bool{"rx-gro": true}))
}

// ownAlias marks the devices that laboratories of this process make; Leftovers looks for it.
func ownAlias() string { return fmt.Sprintf("weir lab %d", os.Getpid()) }

func (h *Host) markOwn(device string) error {
	link, err := h.device(device)
	if err != nil {
		return err
	}
	if err := h.netlink.LinkSetAlias(link, ownAlias()); err != nil {
		return fmt.Errorf("mark %s of %s: %w", device, h.name, err)
	}
	return nil
}
