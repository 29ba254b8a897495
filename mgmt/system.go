package mgmt

import (
	"slices"

	"weir/policy"
)

// System is the part of a configuration that is about the router itself and not about packets.
type System struct {
	Hostname string // empty: leave the machine's alone
	Workers  []int  // CPUs of the workers, in the order of the file; nil is auto: all CPUs but one
}

// cpuMax bounds CPU numbers (linux: the largest NR_CPUS of any distribution is 8192).
const cpuMax = 8191

var systemKeys = section{name: "system", keys: []string{"hostname", "workers", "kernel-routes", "multipath-hash", "icmp", "metrics", "ssh"}}

func (d *decoder) decodeSystem(n *node, p *path) {
	d.fields(n, p, &systemKeys, func(k key, v *node, p *path) {
		switch k.text {
		case "hostname":
			text, ok := d.text(v, p, "a host name")
			if !ok {
				return
			}
			if wrong := checkHostname(text); wrong != "" {
				d.errorf(v.at, p, "%s; found %s", wrong, v)
				return
			}
			d.system.Hostname = text
		case "workers":
			d.decodeWorkers(v, p)
		case "icmp":
			d.decodeICMPLimits(v, p)
		case "kernel-routes":
			d.policy.KernelRoutes, _ = d.boolean(v, p)
		case "multipath-hash":
			if word, _ := d.word(v, p, "l4", "l3"); word == "l3" {
				d.policy.MultipathHash = policy.HashL3
			}
		}
	})
}

func (d *decoder) decodeWorkers(n *node, p *path) {
	d.places.workers = n.at
	if n.kind == scalar && n.text == "auto" {
		return
	}
	if n.kind != sequence || len(n.items) == 0 {
		d.errorf(n.at, p, "expected auto or a list of CPUs such as [1, 2], found %s", n)
		return
	}
	for i := range n.items {
		v := &n.items[i]
		cpu, ok := d.number(v, p.at(i), 0, cpuMax)
		if !ok {
			continue
		}
		if slices.Contains(d.system.Workers, int(cpu)) {
			d.errorf(v.at, p.at(i), "CPU %d is given twice; a worker has a CPU of its own", cpu)
			continue
		}
		d.system.Workers = append(d.system.Workers, int(cpu))
	}
}
