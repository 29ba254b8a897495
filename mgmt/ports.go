package mgmt

import (
	"iter"
	"maps"
	"math"
	"net/netip"
	"slices"

	"weir/policy"
)

// MTU limits, in bytes of the IP packet. 68: RFC 791 section 3.2; 1280: RFC 8200 section 5.
const (
	mtuDefault = 1500
	mtuMin     = 68
	mtuMin6    = 1280
	mtuMax     = math.MaxUint16
)

// links is what is directly connected.
type links struct {
	networks map[netip.Prefix][]network // one for each port on the network
	lengths  [129]bool                  // of the networks' prefixes
	own      map[netip.Addr]owner
}

func newLinks() links {
	return links{networks: map[netip.Prefix][]network{}, own: map[netip.Addr]owner{}}
}

// containing yields the networks that have the address, the longest prefix first.
func (l *links) containing(addr netip.Addr) iter.Seq[[]network] {
	return func(yield func([]network) bool) {
		for bits := addr.BitLen(); bits > 0; bits-- {
			if !l.lengths[bits] {
				continue
			}
			prefix, _ := addr.Prefix(bits)
			if list := l.networks[prefix]; list != nil && !yield(list) {
				return
			}
		}
	}
}

// network is a connected network: hosts in it are neighbours on the port.
type network struct {
	prefix netip.Prefix
	port   uint16
	at     spot
}

// owner is the port that has an address, and where the file says so.
type owner struct {
	port uint16
	at   spot
	p    *path
}

var portKeys = section{name: "ports", keys: []string{"group", "addresses", "mtu", "mode", "reverse-path", "src-valid-mark", "redirects", "vlans"}}
var vlanKeys = section{name: "ports", keys: []string{"name", "group", "addresses", "mtu", "reverse-path", "src-valid-mark", "redirects", "protocol", "vlans"}}

// draftPort is a port while its section is read.
type draftPort struct {
	policy.Port
	at        spot
	p         *path
	mtu       *node
	protocol  *node
	vlans     *node
	vlansPath *path
	addresses []owner // parallel to Addresses
}

func (d *decoder) decodePorts(n *node, p *path) {
	var devices, vlans []*draftPort
	d.entries(n, p, "port names to their settings", func(k key, v *node, p *path) {
		port := &draftPort{Port: policy.Port{Name: k.text, Device: uint16(len(devices)), MTU: mtuDefault, AnyMTU: true, Mode: "auto", Redirects: true}, at: k.at, p: p}
		if wrong := checkPortName(k.text); wrong != "" {
			d.errorf(k.at, p, "%s", wrong)
		}
		d.fields(v, p, &portKeys, func(k key, v *node, p *path) { d.decodePortField(port, k, v, p) })
		d.checkMTU(port)
		devices = append(devices, port)
		vlans = append(vlans, d.decodeVLANs(port)...)
	})
	all := append(devices, vlans...)
	if len(all) > policy.MaxPorts {
		d.errorf(n.at, p, "%d ports; at most %d are possible", len(all), policy.MaxPorts)
		return
	}
	for i, port := range all {
		if first, taken := d.names.ports[port.Name]; taken {
			d.errorf(port.at, port.p, "name %s belongs to the port at %s already", clip(port.Name), d.position(d.places.ports[first]))
		} else {
			d.names.ports[port.Name] = uint16(i)
		}
		d.policy.Ports = append(d.policy.Ports, port.Port)
		d.places.ports = append(d.places.ports, port.at)
	}
	for i, port := range all {
		for j, prefix := range port.Addresses {
			d.connect(uint16(i), prefix, port.addresses[j])
		}
	}
	local, main := policy.ConnectedRoutes(d.policy.Ports)
	for _, r := range local {
		d.addRoute(tableLocal, r, d.connectedBy(r.Prefix.Addr()))
	}
	for _, r := range main {
		d.addRoute(tableMain, r, d.connectedBy(r.Prefix.Addr()))
	}
}

// connectedBy is the place of the port address that addr, or the network that begins with it, is there for.
func (d *decoder) connectedBy(addr netip.Addr) spot {
	if own, ok := d.links.own[addr]; ok {
		return own.at
	}
	for networks := range d.links.containing(addr) {
		return networks[0].at
	}
	return spot{}
}

func (d *decoder) decodePortField(port *draftPort, k key, v *node, p *path) {
	switch k.text {
	case "name":
		if text, ok := d.text(v, p, "a name"); ok {
			if wrong := checkPortName(text); wrong != "" {
				d.errorf(v.at, p, "%s", wrong)
			}
			port.Name, port.at, port.p = text, v.at, p
		}
	case "group":
		if text, ok := d.text(v, p, "the name of an interface group"); ok {
			if wrong := checkName(text); wrong != "" {
				d.errorf(v.at, p, "%s; found %s", wrong, v)
				return
			}
			port.GroupName = text
		}
	case "addresses":
		d.list(v, p, "addresses with their prefix lengths", func(_ int, v *node, p *path) {
			if prefix, ok := d.portAddress(v, p); ok {
				port.Addresses = append(port.Addresses, prefix)
				port.addresses = append(port.addresses, owner{at: v.at, p: p})
			}
		})
	case "mtu":
		if mtu, ok := d.number(v, p, mtuMin, mtuMax); ok {
			port.MTU, port.AnyMTU, port.mtu = uint16(mtu), false, v
		}
	case "mode":
		if mode, ok := d.word(v, p, "auto", "zero-copy", "copy", "generic"); ok {
			port.Mode = mode
		}
	case "reverse-path":
		// Unquoted, off is false to some YAML versions and their tools.
		if v.kind == scalar && (v.text == "false" || v.text == "no") {
			return
		}
		switch mode, _ := d.word(v, p, "off", "loose", "strict"); mode {
		case "loose":
			port.ReversePath = policy.ReverseLoose
		case "strict":
			port.ReversePath = policy.ReverseStrict
		}
	case "src-valid-mark":
		port.SourceMark, _ = d.boolean(v, p)
	case "redirects":
		if value, ok := d.boolean(v, p); ok {
			port.Redirects = value
		}
	case "protocol":
		if text, ok := d.word(v, p, "802.1q", "802.1ad"); ok {
			port.Service, port.protocol = text == "802.1ad", v
		}
	case "vlans":
		port.vlans, port.vlansPath = v, p
	}
}

// portAddress reads an address of the router's own, with the length of the network that it is in.
func (d *decoder) portAddress(v *node, p *path) (netip.Prefix, bool) {
	text, ok := d.text(v, p, "an address with its prefix length")
	if !ok {
		return netip.Prefix{}, false
	}
	prefix, wrong := parseInterface(text)
	addr := prefix.Addr()
	switch {
	case wrong != "":
	case !slices.Contains([]byte(text), '/'):
		wrong = "an address of a port needs the prefix length of its network, such as /24"
	case prefix.Bits() == 0:
		wrong = "prefix length 0 would connect the whole Internet"
	case addr.IsUnspecified() || addr.IsMulticast() || addr.IsLoopback():
		wrong = "not the address of a host on a network"
	case addr.Is4() && prefix.Bits() < 31 && addr == prefix.Masked().Addr():
		wrong = "the network itself, not an address in it; did you mean " + netip.PrefixFrom(addr.Next(), prefix.Bits()).String() + "?"
	case isBroadcast(prefix, addr):
		wrong = "the broadcast address of its network"
	}
	if wrong != "" {
		d.errorf(v.at, p, "%s (found %s)", wrong, v)
		return netip.Prefix{}, false
	}
	return prefix, true
}

// checkMTU refuses an MTU that the port's addresses do not allow.
func (d *decoder) checkMTU(port *draftPort) {
	has6 := slices.ContainsFunc(port.Addresses, func(a netip.Prefix) bool { return a.Addr().Is6() })
	if port.mtu != nil && has6 && port.MTU < mtuMin6 {
		d.errorf(port.mtu.at, port.p.to("mtu"), "a port with IPv6 addresses needs an MTU of at least %d (RFC 8200)", mtuMin6)
	}
}

// decodeVLANs reads the VLANs of a port, or those within a VLAN, once its own settings are known.
func (d *decoder) decodeVLANs(parent *draftPort) (vlans []*draftPort) {
	if parent.vlans == nil {
		return nil
	}
	byID := map[uint16]key{}
	d.entries(parent.vlans, parent.vlansPath, "VLAN identifiers to their settings", func(k key, v *node, p *path) {
		id, ok := parseNumber(k.text)
		if !ok || id < 1 || id > 4094 {
			d.errorf(k.at, p, "expected a VLAN identifier from 1 to 4094, found %s", clip(k.text))
			return
		}
		if first, taken := byID[uint16(id)]; taken {
			d.errorf(k.at, p, "VLAN %d is given twice; the first is at %s", id, d.position(first.at))
			return
		}
		byID[uint16(id)] = k
		vlan := &draftPort{
			Port: policy.Port{Name: parent.Name + "." + k.text, Device: parent.Device, VLAN: uint16(id), MTU: parent.MTU, AnyMTU: parent.AnyMTU, Redirects: true},
			at:   k.at, p: p,
		}
		if parent.VLAN != 0 {
			vlan.VLAN, vlan.Inner, vlan.Service = parent.VLAN, uint16(id), parent.Service
		}
		named := false
		d.fields(v, p, &vlanKeys, func(k key, v *node, p *path) {
			named = named || k.text == "name"
			d.decodePortField(vlan, k, v, p)
		})
		vlanPath := p
		if !named && checkPortName(vlan.Name) != "" && checkPortName(parent.Name) == "" {
			d.errorf(k.at, p, "%s is longer than 15 characters; give the VLAN a name", vlan.Name)
		}
		if vlan.mtu != nil && !parent.AnyMTU && vlan.MTU > parent.MTU {
			d.errorf(vlan.mtu.at, vlanPath.to("mtu"), "larger than the %d of %s", parent.MTU, clip(parent.Name))
		}
		if vlan.Inner != 0 {
			d.checkInner(vlan, vlanPath)
		} else if vlan.vlans != nil && vlan.protocol == nil {
			vlan.Service = true // what tunnels VLANs is a service provider's, unless the file says otherwise
		}
		vlans = append(vlans, vlan)
		if vlan.Inner == 0 {
			vlans = append(vlans, d.decodeVLANs(vlan)...)
		}
	})
	return vlans
}

// checkInner refuses what a VLAN within a VLAN cannot have.
func (d *decoder) checkInner(vlan *draftPort, p *path) {
	if vlan.vlans != nil {
		d.errorf(vlan.vlans.at, p.to("vlans"), "a frame has two tags at most, and this VLAN is within another one")
	}
	if vlan.protocol != nil {
		d.errorf(vlan.protocol.at, p.to("protocol"), "the inner tag is always 802.1q; the outer VLAN has a protocol")
	}
}

// connect notes an address of a port and the network that it is in.
func (d *decoder) connect(port uint16, prefix netip.Prefix, from owner) {
	addr, on := prefix.Addr(), network{prefix.Masked(), port, from.at}
	// Every port of a router may have fe80::1: link-local is per link (RFC 4291 section 2.5.6).
	perLink := addr.Is6() && addr.IsLinkLocalUnicast()
	if first, taken := d.links.own[addr]; !taken {
		from.port = port
		d.links.own[addr] = from
	} else if !perLink || first.port == port {
		d.errorf(from.at, from.p, "%s is an address of %s already, at %s", addr, clip(d.policy.Ports[first.port].Name), d.position(first.at))
		return
	}
	if prefix.IsSingleIP() {
		return
	}
	list := d.links.networks[on.prefix]
	if slices.ContainsFunc(list, func(o network) bool { return o.port == port }) {
		return
	}
	if len(list) > 0 && !perLink {
		d.warnf(from.at, from.p, "network %s is connected to %s already, at %s; packets to it leave there",
			on.prefix, clip(d.policy.Ports[list[0].port].Name), d.position(list[0].at))
	}
	d.links.networks[on.prefix] = append(list, on)
	d.links.lengths[on.prefix.Bits()] = true
}

// port resolves the name of a port.
func (d *decoder) port(v *node, p *path) (uint16, bool) {
	text, ok := d.text(v, p, "the name of a port")
	if !ok {
		return 0, false
	}
	port, ok := d.names.ports[text]
	if !ok {
		d.errorf(v.at, p, "%s", d.unknownPort(text))
	}
	return port, ok
}

func (d *decoder) unknownPort(name string) string {
	return "no port is called " + clip(name) + d.suggest(name, maps.Keys(d.names.ports))
}

// portTowards finds the port on whose network a neighbour is: the longest network that has the address. What is how
// messages call it.
func (d *decoder) portTowards(what string, addr netip.Addr) (port uint16, wrong string) {
	if addr.IsLinkLocalUnicast() && addr.Is6() {
		return 0, "link-local " + what + " " + addr.String() + " is on every link; name its port"
	}
	for networks := range d.links.containing(addr) {
		if len(networks) > 1 {
			return 0, what + " " + addr.String() + " may be on " + clip(d.policy.Ports[networks[0].port].Name) + " and on " +
				clip(d.policy.Ports[networks[1].port].Name) + "; name its port"
		}
		return networks[0].port, ""
	}
	return 0, what + " " + addr.String() + " is on no connected network; name its port"
}

// checkNeighbor says why addr cannot be a host on the link of a port.
func (d *decoder) checkNeighbor(addr netip.Addr, port uint16) (wrong string) {
	if addr.IsUnspecified() || addr.IsMulticast() || addr.IsLoopback() || addr == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return addr.String() + " is not the address of a host on a network"
	}
	if own, ok := d.links.own[addr]; ok && (own.port == port || !addr.IsLinkLocalUnicast()) {
		return addr.String() + " is the router's own address on " + clip(d.policy.Ports[own.port].Name)
	}
	for networks := range d.links.containing(addr) {
		for _, n := range networks {
			if n.port == port && isBroadcast(n.prefix, addr) {
				return addr.String() + " is the broadcast address of " + n.prefix.String()
			}
		}
	}
	return ""
}

// isBroadcast reports whether addr is the directed broadcast address of its IPv4 network (RFC 919; /31 has none,
// RFC 3021).
func isBroadcast(network netip.Prefix, addr netip.Addr) bool {
	if !addr.Is4() || network.Bits() >= 31 || !network.Contains(addr) {
		return false
	}
	next := addr.Next()
	return !next.IsValid() || !network.Contains(next)
}
