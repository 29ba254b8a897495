package mgmt

import (
	"net/netip"
	"slices"

	"weir/policy"
)

// System is the part of a configuration that is about the router itself and not about packets.
type System struct {
	Hostname string // empty: leave the machine's alone
	Workers  []int  // CPUs of the workers, in the order of the file; nil is auto: all CPUs but one
	Metrics  string // address and port that metrics are served on; empty: nowhere
	Syslog   string // address and port of a server that gets the log by UDP; empty: none
	SSH      *SSH   // nil: nobody can come in

	Management   *Management // nil: the machine is reached by its ports, or as somebody else arranges it
	KernelRoutes bool        // the policy's: the kernel has it too, and may forward by it
}

// cpuMax bounds CPU numbers (linux: the largest NR_CPUS of any distribution is 8192).
const cpuMax = 8191

var systemKeys = section{name: "system", keys: []string{"hostname", "workers", "kernel-routes", "multipath-hash", "icmp", "metrics", "syslog", "ssh", "management"}}

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
		case "metrics":
			has := false
			isMapping := d.fields(v, p, &metricsKeys, func(_ key, v *node, p *path) {
				has = true
				if at := d.listenAddress(v, p, "an address and a port such as 127.0.0.1:9550 or [::1]:9550"); at.IsValid() {
					d.system.Metrics = at.String()
				}
			})
			d.required(v, p, "listen", has || !isMapping)
		case "syslog":
			has := false
			isMapping := d.fields(v, p, &syslogKeys, func(_ key, v *node, p *path) {
				has = true
				if at := d.listenAddress(v, p, "an address and a port such as 192.0.2.9:514 or [::1]:514"); at.IsValid() {
					d.system.Syslog = at.String()
				}
			})
			d.required(v, p, "server", has || !isMapping)
		case "ssh":
			d.decodeSSH(v, p)
		case "management":
			d.decodeManagement(v, p)
		case "kernel-routes":
			d.policy.KernelRoutes, _ = d.boolean(v, p)
			d.system.KernelRoutes = d.policy.KernelRoutes
		case "multipath-hash":
			if word, _ := d.word(v, p, "l4", "l3"); word == "l3" {
				d.policy.MultipathHash = policy.HashL3
			}
		}
	})
}

var (
	metricsKeys = section{name: "system.metrics", keys: []string{"listen"}}
	syslogKeys  = section{name: "system.syslog", keys: []string{"server"}}
)

// listenAddress returns an address and port to listen on, or none where the text is not what it should be.
func (d *decoder) listenAddress(n *node, p *path, what string) netip.AddrPort {
	text, ok := d.text(n, p, what)
	if !ok {
		return netip.AddrPort{}
	}
	at, err := netip.ParseAddrPort(text)
	if err != nil || at.Port() == 0 || at.Addr().Is4In6() {
		d.errorf(n.at, p, "expected %s, found %s", what, n)
		return netip.AddrPort{}
	}
	return at
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
