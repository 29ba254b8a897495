package appliance

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"

	"github.com/vishvananda/netlink"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"weir/policy"
	"weir/rings"
)

// applySettings gives the kernel what it must know of the snapshot's ports: that they are up, their MTU and addresses
// (it answers ARP and ND for them, and owns what is sent to them), VLAN netdevs, static neighbours. What is there
// already is left alone, and will be when weir ends.
func (r *Router) applySettings(s *setup) error {
	snap := *s.snap // the ports' MTU is filled in, which must not show in what the caller holds
	snap.Ports = slices.Clone(snap.Ports)
	s.snap = &snap
	var errs []error
	for i := range snap.Ports {
		ifindex, err := r.applyPort(s, &snap.Ports[i])
		if err != nil {
			errs = append(errs, fmt.Errorf("port %s: %w", snap.Ports[i].Name, err))
		}
		s.ifindex = append(s.ifindex, ifindex)
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return r.applyNeighbors(s)
}

func (r *Router) applyPort(s *setup, p *policy.Port) (ifindex int, err error) {
	d := s.devices[p.Device]
	if d.absent {
		return 0, nil
	}
	link, err := netlink.LinkByName(p.Name)
	if errors.As(err, new(netlink.LinkNotFoundError)) && p.VLAN != 0 {
		link, err = r.makeVLAN(s, p)
		if errors.Is(err, unix.EOPNOTSUPP) {
			if !s.refit {
				r.log.Warn("the kernel has no VLANs (module 8021q): this port has static neighbours only, and no addresses",
					zap.String("port", p.Name))
			}
			if p.AnyMTU {
				p.MTU = s.snap.Ports[p.Device].MTU
			}
			return 0, nil
		}
	}
	if err != nil {
		return 0, err
	}
	if p.VLAN != 0 {
		s.want(link, setting{Kind: settingVLAN}) // whoever made it: a later commit must not undo it
	}
	a := link.Attrs()
	if err := r.applyMTU(s, p, link); err != nil {
		return 0, err
	}
	if size := r.chunk(d); size != 0 && int(p.MTU) > rings.MaxMTU(size) {
		err := fmt.Errorf("MTU %d: the running frames of %d bytes carry at most %d; restart weir for larger ones", p.MTU, size, rings.MaxMTU(size))
		if !s.keeps(d) {
			return 0, err
		}
		s.reasons[d], p.MTU = err.Error(), uint16(rings.MaxMTU(size)) // raised by hand: what fits goes on
	}
	s.want(link, setting{Kind: settingUp})
	if a.Flags&net.FlagUp == 0 && !s.keeps(d) && !d.again {
		if err := r.set(s, link, setting{Kind: settingUp}, func() error { return netlink.LinkSetUp(link) }); err != nil {
			return 0, err
		}
	}
	if s.snap.Linux() != nil && p.Group != 0 {
		if err := r.applyGroup(s, p, link); err != nil {
			return 0, err
		}
	}
	return a.Index, r.applyAddresses(s, p, link)
}

// applyGroup gives the netdev its interface group, which the kernel's rules look at (suppress_ifgroup).
func (r *Router) applyGroup(s *setup, p *policy.Port, link netlink.Link) error {
	was := link.Attrs().Group
	group := setting{Kind: settingGroup, Value: fmt.Sprint(p.Group), Was: fmt.Sprint(was)}
	return r.setOne(s, link, group, was == p.Group, func() error { return netlink.LinkSetGroup(link, int(p.Group)) },
		func() error { return netlink.LinkSetGroup(link, int(was)) })
}

// setOne makes a setting of which a netdev has one, unless it is so already. Where it is ours, of another value, Was stays what
// it was before weir came.
func (r *Router) setOne(s *setup, link netlink.Link, t setting, so bool, do, undo func() error) error {
	s.want(link, t)
	if so {
		return nil
	}
	if r.settings.find(setting{Kind: t.Kind, Port: link.Attrs().Name, Ifindex: link.Attrs().Index}) == nil {
		return r.set(s, link, t, do)
	}
	if err := do(); err != nil {
		return fmt.Errorf("set %s %s: %w", t.Kind, t.Value, err)
	}
	if s.kernel != nil {
		r.log.Warn("changed by hand, put back", zap.Stringer("setting", t))
	}
	s.revert = append(s.revert, undo)
	return nil
}

// keeps reports whether the device stays what it was: then what was done to it by hand is only undone where the
// configuration says otherwise, and a link that somebody has set down stays down.
func (s *setup) keeps(d *device) bool { return s.refit && !slices.Contains(s.opened, d) }

// applyMTU sets the MTU if the configuration gives one, and takes the netdev's own if not.
func (r *Router) applyMTU(s *setup, p *policy.Port, link netlink.Link) error {
	a := link.Attrs()
	ours := r.settings.find(setting{Kind: settingMTU, Port: a.Name, Ifindex: a.Index})
	if p.AnyMTU {
		mtu := a.MTU
		if ours != nil { // an earlier commit's, which is undone when this one runs
			mtu, _ = strconv.Atoi(ours.Was)
		}
		p.MTU = uint16(min(mtu, 65535))
		return nil
	}
	set := setting{Kind: settingMTU, Value: strconv.Itoa(int(p.MTU)), Was: strconv.Itoa(a.MTU)}
	change := func(mtu int) error { return netlink.LinkSetMTU(link, mtu) }
	return r.setOne(s, link, set, a.MTU == int(p.MTU), func() error { return change(int(p.MTU)) }, func() error { return change(a.MTU) })
}

// makeVLAN makes the netdev of a VLAN, on that of the VLAN that it is within, or of the device.
func (r *Router) makeVLAN(s *setup, p *policy.Port) (netlink.Link, error) {
	parent := s.devices[p.Device].port
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.ParentIndex = p.Name, parent.Ifindex
	v := &netlink.Vlan{LinkAttrs: attrs, VlanId: int(p.VLAN), VlanProtocol: netlink.VLAN_PROTOCOL_8021Q}
	if p.Service {
		v.VlanProtocol = netlink.VLAN_PROTOCOL_8021AD
	}
	if p.Inner != 0 {
		v.VlanId, v.VlanProtocol, v.ParentIndex = int(p.Inner), netlink.VLAN_PROTOCOL_8021Q, 0
		for i := range s.ifindex { // the outer one comes before those within it
			if outer := &s.snap.Ports[i]; outer.Device == p.Device && outer.VLAN == p.VLAN && outer.Inner == 0 {
				v.ParentIndex = s.ifindex[i]
			}
		}
		if v.ParentIndex == 0 {
			return nil, unix.EOPNOTSUPP // nor has the kernel the outer one
		}
	}
	if err := netlink.LinkAdd(v); err != nil {
		return nil, fmt.Errorf("make VLAN %d of %s: %w", v.VlanId, parent.Name, err)
	}
	link, err := netlink.LinkByName(p.Name)
	if err != nil {
		return nil, err
	}
	return link, r.set(s, link, setting{Kind: settingVLAN}, func() error { return nil })
}

func (r *Router) applyAddresses(s *setup, p *policy.Port, link netlink.Link) error {
	have, err := netlink.AddrList(link, unix.AF_UNSPEC)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return fmt.Errorf("list addresses: %w", err)
	}
	for _, prefix := range p.Addresses {
		set := setting{Kind: settingAddress, Value: prefix.String()}
		s.want(link, set)
		a, err := netlink.ParseAddr(prefix.String())
		if err != nil {
			return err
		}
		if slices.ContainsFunc(have, func(a netlink.Addr) bool { return a.IPNet.String() == prefix.String() }) {
			if k := s.kernel; k == nil || k.tentative[prefix] || link.Attrs().RawFlags&unix.IFF_LOWER_UP == 0 || !deaf(prefix.Addr()) {
				continue
			}
			r.log.Warn("address without its local route, added anew", zap.String("port", p.Name), zap.Stringer("address", prefix))
			if err := ignore(netlink.AddrDel(link, a), unix.EADDRNOTAVAIL); err != nil {
				return fmt.Errorf("add %s anew: %w", prefix, err)
			}
		}
		if err := r.set(s, link, set, func() error { return ignore(netlink.AddrAdd(link, a), unix.EEXIST) }); err != nil {
			return err
		}
	}
	return nil
}

// applyNeighbors gives the kernel the static neighbours too, for what the router itself sends, and the gateways to manage. One
// that is there already is left alone.
func (r *Router) applyNeighbors(s *setup) error {
	all, kernel := s.snap.Adjacencies, s.kernel
	for i := range uint32(all.Len()) {
		n := all.At(i)
		if !n.Static || s.ifindex[n.Neighbor.Port] == 0 {
			continue
		}
		link, err := netlink.LinkByIndex(s.ifindex[n.Neighbor.Port])
		if err != nil {
			return err
		}
		set := setting{Kind: settingNeighbor, Port: link.Attrs().Name, Ifindex: link.Attrs().Index,
			Value: fmt.Sprintf("%s %s", n.Neighbor.Addr, net.HardwareAddr(n.DstMAC[:]))}
		s.want(link, set)
		if kernel == nil {
			if kernel, err = lookAtKernel(); err != nil { // what changed meanwhile cannot be listed
				kernel = &kernelView{}
			}
		}
		if kernel.hasNeighbor(s, n) {
			continue
		}
		neighbor, err := parseNeighbor(set)
		if err != nil {
			return err
		}
		if err := r.set(s, link, set, func() error { return netlink.NeighSet(neighbor) }); err != nil {
			return err
		}
	}
	return r.applyGateways(s)
}

// want notes that the setup needs a setting, whoever made it.
func (s *setup) want(link netlink.Link, t setting) {
	t.Port, t.Ifindex = link.Attrs().Name, link.Attrs().Index
	s.desired = append(s.desired, t)
}

// set makes a setting unless it is ours already.
func (r *Router) set(s *setup, link netlink.Link, t setting, do func() error) error {
	t.Port, t.Ifindex = link.Attrs().Name, link.Attrs().Index
	s.want(link, t)
	if r.settings.find(t) != nil {
		if err := do(); err != nil {
			return fmt.Errorf("set %s: %w", t, err)
		}
		if s.kernel != nil {
			r.log.Warn("changed by hand, put back", zap.Stringer("setting", t))
		}
		return nil
	}
	if err := r.settings.add(t, do); err != nil {
		return err
	}
	s.added = append(s.added, t)
	return nil
}

// chunk is the size of the chunks that a device's packets are received into, 0 if that is not decided yet.
func (r *Router) chunk(d *device) int {
	kind := umemCopy
	if d.port.WantsZeroCopy() {
		kind = umemZeroCopy
	}
	if len(r.workers) == 0 || r.workers[0].umems[kind] == nil {
		return 0
	}
	return r.workers[0].umems[kind].FrameSize()
}
