package mgmt

import (
	"net/netip"

	"weir/fib"
	"weir/policy"
)

var neighborKeys = section{name: "neighbors", keys: []string{"address", "port", "mac"}}

// decodeNeighbors reads neighbours whose MAC addresses are given. The port may be left out where the address is on
// a connected network.
func (d *decoder) decodeNeighbors(n *node, p *path) {
	seen := map[fib.Neighbor]spot{}
	d.list(n, p, "neighbors", func(_ int, v *node, p *path) {
		var neighbor policy.StaticNeighbor
		var addr netip.Addr
		var address *node
		var addressOK, hasPort, portOK, hasMAC, macOK bool
		if !d.fields(v, p, &neighborKeys, func(k key, v *node, p *path) {
			switch k.text {
			case "address":
				address = v
				addr, addressOK = d.address(v, p)
			case "port":
				hasPort = true
				neighbor.Neighbor.Port, portOK = d.port(v, p)
			case "mac":
				hasMAC = true
				var text string
				if text, macOK = d.text(v, p, "a MAC address"); macOK {
					var wrong string
					if neighbor.MAC, wrong = parseMAC(text); wrong != "" {
						d.errorf(v.at, p, "%s, found %s", wrong, v)
						macOK = false
					}
				}
			}
		}) {
			return
		}
		d.required(v, p, "address", address != nil)
		d.required(v, p, "mac", hasMAC)
		if !addressOK || hasPort && !portOK {
			return
		}
		at := p.to("address")
		if !hasPort {
			port, wrong := d.portTowards("neighbor", addr)
			if wrong != "" {
				d.errorf(address.at, at, "%s", wrong)
				return
			}
			neighbor.Neighbor.Port = port
		}
		neighbor.Neighbor.Addr = addr
		if wrong := d.checkNeighbor(addr, neighbor.Neighbor.Port); wrong != "" {
			d.errorf(address.at, at, "%s", wrong)
			return
		}
		if first, ok := seen[neighbor.Neighbor]; ok {
			d.errorf(address.at, at, "neighbor is given twice; the first is at %s", d.position(first))
			return
		}
		seen[neighbor.Neighbor] = address.at
		if macOK {
			d.policy.Neighbors = append(d.policy.Neighbors, neighbor)
			d.places.neighbors = append(d.places.neighbors, address.at)
		}
	})
}

// address reads an address without a prefix length.
func (d *decoder) address(v *node, p *path) (netip.Addr, bool) {
	text, ok := d.text(v, p, "an IP address")
	if !ok {
		return netip.Addr{}, false
	}
	addr, wrong := parseAddress(text)
	if wrong != "" {
		d.errorf(v.at, p, "%s, found %s", wrong, v)
		return netip.Addr{}, false
	}
	return addr, true
}
