package appliance

import (
	"errors"
	"iter"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"weir/fib"
)

// use makes the kernel resolve a neighbour, or probe it if that was long ago. A managed one (NTF_EXT_MANAGED, Linux 5.16) it
// then keeps resolved by itself, whether packets go there or not, and tries again every few seconds if it does not
// answer (net.ipv4.neigh.*.interval_probe_time_ms). Kernels that do not know that resolve it once.
func use(addr netip.Addr, ifindex int, managed bool) error {
	n := &netlink.Neigh{LinkIndex: ifindex, IP: addr.AsSlice(), Flags: netlink.NTF_USE}
	if managed {
		n.FlagsExt = netlink.NTF_EXT_MANAGED
	}
	err := netlink.NeighSet(n)
	if managed && errors.Is(err, unix.EINVAL) {
		n.FlagsExt = 0
		err = netlink.NeighSet(n)
	}
	return err
}

// unmanage leaves a neighbour to itself, as far as the kernel has it; what is known of it stays, since the next commit may
// want it again. The kernel takes the mark off a neighbour that is used without it.
func unmanage(addr netip.Addr, ifindex int) error {
	req := nl.NewNetlinkRequest(unix.RTM_NEWNEIGH, unix.NLM_F_ACK|unix.NLM_F_REPLACE)
	req.AddData(&netlink.Ndmsg{Family: uint8(nl.GetIPFamily(addr.AsSlice())), Index: uint32(ifindex), Flags: netlink.NTF_USE})
	req.AddData(nl.NewRtAttr(netlink.NDA_DST, addr.AsSlice()))
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

// gateway reports whether routes refer to adjacency i.
func (s *setup) gateway(i uint32) bool { return i < s.fixed || s.users[i] > 0 }

// gateways yields the indexes of those that routes refer to.
func (s *setup) gateways() iter.Seq[uint32] {
	return func(yield func(uint32) bool) {
		for i := range s.fixed {
			if !yield(i) {
				return
			}
		}
		for i := range s.users {
			if !yield(i) {
				return
			}
		}
	}
}

// routed is the adjacencies without those that no route refers to, and with all links up: what a setup begins with.
func (s *setup) routed() *fib.Adjacencies {
	var others []fib.Neighbor
	for i := s.fixed; i < uint32(s.snap.Adjacencies.Len()); i++ {
		if a := s.snap.Adjacencies.At(i); a.Neighbor.Addr.IsValid() && !s.gateway(i) {
			others = append(others, a.Neighbor)
		}
	}
	return s.snap.Adjacencies.Without(others...).WithDown()
}

// applyGateways has the kernel manage the gateways of all routes: they are resolved before the first packet needs them. One
// that does not resolve now is no error, and one that somebody has made permanent stays so.
func (r *Router) applyGateways(s *setup) error {
	var list []fib.Neighbor
	for i := range uint32(s.base.Len()) {
		if a := s.base.At(i); a.Neighbor.Addr.IsValid() && !a.Static {
			list = append(list, a.Neighbor)
		}
	}
	return r.manage(s, list)
}

// manage has the kernel manage gateways.
func (r *Router) manage(s *setup, list []fib.Neighbor) error {
	var added []setting
	ours := make(map[setting]bool)
	for _, t := range r.settings.list {
		ours[t] = t.Kind == settingGateway
	}
	for _, n := range list {
		ifindex := s.ifindex[n.Port]
		e := r.neighbors.entries[kernelNeighbor{n.Addr, ifindex}]
		if ifindex == 0 || e.state&(netlink.NUD_PERMANENT|netlink.NUD_NOARP) != 0 {
			continue
		}
		t := s.managed(n)
		s.desired = append(s.desired, t)
		if !ours[t] {
			added = append(added, t)
		}
	}
	if added == nil {
		return nil
	}
	if err := r.settings.note(added); err != nil {
		return err
	}
	s.added = append(s.added, added...)
	for _, t := range added {
		addr, err := netip.ParseAddr(t.Value)
		if err == nil {
			err = use(addr, t.Ifindex, true)
		}
		if err != nil {
			r.log.Debug("kernel does not manage gateway", zap.Stringer("setting", t), zap.Error(err))
		}
	}
	return nil
}

// managed is the setting that a gateway is managed.
func (s *setup) managed(n fib.Neighbor) setting {
	return setting{Kind: settingGateway, Port: s.snap.PortName(n.Port), Ifindex: s.ifindex[n.Port], Value: n.Addr.String()}
}

// note writes down settings that are about to be made.
func (s *settings) note(list []setting) error {
	was := s.list
	s.list = append(slices.Clip(s.list), list...)
	if err := s.save(); err != nil {
		s.list = was
		return err
	}
	return nil
}
