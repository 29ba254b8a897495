package environment

import (
	"fmt"
	"net"

	"weir/rings/ethtool"
)

// Port is a netdev that a test used.
type Port struct {
	Name   string `json:"name"`
	Role   string `json:"role"` // what it was used for
	Driver string `json:"driver"`
	Speed  uint64 `json:"speed,omitempty"` // bits per second; 0: not known
	Queues int    `json:"queues"`
	MTU    int    `json:"mtu"`
	Copy   string `json:"copy,omitempty"` // "zero-copy" or "copy": how frames get between device and rings; "" where there are none
}

// ReadPort asks the kernel, in the network namespace of the calling thread.
func ReadPort(name, role string) (p Port, err error) {
	p = Port{Name: name, Role: role}
	device, err := net.InterfaceByName(name)
	if err != nil {
		return p, fmt.Errorf("read port %s: %w", name, err)
	}
	p.MTU = device.MTU
	if p.Driver, err = ethtool.Driver(name); err != nil {
		return p, err
	}
	if p.Queues, err = ethtool.Queues(name); err != nil {
		return p, err
	}
	if p.Driver == "veth" {
		return p, nil // says 10 Gbit/s, and means nothing by it
	}
	p.Speed, err = ethtool.Speed(name)
	return p, err
}
