package policy

import (
	"slices"
	"strings"
	"testing"

	"weir/policy/packet"
)

func TestIngress(t *testing.T) {
	s := newLab(t).compile()
	for _, c := range []struct {
		device uint16
		tags   uint8
		vlan   [2]uint16
		port   string
	}{
		{0, 0, [2]uint16{}, "em0"}, {1, 0, [2]uint16{}, "em1"}, {2, 0, [2]uint16{}, "em2"},
		{0, 1, [2]uint16{}, "em0"}, {2, 1, [2]uint16{}, "em2"}, // priority tag
		{0, 1, [2]uint16{100}, "em0.100"},
		{0, 1, [2]uint16{101}, ""}, {1, 1, [2]uint16{100}, ""}, {0, 2, [2]uint16{100, 100}, ""},
		{0, 2, [2]uint16{0, 100}, "em0.100"}, {0, 2, [2]uint16{100, 0}, "em0.100"}, {0, 2, [2]uint16{}, "em0"}, {0, 2, [2]uint16{0, 101}, ""},
		{1, 2, [2]uint16{0, 100}, ""},
		{3, 0, [2]uint16{}, ""},
	} {
		k := packet.Key{Tags: c.tags, VLAN: c.vlan, Ingress: None}
		if ok := s.Ingress(c.device, &k); ok != (c.port != "") || s.PortName(k.Ingress) != c.port {
			t.Errorf("device %d tags %v: port %q %v, want %q", c.device, c.vlan[:c.tags], s.PortName(k.Ingress), ok, c.port)
		}
	}
}

func TestIngressOfTwoTags(t *testing.T) {
	p := &Policy{Ports: []Port{{Name: "em0"}, {Name: "em1", Device: 1}, {Name: "em0.100", VLAN: 100}, {Name: "em0.100.1", VLAN: 100, Inner: 1},
		{Name: "em0.100.2", VLAN: 100, Inner: 2}, {Name: "em0.1.100", VLAN: 1, Inner: 100}, {Name: "em0.4094.4094", VLAN: 4094, Inner: 4094}}}
	s, err := Compile(p)
	if err != nil {
		t.Fatal(err)
	}
	want := map[[2]uint16]string{}
	for _, port := range p.Ports[3:] {
		want[[2]uint16{port.VLAN, port.Inner}] = port.Name
	}
	for outer := uint16(1); outer < 4096; outer++ {
		for _, inner := range []uint16{1, 2, 3, 100, 4094, 4095} {
			for device := range uint16(2) {
				k := packet.Key{Tags: 2, VLAN: [2]uint16{outer, inner}}
				ok := s.Ingress(device, &k)
				name, there := want[k.VLAN]
				if there = there && device == 0; ok != there || ok && s.PortName(k.Ingress) != name {
					t.Fatalf("device %d, tags %v: port %q %v", device, k.VLAN, s.PortName(k.Ingress), ok)
				}
			}
		}
	}
	if k := (packet.Key{Tags: 1, VLAN: [2]uint16{1}}); s.Ingress(0, &k) {
		t.Error("a VLAN that only carries others is a port")
	}
	for what, port := range map[string]Port{"within none": {Name: "x", Inner: 5}, "at most 4094": {Name: "x", VLAN: 1, Inner: 4095},
		"another port's": {Name: "x", VLAN: 100, Inner: 1}} {
		bad := *p
		bad.Ports = append(slices.Clone(p.Ports), port)
		if _, err := Compile(&bad); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%+v: %v", port, err)
		}
	}
}
