package mgmt

import (
	"net/netip"
	"slices"

	"weir/policy"
)

// Management is how the machine itself is reached by a netdev that is the kernel's, and no port of weir's.
type Management struct {
	Port      string
	DHCP      bool           // IPv4; IPv6 comes by router advertisements, whatever this says
	Addresses []netip.Prefix // beside what comes by itself
	Gateways  []netip.Addr   // of default routes, one for a family at most
}

var managementKeys = section{name: "system.management", keys: []string{"port", "dhcp", "addresses", "gateways"}}

// managementAddressesMax is more than anybody needs.
const managementAddressesMax = 32

func (d *decoder) decodeManagement(n *node, p *path) {
	m := &Management{}
	has, gateways := false, key{}
	isMapping := d.fields(n, p, &managementKeys, func(k key, v *node, p *path) {
		switch k.text {
		case "port":
			has = true
			if text, ok := d.text(v, p, "the name of a network device"); ok {
				if wrong := checkPortName(text); wrong != "" {
					d.errorf(v.at, p, "%s", wrong)
					return
				}
				m.Port, d.places.management = text, v.at
			}
		case "dhcp":
			m.DHCP, _ = d.boolean(v, p)
		case "addresses":
			d.list(v, p, "addresses with their prefix lengths", func(i int, v *node, p *path) {
				prefix, ok := d.portAddress(v, p)
				switch {
				case !ok:
				case i >= managementAddressesMax:
					d.errorf(v.at, p, "more than %d addresses", managementAddressesMax)
				case slices.Contains(m.Addresses, prefix):
					d.errorf(v.at, p, "%s is given twice", prefix)
				default:
					m.Addresses = append(m.Addresses, prefix)
				}
			})
		case "gateways":
			gateways = k
			d.list(v, p, "addresses of gateways", func(_ int, v *node, p *path) { d.decodeManagementGateway(v, p, m) })
		}
	})
	d.required(n, p, "port", has || !isMapping)
	if isMapping && !m.DHCP && len(m.Addresses) == 0 && n.kind == mapping {
		d.warnf(n.at, p, "neither dhcp nor addresses: only IPv6, by router advertisements, gives %s an address", m.Port)
	}
	if i := slices.IndexFunc(m.Gateways, netip.Addr.Is4); i >= 0 && m.DHCP {
		d.errorf(gateways.at, p.to("gateways"), "with dhcp, it is DHCP that gives the IPv4 gateway; found %s", m.Gateways[i])
	}
	d.system.Management = m
}

func (d *decoder) decodeManagementGateway(v *node, p *path, m *Management) {
	text, ok := d.text(v, p, "the address of a gateway")
	if !ok {
		return
	}
	gateway, wrong := parseAddress(text)
	switch {
	case wrong != "":
		wrong = withFound(wrong, v.String())
	case gateway.IsUnspecified() || gateway.IsMulticast() || gateway.IsLoopback():
		wrong = "not the address of a host on a network"
	case slices.ContainsFunc(m.Gateways, func(g netip.Addr) bool { return g.Is4() == gateway.Is4() }):
		wrong = "a second gateway for " + familyName(familyOf(gateway))
	}
	if wrong != "" {
		d.errorf(v.at, p, "%s", wrong)
		return
	}
	m.Gateways = append(m.Gateways, gateway)
}

// checkManagement refuses a port of weir's as the one for management.
func (d *decoder) checkManagement() {
	m := d.system.Management
	if m == nil {
		return
	}
	if i := slices.IndexFunc(d.policy.Ports, func(p policy.Port) bool { return p.Name == m.Port }); i >= 0 {
		d.errorf(d.places.management, (*path)(nil).to("system").to("management").to("port"),
			"%s is a port of weir's (%s); give it addresses there, and leave management out", m.Port, d.positionFrom(d.places.management, d.places.ports[i]))
	}
}
