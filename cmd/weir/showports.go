package main

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"weir/appliance"
)

// portsOf lists the ports without their queues, which queuesOf has.
func portsOf(s appliance.State) []appliance.PortState {
	list := orEmpty(slices.Clone(s.Ports))
	for i := range list {
		list[i].Queues = nil
	}
	return list
}

func portsText(ports []appliance.PortState) string {
	reasons := ""
	for _, p := range ports {
		if p.Reason != "" {
			reasons += fmt.Sprintf("%s is %s: %s\n", p.Name, p.State, p.Reason)
		}
	}
	return reasons + table(func(row func(...any)) {
		row("PORT", "STATE", "MODE", "XDP", "DRIVER", "MTU", "MAC", "RECEIVED", "BYTES", "TRANSMITTED", "BYTES", "DROPPED", "TO KERNEL")
		for _, p := range ports {
			dropped, toKernel := uint64(0), uint64(0)
			for _, n := range p.Drops {
				dropped += n
			}
			for class, n := range p.Steered {
				if class != "redirected" {
					toKernel += n
				}
			}
			row(p.Name, p.State, p.Mode, p.XDP, p.Driver, p.MTU, p.MAC, p.Received, p.ReceivedBytes, p.Transmitted, p.TransmittedBytes, dropped, toKernel)
		}
	})
}

// portQueue is a queue with the port that it is of.
type portQueue struct {
	Port string `json:"port"`
	appliance.QueueState
}

func queuesOf(s appliance.State) []portQueue {
	list := []portQueue{}
	for _, p := range s.Ports {
		for _, q := range p.Queues {
			list = append(list, portQueue{p.Name, q})
		}
	}
	return list
}

func queuesText(list []portQueue) string {
	return table(func(row func(...any)) {
		row("PORT", "QUEUE", "WORKER", "RECEIVED", "TRANSMITTED", "COMPLETED", "KICKS", "RING FULL", "NO FILL", "ERRNO")
		for _, q := range list {
			var errnos []string
			for _, name := range slices.Sorted(maps.Keys(q.Errno)) {
				errnos = append(errnos, fmt.Sprintf("%s %d", name, q.Errno[name]))
			}
			row(q.Port, q.Queue, q.Worker, q.Received, q.Transmitted, q.Completed, q.Kicks, q.RingFull, q.NoFill, strings.Join(errnos, ", "))
		}
	})
}

func count(n uint64) string { return strconv.FormatUint(n, 10) }
