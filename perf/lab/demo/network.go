package demo

import (
	"errors"
	"fmt"

	"weir/perf/lab"
)

// Hosts of the laboratory.
const (
	clientA = "client-a"
	clientB = "client-b"
	router  = "router"
	uplink0 = "uplink0"
	uplink1 = "uplink1"
)

// Hosts lists the hosts' names, for the shell.
func Hosts() []string { return []string{clientA, clientB, router, uplink0, uplink1} }

// uplinkOf tells which host is behind a port of the router.
var uplinkOf = map[string]string{"em0": clientA, "em1": clientB, "wan0": uplink0, "wan1": uplink1}

// network is the laboratory: the router's ports are up, but it has no addresses; weir sets them.
type network struct {
	lab   *lab.Lab
	hosts map[string]*lab.Host
}

func buildNetwork(queues int) (_ *network, err error) {
	l, err := lab.New()
	if err != nil {
		return nil, err
	}
	n := &network{lab: l, hosts: make(map[string]*lab.Host)}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("build laboratory: %w", err), l.Close())
		}
	}()
	for _, name := range Hosts() {
		if n.hosts[name], err = l.Host(name); err != nil {
			return nil, err
		}
	}
	links := []struct {
		host, port string
		addresses  []string
		gateways   []string
	}{
		{clientA, "em0", []string{alice[0] + "/24", alice[1] + "/64"}, []string{"192.0.2.1", "2001:db8:1::1"}},
		{clientB, "em1", []string{bob[0] + "/24", bob[1] + "/64", bobby[0] + "/24", bobby[1] + "/64"},
			[]string{"198.51.100.1", "2001:db8:2::1"}},
		{uplink0, "wan0", []string{"10.0.0.2/24", "fd00:0:0:a::2/64"}, []string{"10.0.0.1", "fd00:0:0:a::1"}},
		{uplink1, "wan1", []string{"10.0.1.2/24", "fd00:0:0:b::2/64"}, []string{"10.0.1.1", "fd00:0:0:b::1"}},
	}
	for _, k := range links {
		h := n.hosts[k.host]
		if _, err = l.Link(h, "eth0", n.hosts[router], k.port, lab.LinkOptions{Queues: queues, AddressesA: k.addresses}); err != nil {
			return nil, err
		}
		for _, gateway := range k.gateways {
			if err = h.AddRoute(lab.Route{To: "default", Via: gateway}); err != nil {
				return nil, err
			}
		}
	}
	for _, name := range []string{uplink0, uplink1} {
		for _, service := range [][2]string{known, unknown, walled, refused} {
			err = errors.Join(n.hosts[name].AddAddress("lo", service[0]+"/32"), n.hosts[name].AddAddress("lo", service[1]+"/128"))
			if err != nil {
				return nil, err
			}
		}
	}
	return n, nil
}
