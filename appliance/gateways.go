package appliance

import (
	"errors"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"
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

// applyGateways has the kernel manage the gateways of all routes: they are resolved before the first packet needs them. One
// that does not resolve now is no error, and one that somebody has made permanent stays so.
func (r *Router) applyGateways(s *setup) error {
	var added []setting
	ours := make(map[setting]bool)
	for _, t := range r.settings.list {
		ours[t] = t.Kind == settingGateway
	}
	for i := range uint32(s.base.Len()) {
		a := s.base.At(i)
		ifindex := s.ifindex[a.Neighbor.Port]
		e := r.neighbors.entries[kernelNeighbor{a.Neighbor.Addr, ifindex}]
		if a.Static || ifindex == 0 || e.state&(netlink.NUD_PERMANENT|netlink.NUD_NOARP) != 0 {
			continue
		}
		t := setting{Kind: settingGateway, Port: s.snap.PortName(a.Neighbor.Port), Ifindex: ifindex, Value: a.Neighbor.Addr.String()}
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
