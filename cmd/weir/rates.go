package main

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"weir/appliance"
)

// rates are what happened between two looks, a second.
type rates struct {
	at         time.Time
	generation uint64
	ports      []portRate
	drops      []dropRate // the busiest first
	workers    []workerRate
	trouble    []string
}

type flowRate struct{ packets, bits float64 }

type portRate struct {
	name, link string
	in, out    flowRate
	dropped    float64
}

type dropRate struct {
	reason  string
	packets float64
}

type workerRate struct {
	worker, cpu             int
	busy, packets, perBatch float64
}

// ratesOf compares two looks at a router. One that started anew in between, or a port that came, counts from 0.
func ratesOf(before, now appliance.State, at time.Time) *rates {
	if now.Uptime < before.Uptime {
		before = appliance.State{}
	}
	seconds := (now.Uptime - before.Uptime).Seconds()
	per := func(before, now uint64) float64 {
		if now < before || seconds <= 0 {
			return 0
		}
		return float64(now-before) / seconds
	}
	r := &rates{at: at, generation: now.Generation, trouble: now.Trouble}
	for _, p := range now.Ports {
		var was appliance.PortState
		if i := slices.IndexFunc(before.Ports, func(o appliance.PortState) bool { return o.Name == p.Name }); i >= 0 {
			was = before.Ports[i]
		}
		rate := portRate{name: p.Name, link: p.State,
			in:  flowRate{per(was.Received, p.Received), 8 * per(was.ReceivedBytes, p.ReceivedBytes)},
			out: flowRate{per(was.Transmitted, p.Transmitted), 8 * per(was.TransmittedBytes, p.TransmittedBytes)},
		}
		for reason, n := range p.Drops {
			rate.dropped += per(was.Drops[reason], n)
		}
		r.ports = append(r.ports, rate)
	}
	for reason, n := range now.Totals.Drops {
		if rate := per(before.Totals.Drops[reason], n); rate > 0 {
			r.drops = append(r.drops, dropRate{reason, rate})
		}
	}
	slices.SortFunc(r.drops, func(a, b dropRate) int {
		return cmp.Or(-cmp.Compare(a.packets, b.packets), cmp.Compare(a.reason, b.reason))
	})
	for i, w := range now.Workers {
		var was appliance.WorkerState
		if i < len(before.Workers) {
			was = before.Workers[i]
		}
		rate := workerRate{worker: w.Worker, cpu: w.CPU, packets: per(was.Packets, w.Packets),
			busy: busy(appliance.WorkerState{Uptime: w.Uptime - was.Uptime, Asleep: w.Asleep - was.Asleep})}
		if batches := per(was.Batches, w.Batches); batches > 0 {
			rate.perBatch = rate.packets / batches
		}
		r.workers = append(r.workers, rate)
	}
	return r
}

// scaled is a rate for people: three digits and a prefix.
func scaled(x float64) string {
	const prefixes = "kMGT"
	if x < 1000 {
		return fmt.Sprintf("%.0f", x)
	}
	i := -1
	for x >= 999.5 && i < len(prefixes)-1 {
		x /= 1000
		i++
	}
	digits := 2
	switch {
	case x >= 99.95:
		digits = 0
	case x >= 9.995:
		digits = 1
	}
	return fmt.Sprintf("%.*f%c", digits, x, prefixes[i])
}
